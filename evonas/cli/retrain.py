"""``evonas retrain``: from best.json, or an experiment's baselines, to weights and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evonas.api.live_view import LiveView
from evonas.api.retraining import retrain
from evonas.core.overrides import Word
from evonas.report.tables import show


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
    """Retrain, print the tables, and return the folder with the results.

    Args:
        best_file: a best.json or front.json; or an experiment, of which only the baselines
            are trained.
        overrides: ``key=value`` changes to the experiment.
        folds: of a cross-validation by group; 0: the experiment's own split.
        repeats: seeds a network on the experiment's own split.
        out: folder for the results; by default beside best.json.
        console: where to print.
        pick: which network of a front.json; see ``results.read``.
        ranking: further networks, spread over the ranking of the search.

    Raises:
        InputError: the file or an override is wrong.
    """
    with LiveView(console) as view:
        model = retrain(
            best_file,
            folds=folds,
            repeats=repeats,
            pick=pick,
            ranking=ranking,
            out=out,
            callbacks=[view],
            overrides=overrides,
        )
    for table in model.tables:
        show(table, console)
    for line in (*model.notes, f"written: {model.folder}"):
        console.print(line, soft_wrap=True)
    return model.folder
