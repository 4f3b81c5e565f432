"""``evonas.retrain``: from the result of a search, or an experiment's baselines, to weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from evonas.api.resuming import resumable_trainings
from evonas.api.retrained_model import RetrainedModel
from evonas.api.search_result import SearchResult
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder
from evonas.core.overrides import Word, given
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.cost.limits import limits_text
from evonas.report import published_results
from evonas.report.evaluation_tables import published
from evonas.report.price import price
from evonas.report.ranking import rank_correlation
from evonas.report.tables import Table, costs, errors, legend, markdown
from evonas.report.verdict import retraining_verdict
from evonas.runs import result_files as results
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.comparison_schemas import REFITTED, Comparison
from evonas.runs.file_schemas import FORMAT, Chosen, write_json
from evonas.runs.run_store import read_journal
from evonas.runs.training_record import TrainingRecord
from evonas.space import Architecture
from evonas.space.recipe import task_choices
from evonas.workflows.components import training_components
from evonas.workflows.fold_splits import Folds, check_protocol, make_folds
from evonas.workflows.retraining import Contender, Retraining, selection_bias


def retrain(
    source: SearchResult | str | Path,
    *,
    epochs: int | None = None,
    schedule: str | None = None,
    repeats: int = 1,
    folds: int = 0,
    fold_by: str = "",
    pick: str = "",
    ranking: int = 0,
    refit: bool = True,
    out: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
    **changes: Any,
) -> RetrainedModel:
    """Train the winner of a search longer, beside hand-made baselines, and keep the weights.

    Args:
        source: the result of a search, its run directory, or its best.json or front.json; or an
            experiment, of which the baselines alone are trained.
        epochs: passes over the training split; None: as the experiment says.
        schedule: of the learning rate: ``cosine``, ``exponential``, ``step`` or ``constant``.
        repeats: seeds of each network on the experiment's own split.
        folds: of a cross-validation instead, which keeps no weights; 0: none.
        fold_by: what its folds consist of: ``group``, whole groups such as persons (default);
            ``image``, images at random, so that persons are shared between folds;
            ``each-group``, one fold for each group, which needs no ``folds``.
        pick: which network of the Pareto front: ``knee``, ``cheapest:ERROR`` or ``best:MACS``;
            or which of all that the search trained: its digest, or the first digits of it;
            empty: the winner.
        ranking: further networks, spread over the ranking of the search, to see whether its
            short trainings rank as long ones do.
        refit: whether the winner is also trained on training and validation images together, where
            the data set has a test split, which judges. That network, ``winner, refitted``, is
            then exported, pruned and so on, unless another one is named.
        out: folder for weights and tables; by default ``retrained`` in the run directory, or
            ``cross-validation``, with ``fold_by`` behind where it is not ``group``.
        callbacks: receive messages and progress.
        overrides: changes to the experiment as ``key=value`` words.
        changes: changes to the experiment, as ``Experiment.load`` takes them.

    Returns:
        The trained networks, with a table of their errors and costs.

    Raises:
        InputError: the source or a change is wrong.
        RunError: the disk is full.

    Examples:
        >>> model = evonas.retrain("runs/quickstart", epochs=30, repeats=3)
        >>> model.table[0]["network"], model.table[0]["errors"]["mae"]
        ('winner', 5.6)
    """
    words = [
        *overrides,
        *given({"retraining": {"epochs": epochs}} if epochs is not None else {}),
        *given({"retraining": {"schedule": schedule}} if schedule is not None else {}),
        *given(changes),
    ]
    check_protocol(folds, fold_by)
    file = _file(source, pick)
    best, experiment = _loaded(file, words, pick)
    work = _Work(file, best, experiment, CallbackList(callbacks))
    made = work.folds(folds, fold_by)
    target = Path(out) if out is not None else None
    return work.train(made, repeats, target, pick, ranking, refit)


def _file(source: SearchResult | str | Path, pick: str) -> Path:
    """Return the best.json or front.json of a search, or what else was given."""
    name = "front.json" if pick and not results.is_digest(pick) else "best.json"
    if isinstance(source, SearchResult):
        return source.run_dir / name
    path = Path(source)
    return path / name if (path / "best.json").is_file() else path


def _loaded(file: Path, words: Sequence[Word], pick: str) -> tuple[Chosen, Experiment]:
    """Return what a search found, empty for baselines alone, and the experiment.

    Raises:
        InputError: the file or an override is wrong.
    """
    if file.suffix == ".json":
        best = results.read(file, pick)
        experiment = config.check(best["experiment"], str(file))
        experiment = config.changed(experiment, words) if words else experiment
    else:
        best, experiment = {}, config.load(str(file), words)
        if not experiment.baselines:
            raise InputError(f"{file}: expected baselines to train, got none")
        if pick:
            raise InputError(f"{file}: --pick chooses from a search, got an experiment")
    if experiment.table:
        raise InputError(f"{file}: a search in a table has nothing to retrain")
    return best, experiment


class _Work:
    """One retraining; the constructor checks the experiment.

    Args:
        file: best.json, front.json or an experiment.
        best: what the search found; empty for baselines alone.
        experiment: to be trained in.
        callback: receives messages and progress.

    Raises:
        InputError: a part of the experiment is not usable.
    """

    def __init__(
        self, file: Path, best: Chosen, experiment: Experiment, callback: Callback
    ) -> None:
        self._file, self._best, self._callback = file, best, callback
        self._components = training_components(experiment)
        self._experiment = self._components.experiment
        self._components.device_description()  # raises now, not after hours of work on features
        before = TrainingRecord.beside([file] if best else [])
        self._record = self._components.training_record() | before

    def folds(self, folds: int, fold_by: str) -> Folds | None:
        """Return the folds of a cross-validation; None for a plain retraining."""
        if not folds and not fold_by:
            return None
        return make_folds(self._components.dataset, folds, fold_by, self._experiment.seed)

    def train(
        self,
        folds: Folds | None,
        repeats: int,
        out: Path | None,
        pick: str,
        ranking: int,
        refit: bool,
    ) -> RetrainedModel:
        """Train, and write weights and tables; see ``retrain``."""
        best, components, progress = self._best, self._components, self._callback.on_progress
        if pick:
            self._callback.on_message(_picked(best, pick, components.error[0]))
        others, searched = _of_the_search(best, self._file.parent, ranking, components.error[0])
        winner = Architecture.from_dict(best["architecture"]) if best else None
        for what, now in (
            ("data", components.dataset.fingerprint),
            ("backbone", components.backbone.fingerprint),
        ):
            if best.get(what) not in (None, now):
                self._callback.on_message(f"note: the {what} differ from what the search saw")
        runs = self._file.parent if best else Path("runs") / self._experiment.name
        kind = folds.folder if folds else "retrained"
        folder = out or runs / (f"{kind}-{_folder_ending(best, pick)}" if pick else kind)
        make_folder(folder)

        def done(number: int, total: int) -> None:
            progress("trainings", number, total)

        with resumable_trainings(folder, self._callback) as unfinished:
            work = Retraining(components, winner, progress, others, searched, unfinished)
            if folds:
                contenders = work.cross_validate(folds.splits, done)
            else:
                contenders = work.compare(repeats, folder, done, refit)
            return self._written(folder, contenders, folds, repeats, bool(ranking))

    def _written(
        self,
        folder: Path,
        contenders: Sequence[Contender],
        folds: Folds | None,
        repeats: int,
        ranked: bool,
    ) -> RetrainedModel:
        """Write the tables and all that goes on from here."""
        components, experiment, best = self._components, self._experiment, self._best
        dataset, count = components.dataset, folds.count if folds else 0
        warnings = [*components.warnings(), *_overlap(dataset, self._record, count)]
        chosen = bool(best) and best.get("data") in (None, dataset.fingerprint)
        bias = selection_bias("test" in dataset.splits, experiment.retraining.keep, chosen, count)
        by, shared = (folds.by, folds.warning) if folds else ("", "")
        limits = limits_text(experiment.objective.model_dump())
        below = [*warnings, *legend(limits, [one.over_limit for one in contenders])]
        fits = [f"{one.name}: {one.note}" for one in contenders if one.note]
        refitted = [one.name for one in contenders if one.name == REFITTED]
        both = [f"{name}: trained on training and validation images" for name in refitted]
        reasons = [*filter(None, (shared, bias)), *both, *fits, *below]
        tables = (
            errors(contenders, components.task.unit, count, reasons, by),
            costs(contenders, below),
            *(_published(experiment.data.name, folds) if folds else ()),
        )
        worth = retraining_verdict(contenders, *components.error, bool(limits), bool(folds))
        agreement = rank_correlation(contenders, components.task.metric)
        notes = []
        if agreement is not None and (ranked or agreement.telling):
            notes.append(agreement.statement(experiment.training.epochs))
        notes += self._price(contenders[0])
        notes += [] if folds else self._further(contenders[0])
        text = "\n".join(markdown(table) for table in tables)
        ends = [*notes, worth] if worth else notes
        keep(folder / "comparison.md", text + "".join(f"\n{line}\n" for line in ends))
        winner = Architecture.from_dict(best["architecture"]) if best else None
        content: Comparison = {
            "format": FORMAT,
            "winner": best.get("architecture"),
            "experiment": experiment.model_dump(mode="json"),
            "task": components.task_parts_with(task_choices(winner) if winner else ()),
            "data": dataset.fingerprint,
            "protocol": dataset.protocol,
            "leaky": dataset.leaky,
            "selection_bias": bias,
            "folds": count,
            "repeats": repeats,
            "rank_correlation": agreement and asdict(agreement),
            "verdict": worth,
            "contenders": [contender.to_dict() for contender in contenders],
        }
        if folds:
            content["fold_by"] = folds.by
            content["fold_warning"] = folds.warning
        record = self._record
        if refitted:
            record = replace(record, train=record.train | record.validation)
        record.save(folder)
        for tests in ("test.json", "test.md"):  # of networks that lay here before
            (folder / tests).unlink(missing_ok=True)
        write_json(folder / "comparison.json", content)
        return RetrainedModel(folder, tables=tables, notes=tuple(notes))

    def _price(self, first: Contender) -> list[str]:
        """Return what the winner, or the first network, adds to its backbone."""
        if first.architecture is None:
            return []
        under = self._components.backbone_cost(first.architecture)
        counts = self._experiment.objective.counts
        return [f"{first.name}: {price(first.head.macs, first.head.params, under, counts)}"]

    def _further(self, first: Contender) -> list[str]:
        """Return a hint at fine-tuning, where it is possible and costs no operations."""
        if first.architecture is None or self._experiment.objective.counts != "total":
            return []
        under = self._components.backbone_cost(first.architecture)
        try:
            self._components.backbone.require_torch("evonas finetune")
        except InputError:
            return []
        hint = (
            "The layers below the head run for this task alone: `evonas finetune` trains them as "
            "well, which adds no operations."
        )
        return [hint] if under["up_to_tap"]["params"] else []


def _published(data: str, folds: Folds) -> list[Table]:
    """Return published results of the same kind and number of folds of a data set."""
    rows = published_results.rows(data, folds.count, folds.by)
    return published(rows, data, folds.images, folds=folds.count, fold_by=folds.by)


def _overlap(dataset: Dataset, record: TrainingRecord, folds: int) -> list[str]:
    """Return a warning where training or validation used images of the test split."""
    if folds or "test" not in dataset.splits:
        return []
    used = record.overlap(dataset, dataset.splits["test"]).flattery()
    return [f"LEAKY test split, errors on it flatter: {used}"] if used else []


def _folder_ending(network: Chosen, pick: str) -> str:
    """Return what a folder is called after; a network has one, however many digits were given."""
    return network["digest"][:8] if results.is_digest(pick) else pick.replace(":", "-")


def _picked(network: Chosen, pick: str, metric: str) -> str:
    error = network["metrics"][metric]
    return f"{pick}: {network['digest']}, error {error:.3f} and {network['macs']} multiply-adds"


def _of_the_search(
    best: Chosen, run: Path, ranking: int, metric: str
) -> tuple[list[tuple[str, Architecture]], dict[str, float]]:
    """Return networks spread over a search's ranking, and all errors that are known of it.

    Raises:
        InputError: the journal is not beside best.json.
    """
    searched = {
        b["digest"]: b["metrics"].get(metric) for b in best.get("baselines", []) if b.get("digest")
    }
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
