"""``evonas retrain``: from best.json to weights and a table."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from evonas import config
from evonas.assembly import Assembly
from evonas.commands.progress import progress_bars
from evonas.errors import InputError
from evonas.report.tables import costs, errors, markdown, show
from evonas.retrain import Retraining, read_best
from evonas.space import Architecture


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
        best_file: a best.json.
        overrides: ``key=value`` changes to its experiment.
        folds: of a cross-validation by group; 0: the experiment's own split.
        repeats: seeds a network on the experiment's own split.
        out: folder for the results; by default beside best.json.
        console: where to print.

    Raises:
        InputError: the file or an override is wrong.
    """
    best = read_best(best_file)
    experiment = config.check(best["experiment"], str(best_file))
    if overrides:
        experiment = config.changed(experiment, overrides)
    assembly = Assembly(experiment)
    for what, now in (
        ("data", assembly.dataset.fingerprint),
        ("backbone", assembly.backbone.fingerprint),
    ):
        if best.get(what) not in (None, now):
            console.print(f"note: the {what} differ from what the search saw", soft_wrap=True)
    folder = out or best_file.parent / ("cross-validation" if folds else "retrained")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder with --out"
        ) from error
    with progress_bars(console) as progress:
        work = Retraining(assembly, Architecture.from_dict(best["architecture"]), progress)

        def done(number: int, total: int) -> None:
            progress("trainings", number, total)

        if folds:
            contenders = work.cross_validate(folds, done)
        else:
            contenders = work.compare(repeats, folder / "winner.safetensors", done)
    tables = [errors(contenders, assembly.task.unit, folds), costs(contenders)]
    for table in tables:
        show(table, console)
    text = "\n".join(markdown(table) for table in tables)
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    content = {
        "winner": best["architecture"],
        "experiment": experiment.model_dump(mode="json"),
        "folds": folds,
        "repeats": repeats,
        "contenders": [contender.to_dict() for contender in contenders],
    }
    (folder / "comparison.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {folder}", soft_wrap=True)
    return folder
