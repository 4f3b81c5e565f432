"""Comparison of optimizers by best fitness and hypervolume over distinct trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.settings import FinalsSettings
from evonas.estimation.objective import Objective
from evonas.report.tables import Table, with_spread
from evonas.runs.finals import Outcome
from evonas.runs.pareto import hypervolume
from evonas.runs.run_store import Trial

Array = NDArray[np.float64]
_SHARES = (0.25, 0.5, 1.0)  # of the budget, at which the table looks


@dataclass(frozen=True)
class Curve:
    """Progress of one search.

    Attributes:
        strategy: name of the optimizer.
        seed: of the search.
        best: (n,) lowest fitness after 1 to n distinct trainings; inf before a success.
        repeats: number of proposals answered without training.
        seconds: wall time without the computation of features.
        winner: mean fitness of the winner over further seeds; nan without finals.
        axes: (n, m) error and log10 of the costs of each training; nan where it failed.
    """

    strategy: str
    seed: int
    best: Array
    repeats: int
    seconds: float
    winner: float = math.nan
    axes: Array = field(default_factory=lambda: np.empty((0, 2)))

    @classmethod
    def of(
        cls,
        strategy: str,
        seed: int,
        trials: Sequence[Trial],
        seconds: float,
        objective: Objective,
        finals: FinalsSettings | None = None,
    ) -> Curve:
        """Return the curve of the trials of a journal, sorted by generation and index.

        ``finals`` are their settings; None: all networks that were trained again take part.
        """
        trained = [trial for trial in trials if trial.trained]
        best = np.minimum.accumulate(np.array([trial.value for trial in trained], np.float64))
        repeats = sum(trial.status == "repeat" for trial in trials)
        cost = objective.settings.cost
        finalists = Outcome.of(trials, finals, objective.metric, cost).finalists
        sure = finalists[0].fitness if finalists and finalists[0].further else math.nan
        width = len(objective.settings.axes)
        axes = np.array([objective.axes(trial) for trial in trained], np.float64)
        axes = axes.reshape(-1, width)
        axes[:, 1:] = np.log10(np.maximum(axes[:, 1:], 1e-6))
        return cls(strategy, seed, best, repeats, seconds, sure, axes)

    def at(self, trainings: int) -> float:
        """Return the lowest fitness after a number of trainings, or after all."""
        return float(self.best[min(trainings, len(self.best)) - 1]) if len(self.best) else np.inf

    def volume(self, trainings: int, low: Array, high: Array) -> float:
        """Return the hypervolume after a number of trainings, relative to the box low..high."""
        points = self.axes[:trainings]
        points = points[np.isfinite(points).all(axis=1)]
        scaled = (points - low) / np.where(high > low, high - low, 1.0)
        return hypervolume(scaled, np.ones(len(low)))


def table(curves: Sequence[Curve], budget: int, title: str, warnings: Sequence[str] = ()) -> Table:
    """Return a table of mean and spread over seeds per optimizer, the best first."""
    places = [max(round(share * budget), 1) for share in _SHARES]
    rows: list[tuple[float, list[str]]] = []
    sure = all(math.isfinite(curve.winner) for curve in curves)
    box = _box(curves)
    for strategy, own in _grouped(curves).items():
        cells = [strategy]
        cells += [_mean([curve.at(place) for curve in own]) for place in places]
        if sure:
            cells.append(_mean([curve.winner for curve in own]))
        if box is not None:
            cells.append(_mean([curve.volume(budget, *box) for curve in own]))
        cells.append(f"{np.mean([len(curve.best) for curve in own]):.0f}")
        cells.append(f"{np.mean([curve.repeats for curve in own]):.0f}")
        cells.append(f"{np.mean([curve.seconds for curve in own]):.0f}")
        rows.append((float(np.mean([curve.at(budget) for curve in own])), cells))
    heads = ["optimizer", *(f"after {place}" for place in places)]
    count = len({curve.seed for curve in curves})
    notes = [f"best fitness after so many distinct trainings, mean ± sd of {count} seed(s)"]
    if sure:
        heads.append("further seeds")
        notes.append("further seeds: fitness of the named winner trained again, luck left out")
    if box is not None:
        heads.append("hypervolume")
        notes.append(
            "hypervolume: of the front, on logarithms of cost, as a share of the box around all"
        )
    heads += ["trained", "repeats", "seconds"]
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return Table(title, heads, ordered, [*notes, *warnings], names=1)


def picture(curves: Sequence[Curve], budget: int, title: str, path: Path) -> None:
    """Save a PNG with the median over seeds per optimizer, and its range as a band.

    The left panel shows the best fitness, the right one the hypervolume, if it is known.
    """
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    trainings = range(1, budget + 1)
    box = _box(curves)
    figure = Figure(figsize=(8 if box is None else 13, 5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 1 if box is None else 2, squeeze=False)[0]
    for strategy, own in _grouped(curves).items():
        rows = [np.array([[curve.at(n) for n in trainings] for curve in own])]
        if box is not None:
            rows.append(np.array([[c.volume(n, *box) for n in trainings] for c in own]))
        for axes, values in zip(panels, rows, strict=True):
            (line,) = axes.step(trainings, np.median(values, 0), where="post", label=strategy)
            if len(own) > 1:
                low, high, color = values.min(0), values.max(0), line.get_color()
                axes.fill_between(trainings, low, high, step="post", alpha=0.15, color=color)
    labels = ("best fitness so far", "hypervolume of the front")
    for axes, label in zip(panels, labels, strict=False):
        axes.set(xlabel="distinct trainings", ylabel=label)
    finite = [curve.best[np.isfinite(curve.best)] for curve in curves]
    known = np.concatenate([values for values in finite if len(values)] or [np.ones(1)])
    # The poor first networks would squeeze the curves.
    low, top = float(known.min()), float(np.quantile(known, 0.9))
    if low < top:
        panels[0].set_ylim(low - 0.03 * (top - low), top)
    panels[0].legend(loc="upper right")
    figure.savefig(path, dpi=120)


def _grouped(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    names = dict.fromkeys(curve.strategy for curve in curves)
    return {name: [curve for curve in curves if curve.strategy == name] for name in names}


def _box(curves: Sequence[Curve]) -> tuple[Array, Array] | None:
    """Return the lowest and highest value of each axis over all trainings; None without any."""
    points = np.concatenate([curve.axes for curve in curves])
    points = points[np.isfinite(points).all(axis=1)]
    return (points.min(axis=0), points.max(axis=0)) if len(points) else None


def _mean(values: Sequence[float]) -> str:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return with_spread(float(np.mean(values)), spread)
