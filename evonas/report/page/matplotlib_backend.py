"""Draws the charts of the page with matplotlib, as PNG or SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evonas.report.figure_files import encoded, figure_style
from evonas.report.page.charts import Chart, Figure, Parallel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SYMBOLS = {"circle": "o", "star": "*", "diamond": "D", "cross": "X"}


def picture(figure: Figure, form: str) -> bytes:
    """Return a chart as the content of a file.

    Args:
        figure: the chart.
        form: ``png`` or ``svg``.
    """
    from matplotlib.figure import Figure as Canvas  # slow to import, and only pictures need it

    with figure_style():
        canvas = Canvas(figsize=(8.5, _height(figure)), layout="constrained")
        if isinstance(figure, Parallel):
            _parallel(canvas.subplots(), figure)
        else:
            _chart(canvas.subplots(), figure)
        return encoded(canvas, form)


def _height(figure: Figure) -> float:
    """Return the height of a chart in inches; horizontal bars need a row each."""
    if isinstance(figure, Parallel) or not _lying(figure):
        return 4.6
    return 0.35 * max(len(series.y) for series in figure.series) + 1.6


def _lying(figure: Figure) -> bool:
    return isinstance(figure, Chart) and any(one.marks == "bars" for one in figure.series)


def _chart(axes: Axes, chart: Chart) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    right = axes.twinx() if chart.right else axes
    for series in chart.series:
        _draw(right if series.right else axes, series)
    if chart.right:
        right.set_ylabel(chart.right)
        right.spines["right"].set_visible(True)
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    axes.grid(alpha=0.25, axis="x" if _lying(chart) else "both")
    axes.set_axisbelow(True)
    for name in chart.logarithmic:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        for ticker, within in ((axis.set_major_locator, (1.0,)), (axis.set_minor_locator, (2, 5))):
            ticker(LogLocator(subs=within))
        axis.set_major_formatter(FuncFormatter(_tick))
        axis.set_minor_formatter(FuncFormatter(_tick))
    if _lying(chart):
        axes.invert_yaxis()
        axes.set_xlim(left=0.0)
    if chart.top is not None:
        low = chart.lowest
        axes.set_ylim(low - 0.05 * (chart.top - low), chart.top)
    if chart.span is not None:
        axes.set_xlim(*chart.span)
    for x, name in chart.limits:
        axes.axvline(x, linestyle="--", linewidth=1, color="grey")
        axes.annotate(name, (x, 1), xycoords=("data", "axes fraction"), fontsize=8, rotation=90)
        axes.texts[-1].set(ha="right", va="top")
    if sum(bool(series.name) for series in chart.series) > 1:
        handles, labels = axes.get_legend_handles_labels()
        if chart.right:
            more, names = right.get_legend_handles_labels()
            handles, labels = [*handles, *more], [*labels, *names]
        # "best" knows the lines of the left axis alone
        place: Literal["upper center", "best"] = "upper center" if chart.right else "best"
        axes.legend(handles, labels, fontsize=8, frameon=False, loc=place)


def _tick(value: float, _: int) -> str:
    """Return the label of a tick as a plain number, not as a power of ten."""
    return f"{value:g}"


def _draw(axes: Axes, series: Series) -> None:
    x: Any = np.asarray(series.x, np.float64)
    look: dict[str, Any] = {"color": series.color, "alpha": series.opacity}
    look["label"] = series.name or "_"
    if series.marks == "bars":
        axes.barh(list(map(str, series.y)), x, xerr=list(series.errors) or None, **look)
        return
    y: Any = np.asarray(series.y, np.float64)
    if series.marks == "points":
        marker = _SYMBOLS[series.symbol]
        axes.plot(x, y, marker, markersize=0.75 * series.size, **look)
    else:
        style = "steps-post" if series.marks == "steps" else "default"
        axes.plot(x, y, drawstyle=style, linewidth=series.size, **look)
    if series.errors:
        axes.errorbar(x, y, yerr=list(series.errors), fmt="none", color=series.color, capsize=3)


def _parallel(axes: Axes, figure: Parallel) -> None:
    from matplotlib import colormaps

    rows = []
    for one in figure.coordinates:
        values = np.asarray(one.values, np.float64)
        low, high = (-0.15, 1.0) if one.ticks else (float(values.min()), float(values.max()))
        rows.append((values - low) / (high - low or 1.0))
        for place, words in one.ticks:
            at = (place - low) / (high - low)
            axes.annotate(words, (len(rows) - 1, at), fontsize=6.5, ha="center", va="center")
            axes.texts[-1].set_bbox({"facecolor": "white", "alpha": 0.7, "pad": 0.5, "lw": 0})
        if not one.ticks:
            for at, value in ((0.0, low), (1.0, high)):
                axes.annotate(f"{value:.3g}", (len(rows) - 1, at), fontsize=6.5, ha="center")
    places = np.stack(rows, 1)
    colors = colormaps["viridis"](places[:, -1])
    for line, color in zip(places, colors, strict=True):
        axes.plot(range(len(rows)), line, color=color, alpha=0.5, linewidth=0.8)
    names = [one.name for one in figure.coordinates]
    axes.set_xticks(range(len(rows)), names, rotation=30, ha="right", fontsize=8)
    axes.set(title=figure.title, yticks=[], ylim=(-0.05, 1.05))
    for x in range(len(rows)):
        axes.axvline(x, color="black", linewidth=0.8)
