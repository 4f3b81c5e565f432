"""Charts of the winner's training loss beside its validation error, over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evonas.report.page import charts
from evonas.report.page.charts import Chart, Series
from evonas.report.page.formatting import top
from evonas.report.page.run_data import Run
from evonas.runs.training_curves import overfitting

_LEVEL = "Compare how they fall, not their levels: the loss is of views that training sees."


@dataclass(frozen=True)
class _Training:
    """Validation error and training loss of each epoch, and the number of the kept epoch."""

    errors: Sequence[float]
    losses: Sequence[float]
    kept: float


def learning(run: Run) -> Chart | None:
    """Return the chart of the winner's trainings in the search, the further ones thin."""
    digest = run.finalists[0].trial.digest if run.finalists else ""
    own = [trial for trial in run.networks if trial.digest == digest]
    again = [trial for trial in run.trials if trial.status == "final" and trial.digest == digest]
    trainings = [_training(one.curve, one.losses, one.metrics) for one in (*own, *again)]
    return _chart(run, "learning", "The winner's training in the search", trainings)


def learning_retrained(run: Run) -> Chart | None:
    """Return the chart of the trainings of the retrained winner, all but the first thin."""
    contenders = run.retrained.get("contenders", [])
    if not run.retrained.get("winner") or not contenders:
        return None
    winner = contenders[0]
    rows = zip(winner.get("curves", []), winner.get("losses", []), winner["results"], strict=False)
    trainings = [_training(*row) for row in rows]
    return _chart(run, "learning_retrained", "The winner's training when retrained", trainings)


def _training(
    errors: Sequence[float], losses: Sequence[float], metrics: Mapping[str, float | None]
) -> _Training:
    return _Training(errors, losses, metrics.get("epoch") or 0)


def _chart(run: Run, key: str, title: str, trainings: Sequence[_Training]) -> Chart | None:
    """Return the chart of trainings of one network; None if no training loss is known."""
    known = [one for one in trainings if one.errors and len(one.errors) == len(one.losses)]
    if not known:
        return None
    drawn = []
    for number, one in enumerate(known):
        x = [float(epoch) for epoch in range(1, len(one.errors) + 1)]
        size, faint = (1.2, 0.5) if number else (2.5, 1.0)
        for name, y, color, right in (
            ("validation error", one.errors, charts.BLUE, False),
            ("training loss, right axis", one.losses, charts.ORANGE, True),
        ):
            shown = "" if number else name
            line = Series(shown, x, y, "line", color, size=size, opacity=faint, right=right)
            drawn.append(line)
    remarks = [overfitting(one.errors, one.losses) for one in known]
    found = [remark for remark in remarks if remark]
    note = f"{len(found)} of {len(known)} training(s): {found[0]}. {_LEVEL}" if found else _LEVEL
    values = np.concatenate([np.asarray(one.errors, np.float64) for one in known])
    return Chart(
        key=key,
        title=title,
        x="epoch",
        y=f"{run.axis}, on the validation split",
        series=drawn,
        note=note,
        limits=[(known[0].kept, "kept epoch")] if known[0].kept else [],
        top=top(values),
        right="mean loss on training images",
    )
