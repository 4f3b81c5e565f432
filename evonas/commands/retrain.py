"""``evonas retrain``: from best.json, or an experiment's baselines, to weights and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from evonas import config, results
from evonas.assembly import Assembly
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.files import keep, make_folder
from evonas.overrides import Word
from evonas.progress_bars import progress_bars
from evonas.report.ranking import rank_correlation
from evonas.report.tables import costs, errors, markdown, show
from evonas.retraining import Retraining, selection_bias
from evonas.space import Architecture
from evonas.store import FORMAT, read_journal
from evonas.training_record import TrainingRecord


def run(
    best_file: Path,
    overrides: Sequence[Word],
    folds: int,
    repeats: int,
    out: Path | None,
    console: Console,
    pick: str = "",
    ranking: int = 0,
) -> Path:
    """Retrain and return the folder with the results.

    Args:
        best_file: a best.json or front.json; or an experiment, of which only the baselines
            are trained.
        overrides: ``key=value`` changes to the experiment.
        folds: of a cross-validation by group; 0: the experiment's own split.
        repeats: seeds a network on the experiment's own split.
        out: folder for the results; by default beside best.json.
        console: where to print.
        pick: which network of a front.json; see ``results.read``.
        ranking: further networks, spread over the ranking of the search, to see whether
            its short trainings rank as long ones do.

    Raises:
        InputError: the file or an override is wrong.
    """
    best: dict[str, Any] = {}
    if best_file.suffix == ".json":
        best = results.read(best_file, pick)
        experiment = config.check(best["experiment"], str(best_file))
        if overrides:
            experiment = config.changed(experiment, overrides)
    else:
        experiment = config.load(str(best_file), overrides)
        if not experiment.baselines:
            raise InputError(f"{best_file}: expected baselines to train, got none")
        if pick:
            raise InputError(f"{best_file}: --pick chooses from a front.json, got an experiment")
    if experiment.table:
        raise InputError(f"{best_file}: a search in a table has nothing to retrain")
    assembly = Assembly(experiment)
    assembly.place()  # what is wrong with it is said before hours of work on features
    record = assembly.training_record() | TrainingRecord.beside([best_file] if best else [])
    if pick:
        console.print(_picked(best, pick), soft_wrap=True)
    others, searched = _of_the_search(best, best_file.parent, ranking, assembly.error[0])
    winner = Architecture.from_dict(best["architecture"]) if best else None
    for what, now in (
        ("data", assembly.dataset.fingerprint),
        ("backbone", assembly.backbone.fingerprint),
    ):
        if best.get(what) not in (None, now):
            console.print(f"note: the {what} differ from what the search saw", soft_wrap=True)
    runs = best_file.parent if best else Path("runs") / experiment.name
    kind = "cross-validation" if folds else "retrained"
    folder = out or runs / (f"{kind}-{pick.replace(':', '-')}" if pick else kind)
    make_folder(folder)
    with progress_bars(console) as progress:
        work = Retraining(assembly, winner, progress, others, searched)

        def done(number: int, total: int) -> None:
            progress("trainings", number, total)

        if folds:
            contenders = work.cross_validate(folds, done)
        else:
            contenders = work.compare(repeats, folder, done)
    dataset, unit = assembly.dataset, assembly.task.unit
    warnings = [*assembly.warnings(), *_overlap(dataset, record, folds)]
    chosen = bool(best) and best.get("data") in (None, dataset.fingerprint)
    bias = selection_bias("test" in dataset.splits, experiment.retraining.keep, chosen, folds)
    tables = [
        errors(contenders, unit, folds, [*([bias] if bias else []), *warnings]),
        costs(contenders, warnings),
    ]
    for table in tables:
        show(table, console)
    text = "\n".join(markdown(table) for table in tables)
    agreement = rank_correlation(contenders, assembly.task.metric)
    if agreement is not None:
        line = agreement.statement(experiment.training.epochs)
        console.print(line, soft_wrap=True)
        text += f"\n{line}\n"
    keep(folder / "comparison.md", text)
    content = {
        "format": FORMAT,
        "winner": best.get("architecture"),
        "experiment": experiment.model_dump(mode="json"),
        "task": assembly.task_parts,
        "data": assembly.dataset.fingerprint,
        "protocol": assembly.dataset.protocol,
        "leaky": assembly.dataset.leaky,
        "selection_bias": bias,
        "folds": folds,
        "repeats": repeats,
        "rank_correlation": agreement and asdict(agreement),
        "contenders": [contender.to_dict() for contender in contenders],
    }
    record.save(folder)
    keep(folder / "comparison.json", json.dumps(content, indent=2) + "\n")
    console.print(f"written: {folder}", soft_wrap=True)
    return folder


def _overlap(dataset: Dataset, record: TrainingRecord, folds: int) -> list[str]:
    """Return a warning where training or validation used images of the test split."""
    if folds or "test" not in dataset.splits:
        return []
    used = record.overlap(dataset, dataset.splits["test"]).flattery()
    return [f"LEAKY test split, errors on it flatter: {used}"] if used else []


def _picked(network: dict[str, Any], pick: str) -> str:
    error = network["axes"]["error"]
    return f"{pick}: {network['digest']}, error {error:.3f} and {network['macs']} multiply-adds"


def _of_the_search(
    best: dict[str, Any], run: Path, ranking: int, metric: str
) -> tuple[list[tuple[str, Architecture]], dict[str, float]]:
    """Return networks spread over a search's ranking, and all errors that are known of it.

    Raises:
        InputError: the journal is not beside best.json.
    """
    searched = {b["digest"]: b["metrics"].get(metric) for b in best.get("baselines", [])}
    own = best.get("searched", best).get("metrics", {})
    if best:
        searched[best["digest"]] = own.get(metric)
    others = []
    if ranking and not best:
        raise InputError("--ranking needs the best.json of a search, got an experiment")
    if ranking:
        known = {t.digest: t for t in read_journal(run) if t.succeeded and metric in t.metrics}
        ranked = sorted(known.values(), key=lambda trial: trial.metrics[metric])
        places = np.linspace(0, len(ranked) - 1, min(ranking, len(ranked))).round().astype(int)
        for place in sorted(set(places.tolist())):
            trial = ranked[place]
            searched[trial.digest] = trial.metrics[metric]
            if trial.digest != best["digest"]:
                name = f"number {place + 1} of {len(ranked)}"
                others.append((name, Architecture.from_dict(trial.architecture)))
    return others, {digest: error for digest, error in searched.items() if error is not None}
