"""Page of the replays on learning curves: a Markdown table, and curves of regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.report.tables import Table, markdown

#: Searcher that the others are compared with.
REFERENCE = "full"
#: Points of a drawn curve, and the degrees at which a regret of 0 is drawn.
POINTS, LOWEST = 400, 0.01


def seconds_to(row: Mapping[str, str], error: float) -> float:
    """Return the seconds after which a replay has seen an error; infinite if it never has."""
    for at, lowest in _steps(row):
        if lowest <= error:
            return at
    return float("inf")


def regrets(row: Mapping[str, str], grid: NDArray[np.float64], best: float) -> NDArray[np.float64]:
    """Return how far the lowest error seen is above the best after seconds; NaN before any."""
    curve = np.full(len(grid), np.nan)
    for at, lowest in _steps(row):
        curve[grid >= at] = lowest - best
    return curve


def page(
    rows: Sequence[Mapping[str, str]],
    labels: Mapping[str, str],
    best: float,
    margin: float,
    notes: Sequence[str] = (),
) -> str:
    """Return the Markdown table of replays of one table, the fastest searcher first.

    Args:
        rows: lines of the CSV.
        labels: searcher -> its name.
        best: the table's lowest error, degrees.
        margin: degrees above it that a search is to reach.
        notes: lines below the table.
    """
    limit = max(float(row["limit"]) for row in rows)
    found = {
        name: np.array([seconds_to(row, best + margin) for row in rows if row["searcher"] == name])
        for name in dict.fromkeys(row["searcher"] for row in rows)
    }
    quartiles = {
        name: np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
        for name, values in found.items()
    }
    # without the reference, or where most of its seeds failed, there is nothing to divide by
    reference = quartiles[REFERENCE][1] if REFERENCE in quartiles else float("nan")
    cells = []
    for name in sorted(found, key=lambda name: (*quartiles[name][[1, 2, 0]], name)):
        low, middle, high = quartiles[name]
        own = [row for row in rows if row["searcher"] == name]
        cells.append(
            [
                labels[name],
                str(len(found[name])),
                _seconds(middle, limit),
                f"{_seconds(low, limit)} .. {_seconds(high, limit)}",
                f"{np.isfinite(found[name]).sum()} of {len(found[name])}",
                _ratio(middle, reference, limit),
                f"{np.median([float(row['cpu']) for row in own]):.1f}",
            ]
        )
    head = ["search", "seeds", f"s to within {margin:g} degrees", "quartiles", "reached"]
    head += [f"ratio to {REFERENCE}", "CPU s"]
    text = [
        f"Seconds of training until an error within {margin:g} degrees of the table's best, "
        f"{best:.2f}, was seen: medians and quartiles over seeds; searches of {limit:g} s. Bold: "
        f"evonas. CPU s: median of a search's own computing, which is not counted as training.",
        *notes,
    ]
    return markdown(Table(rows[0]["table"], head, cells, text))


def draw(
    path: Path, rows: Sequence[Mapping[str, str]], labels: Mapping[str, str], best: float
) -> None:
    """Draw median regrets against seconds of training, with bands between the quartiles."""
    from matplotlib.figure import Figure

    limit = max(float(row["limit"]) for row in rows)
    grid = np.linspace(0.0, limit, POINTS + 1)[1:]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(row["searcher"] for row in rows)):
        own = np.array([regrets(row, grid, best) for row in rows if row["searcher"] == name])
        shown = ~np.isnan(own).any(axis=0)
        low, middle, high = np.quantile(own[:, shown], [0.25, 0.5, 0.75], axis=0)
        label, color = labels[name].strip("*"), f"C{number % 10}"
        style, width = ("-", 2.2) if labels[name].startswith("**") else ("--", 1.1)
        style = style if number < 10 else "-."
        axes.plot(
            grid[shown], np.maximum(middle, LOWEST), style, color=color, lw=width, label=label
        )
        axes.fill_between(
            grid[shown],
            np.maximum(low, LOWEST),
            np.maximum(high, LOWEST),
            color=color,
            alpha=0.08,
            lw=0,
        )
    axes.set(yscale="log", xlim=(0, limit), ylim=(LOWEST, 5.0), title=rows[0]["table"])
    axes.set_xlabel("seconds of training")
    axes.set_ylabel(f"regret, degrees (0 drawn at {LOWEST:g}); median and quartiles")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=100)


def _steps(row: Mapping[str, str]) -> list[tuple[float, float]]:
    pairs = (step.split(":") for step in row["steps"].split())
    return [(float(at), float(lowest)) for at, lowest in pairs]


def _seconds(seconds: float, limit: float) -> str:
    return f"{seconds:.0f}" if np.isfinite(seconds) else f"> {limit:g}"


def _ratio(middle: float, reference: float, limit: float) -> str:
    if not np.isfinite(reference):
        return "-"
    over = middle if np.isfinite(middle) else limit
    return f"{'' if np.isfinite(middle) else '> '}{over / reference:.2f}"
