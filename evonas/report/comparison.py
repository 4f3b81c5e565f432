"""Search strategies side by side: a table and a picture of best fitness against trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.report.tables import Table
from evonas.store import Trial

_SHARES = (0.25, 0.5, 1.0)  # of the budget, at which the table looks


@dataclass(frozen=True)
class Curve:
    """One search.

    Attributes:
        strategy: name of the optimizer.
        seed: of the search.
        best: (n,) lowest fitness after 1 to n distinct trainings; inf before a success.
        repeats: proposals that were answered without training.
        seconds: wall time, features not counted.
    """

    strategy: str
    seed: int
    best: NDArray[np.float64]
    repeats: int
    seconds: float

    @classmethod
    def of(cls, strategy: str, seed: int, trials: Sequence[Trial], seconds: float) -> Curve:
        """Return the curve of a journal, sorted by generation and index."""
        trained = [trial.value for trial in trials if trial.trained]
        best = np.minimum.accumulate(np.array(trained, np.float64))
        repeats = sum(trial.status == "repeat" for trial in trials)
        return cls(strategy, seed, best, repeats, seconds)

    def at(self, trainings: int) -> float:
        """Return the lowest fitness after so many trainings, or after all there were."""
        return float(self.best[min(trainings, len(self.best)) - 1]) if len(self.best) else np.inf


def table(curves: Sequence[Curve], budget: int, title: str, warnings: Sequence[str] = ()) -> Table:
    """Return mean and spread over the seeds of each strategy, the best strategy first."""
    places = [max(round(share * budget), 1) for share in _SHARES]
    rows: list[tuple[float, list[str]]] = []
    for strategy in dict.fromkeys(curve.strategy for curve in curves):
        own = [curve for curve in curves if curve.strategy == strategy]
        cells = [strategy]
        for place in places:
            values = np.array([curve.at(place) for curve in own])
            spread = f" ±{values.std(ddof=1):.3f}" if len(own) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}")
        cells.append(f"{np.mean([len(curve.best) for curve in own]):.0f}")
        cells.append(f"{np.mean([curve.repeats for curve in own]):.0f}")
        cells.append(f"{np.mean([curve.seconds for curve in own]):.0f}")
        rows.append((float(np.mean([curve.at(budget) for curve in own])), cells))
    heads = ["optimizer", *(f"after {place}" for place in places), "trained", "repeats", "seconds"]
    count = len({curve.seed for curve in curves})
    notes = [f"best fitness after so many distinct trainings, mean ± sd of {count} seed(s)"]
    notes += warnings
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return Table(title, heads, ordered, notes, names=1)


def picture(curves: Sequence[Curve], budget: int, title: str, path: Path) -> None:
    """Save a PNG: the median over the seeds of each strategy, its range as a band."""
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    trainings = range(1, budget + 1)
    for strategy in dict.fromkeys(curve.strategy for curve in curves):
        own = [curve for curve in curves if curve.strategy == strategy]
        values = np.array([[curve.at(n) for n in trainings] for curve in own])
        (line,) = axes.step(trainings, np.median(values, 0), where="post", label=strategy)
        if len(own) > 1:
            low, high = values.min(0), values.max(0)
            axes.fill_between(trainings, low, high, step="post", alpha=0.15, color=line.get_color())
    axes.set(title=title, xlabel="distinct trainings", ylabel="best fitness so far")
    finite = [curve.best[np.isfinite(curve.best)] for curve in curves]
    known = np.concatenate([values for values in finite if len(values)] or [np.ones(1)])
    # The first random networks would leave no room for what is compared.
    top = float(np.quantile(known, 0.9))
    axes.set_ylim(float(known.min()) - 0.03 * (top - float(known.min())), top)
    axes.legend()
    figure.savefig(path, dpi=120)
