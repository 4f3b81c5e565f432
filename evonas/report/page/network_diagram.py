"""Diagram of a network: its blocks in rows, with output shape and cost."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from evonas.report.figure_files import encoded, figure_style
from evonas.report.page import charts
from evonas.report.page.formatting import amount
from evonas.report.page.run_data import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 5  # blocks in a row
_WIDE, _HIGH, _GAP, _BETWEEN = 1.95, 1.55, 0.35, 0.35  # inches
_SHARES = 0.14  # inches that the bar of a block is high


def network(run: Run, form: str) -> bytes:
    """Return the diagram of the winner; a bar in each block shows its share of multiply-adds.

    Args:
        run: whose best.json holds the blocks of the winner.
        form: ``png`` or ``svg``.
    """
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    blocks = list(run.best["blocks"])
    settings = run.best.get("architecture", {}).get("settings", {})
    tap = str(settings.get("tap", run.experiment.get("tap", "image")))
    first = {"name": f"tap {tap}", "layers": "features of the backbone", "shape": [], "macs": 0}
    boxes = [{**first, "params": 0}, *blocks]
    rows = -(-len(boxes) // _ROW)
    width = min(len(boxes), _ROW) * (_WIDE + _GAP)
    height = rows * (_HIGH + _BETWEEN)
    whole = max(sum(one["macs"] for one in blocks), 1)
    with figure_style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, width), ylim=(-height, 0))
        axes.set_axis_off()
        for number, one in enumerate(boxes):
            row, column = divmod(number, _ROW)
            x, y = column * (_WIDE + _GAP) + _GAP / 2, -row * (_HIGH + _BETWEEN) - _BETWEEN / 2
            _box(axes, one, x, y, one["macs"] / whole, not number)
            if number:
                _arrow(axes, x, y)
        return encoded(figure, form)


def _box(axes: Axes, one: dict[str, Any], x: float, y: float, share: float, first: bool) -> None:
    from matplotlib.patches import Rectangle

    face = "#f0f1f3" if first else "#eaf3f9"
    axes.add_patch(Rectangle((x, y - _HIGH), _WIDE, _HIGH, facecolor=face, edgecolor="#7c8794"))
    _write(axes, textwrap.shorten(str(one["name"]), 26, placeholder="…"), x, y - 0.08, 9, "bold")
    layers = textwrap.wrap(str(one["layers"]), 32)[:4]
    _write(axes, "\n".join(layers), x, y - 0.3, 7, color="#3b4552")
    if first:
        return
    gives = "×".join(map(str, one["shape"]))
    _write(axes, f"gives {gives}" if gives else "", x, y - 0.89, 7.5)
    cost = f"{amount(one['macs'])} multiply-adds, {amount(one['params'])} params"
    _write(axes, cost, x, y - 1.09, 6.8)
    bottom = (x + 0.08, y - _HIGH + 0.08)
    full = _WIDE - 0.16
    axes.add_patch(Rectangle(bottom, full, _SHARES, facecolor="white", edgecolor="#c4cbd3", lw=0.6))
    axes.add_patch(Rectangle(bottom, full * share, _SHARES, facecolor=charts.BLUE))
    axes.text(
        bottom[0] + full - 0.03, bottom[1] + 0.02, f"{100 * share:.0f} %", fontsize=6.5, ha="right"
    )


def _write(
    axes: Axes, text: str, x: float, y: float, size: float, weight: str = "normal", color: str = "k"
) -> None:
    axes.text(x + 0.08, y, text, fontsize=size, weight=weight, va="top", color=color)


def _arrow(axes: Axes, x: float, y: float) -> None:
    """Draw an arrow into a box from the left."""
    style = {"arrowstyle": "-|>", "color": "#7c8794", "lw": 1.2}
    reach = _GAP if x > _GAP else _GAP / 2  # the first of a row stands at the edge
    axes.annotate("", (x, y - _HIGH / 2), (x - reach, y - _HIGH / 2), arrowprops=style)
