"""``evonas retrain``: from best.json, or an experiment's baselines, to weights and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from evonas import config
from evonas.assembly import Assembly
from evonas.commands.progress import progress_bars
from evonas.errors import InputError
from evonas.report.tables import costs, errors, markdown, show
from evonas.retrain import Retraining, read_best
from evonas.space import Architecture
from evonas.store import FORMAT


def run(
    best_file: Path,
    overrides: list[str],
    folds: int,
    repeats: int,
    out: Path | None,
    console: Console,
) -> Path:
    """Retrain and return the folder with the results.

    Args:
        best_file: a best.json; or an experiment, of which only the baselines are trained.
        overrides: ``key=value`` changes to the experiment.
        folds: of a cross-validation by group; 0: the experiment's own split.
        repeats: seeds a network on the experiment's own split.
        out: folder for the results; by default beside best.json.
        console: where to print.

    Raises:
        InputError: the file or an override is wrong.
    """
    best: dict[str, Any] = {}
    if best_file.suffix == ".json":
        best = read_best(best_file)
        experiment = config.check(best["experiment"], str(best_file))
        if overrides:
            experiment = config.changed(experiment, overrides)
    else:
        experiment = config.load(str(best_file), overrides)
        if not experiment.baselines:
            raise InputError(f"{best_file}: expected baselines to train, got none")
    if experiment.table:
        raise InputError(f"{best_file}: a search in a table has nothing to retrain")
    assembly = Assembly(experiment)
    winner = Architecture.from_dict(best["architecture"]) if best else None
    for what, now in (
        ("data", assembly.dataset.fingerprint),
        ("backbone", assembly.backbone.fingerprint),
    ):
        if best.get(what) not in (None, now):
            console.print(f"note: the {what} differ from what the search saw", soft_wrap=True)
    runs = best_file.parent if best else Path("runs") / experiment.name
    folder = out or runs / ("cross-validation" if folds else "retrained")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder with --out"
        ) from error
    with progress_bars(console) as progress:
        work = Retraining(assembly, winner, progress)

        def done(number: int, total: int) -> None:
            progress("trainings", number, total)

        if folds:
            contenders = work.cross_validate(folds, done)
        else:
            contenders = work.compare(repeats, folder, done)
    warnings = assembly.warnings()
    unit = assembly.task.unit
    tables = [errors(contenders, unit, folds, warnings), costs(contenders, warnings)]
    for table in tables:
        show(table, console)
    text = "\n".join(markdown(table) for table in tables)
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    content = {
        "format": FORMAT,
        "winner": best.get("architecture"),
        "experiment": experiment.model_dump(mode="json"),
        "task": assembly.task_parts,
        "data": assembly.dataset.fingerprint,
        "protocol": assembly.dataset.protocol,
        "leaky": assembly.dataset.leaky,
        "folds": folds,
        "repeats": repeats,
        "contenders": [contender.to_dict() for contender in contenders],
    }
    (folder / "comparison.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {folder}", soft_wrap=True)
    return folder
