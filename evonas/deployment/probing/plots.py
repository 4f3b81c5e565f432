"""Figures of a probe: characteristic curves, and the relations between tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.deployment.probing.characteristic_curves import Curve
from evonas.deployment.probing.linear_probe import Primary
from evonas.deployment.probing.tables import share
from evonas.deployment.probing.targets import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3  # largest number of panels in a row
_MARKS = ("o", "s", "^", "D", "v", "P")  # of the thresholds, the largest first
_STYLES = ("-", (0, (5, 1.5)), (0, (2, 1)), (0, (5, 1.5, 1, 1.5)))  # of recommended taps, by rank
_RAMP = "plasma"
_END = 0.88  # end of the used part of the ramp, whose last colours are too light for lines
_FAINT = 0.45
_WIDE, _THIN = 2.2, 1.0


def curves(
    primary: Primary,
    labels: Sequence[str],
    thresholds: Sequence[float],
    recommended: Sequence[str],
    path: Path,
) -> None:
    """Save the characteristic curves: one panel for each label, one line for each tap.

    Args:
        primary: results of the backbone.
        labels: labels in the order of the panels.
        thresholds: thresholds of the marked knees.
        recommended: taps to emphasise, the best first; only their knees are marked.
        path: PNG file.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(math.ceil(math.sqrt(len(labels))), _COLUMNS)
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(1.8 + 4.4 * columns, 0.9 + 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    ramp = colormaps[_RAMP](np.linspace(0, _END, len(primary.taps)))
    colours = dict(zip(primary.taps, ramp, strict=True))
    styles = {tap: _style(tap, recommended) for tap in primary.taps}
    order = sorted(thresholds, reverse=True)
    for axes, label in zip(panels, labels, strict=False):
        for probed in primary.of(label):
            emphasised = probed.tap in recommended
            filters, errors = envelope(probed.curve)
            axes.plot(
                filters,
                errors,
                color=colours[probed.tap],
                **styles[probed.tap],
                alpha=1.0 if emphasised else _FAINT,
                zorder=3 if emphasised else 2,
            )
            for mark, threshold in zip(_MARKS, order if emphasised else (), strict=False):
                at = probed.curve.knee(threshold)
                _knee(axes, probed.curve, at, mark, colours[probed.tap])
        unit = "of the indicators" if primary.of(label)[0].classes else "in the label's unit"
        axes.set(title=label, xscale="log", xlabel="filters used", ylabel=f"held-out RMSE {unit}")
        constant = max(probed.curve.errors[0] for probed in primary.of(label))
        axes.axhline(constant, color="0.4", linestyle=":", linewidth=1.2, zorder=1)
        low, high = axes.get_ylim()  # the range includes at least a tenth of the constant's error
        axes.set_ylim(min(low, 0.9 * constant), max(high, 1.02 * constant))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(alpha=0.2)
    for axes in panels[len(labels) :]:
        axes.remove()
    figure.suptitle(f"Characteristic curves of {primary.name}: filters of each tap, by lasso")
    taps = [Line2D([], [], color=colours[tap], label=tap, **styles[tap]) for tap in primary.taps]
    knees = [
        Line2D([], [], color="0.2", marker=mark, linestyle="", label=f"knee, t = {value:g}")
        for mark, value in zip(_MARKS, order, strict=False)
    ]
    line = Line2D([], [], color="0.4", linestyle=":", label="constant")
    handles = [*taps, line, *knees]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, title="input to output")
    figure.savefig(path, dpi=120)


def envelope(curve: Curve) -> tuple[Floats, Floats]:
    """Return the numbers of filters in a curve, rising, and the lowest error for each number."""
    counts = np.unique(curve.filters[curve.filters > 0])
    lowest = [curve.errors[curve.filters == count].min() for count in counts]
    return counts.astype(np.float64), np.array(lowest)


def _style(tap: str, recommended: Sequence[str]) -> dict[str, Any]:
    if tap not in recommended:
        return {"linewidth": _THIN}
    return {"linewidth": _WIDE, "linestyle": _STYLES[recommended.index(tap) % len(_STYLES)]}


def _knee(axes: Axes, curve: Curve, at: int, mark: str, colour: Floats) -> None:
    axes.plot(
        curve.filters[at],
        curve.errors[at],
        marker=mark,
        markersize=6.5,
        color=colour,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=4,
    )


def relations(primaries: Sequence[Primary], labels: Sequence[str], path: Path) -> None:
    """Save a heat map of the best relative errors of each backbone (rows) and label (columns)."""
    from matplotlib.figure import Figure

    best = [[primary.best(label) for label in labels] for primary in primaries]
    values = np.array([[100 * share(probed) for probed in row] for row in best])
    size = (2.6 + 1.35 * len(labels), 1.5 + 0.75 * len(primaries))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(values, cmap="Blues_r", vmin=0, vmax=110, aspect="auto")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(primaries)), [primary.name for primary in primaries])
    axes.tick_params(length=0)
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] < 55
        text = f"{values[row, column]:.0f}\n{best[row][column].tap}"
        colour = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(picture, label="error, percent of the constant's")
    axes.set_title("Best tap of each backbone")
    figure.savefig(path, dpi=120)
