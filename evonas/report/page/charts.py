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
    """Points that belong together.

    Attributes:
        name: for the legend; empty: not in it.
        x, y: of each point; of ``bars``, y are names.
        marks: ``line``, ``steps`` (a value holds until the next), ``points``, ``bars`` (lying).
        color: ``#rrggbb``.
        hover: of each point, lines parted by a newline; none: the numbers alone.
        errors: half the length of an error bar, of each point; none if empty.
        size: of points; width of lines.
        symbol: of points.
        opacity: 0..1.
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


@dataclass(frozen=True)
class Chart:
    """Two axes and what lies between.

    Attributes:
        key: of the file and of the place on the page.
        title, note: above and below it.
        x, y: what the axes show, with the unit.
        series: what is drawn, the later over the earlier.
        logarithmic: ``x``, ``y``, ``xy`` or empty.
        limits: vertical lines, each with its place and its name.
        top: where the y axis ends, so that a few bad values do not hide the rest; None: all.
        wide: needs the whole width of a page.
        span: where the x axis begins and ends at first; None: all.
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


@dataclass(frozen=True)
class Coordinate:
    """An axis of parallel coordinates.

    Attributes:
        name: above it.
        values: of each line.
        ticks: place -> what is written there; empty: plain numbers.
    """

    name: str
    values: Sequence[float]
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line for each network, coloured by the last coordinate.

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
