"""Charts as plain data, which plotly draws on the page and matplotlib in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Marks = Literal["line", "steps", "points", "bars"]
Symbol = Literal["circle", "star", "diamond", "cross"]

#: Colours that are distinct for colour-blind readers too (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, GREY = "#cc79a7", "#56b4e9", "#8a8f98"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000", "#b8a600")


@dataclass(frozen=True)
class Series:
    """A data series of a chart.

    Attributes:
        name: for the legend; empty: not in it.
        x, y: values; for ``bars``, y holds names.
        marks: ``line``, ``steps`` (a value holds until the next), ``points``, horizontal ``bars``.
        color: ``#rrggbb``.
        hover: multi-line text of each point; empty: the values.
        errors: half the length of each error bar; empty: no error bars.
        size: of points; width of lines.
        symbol: of points.
        opacity: 0..1.
        right: whether y belongs to the right axis of the chart.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float] | Sequence[str]
    marks: Marks = "points"
    color: str = BLUE
    hover: Sequence[str] = ()
    errors: Sequence[float] = ()
    size: float = 7.0
    symbol: Symbol = "circle"
    opacity: float = 1.0
    right: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with two axes, or a third on the right.

    Attributes:
        key: name of the file, and id on the page.
        title, note: above and below the chart.
        x, y: labels of the axes, with units.
        series: drawn in this order.
        logarithmic: ``x``, ``y``, ``xy`` or empty.
        limits: x and name of vertical lines.
        top: upper end of the y axis, below a few outliers; None: automatic.
        wide: whether the chart takes the whole width of a page.
        span: initial range of the x axis; None: automatic.
        right: label of the right axis, for series that belong to it; empty: there is none.
    """

    key: str
    title: str
    x: str
    y: str
    series: Sequence[Series]
    note: str = ""
    logarithmic: str = ""
    limits: Sequence[tuple[float, str]] = ()
    top: float | None = None
    wide: bool = False
    span: tuple[float, float] | None = None
    right: str = ""

    @property
    def lowest(self) -> float:
        """Lowest y of the series on the left axis."""
        return min(min(map(float, one.y)) for one in self.series if len(one.y) and not one.right)


@dataclass(frozen=True)
class Coordinate:
    """An axis of parallel coordinates.

    Attributes:
        name: above the axis.
        values: one of each line.
        ticks: (value, label); empty: plain numbers.
    """

    name: str
    values: Sequence[float]
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line per network, coloured by the last coordinate.

    Attributes:
        key, title, note: as of a ``Chart``.
        coordinates: from left to right.
    """

    key: str
    title: str
    coordinates: Sequence[Coordinate]
    note: str = ""
    wide: bool = True


Figure = Chart | Parallel
