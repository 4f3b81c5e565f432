"""The family tree of a search as a picture: who was made from whom, and what that brought."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.core.files import write_file
from evonas.errors import InputError
from evonas.report.lineage import labels as words
from evonas.report.lineage import marks
from evonas.report.lineage.layout import columns, flags, radii
from evonas.report.lineage.marks import Places
from evonas.report.lineage.tree import Family, step
from evonas.runs.run_store import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Label = tuple[str, str, str]  # digest, words, colour

FORMATS = (".svg", ".png")
_POINTS = 72.0  # of an inch
_LOG_FROM = 8.0  # the highest fitness is so many times the lowest
_RADII = (2.6, 6.0)  # points, of the cheapest and the dearest network
_AIR, _MARGIN = 0.7, 10.0  # points around a dot; right of a label
_HEIGHT, _TITLE, _EDGE, _LEFT, _LEGEND, _TICKS, _ROW = (
    5.0,
    0.75,
    0.1,
    0.8,
    3.3,
    0.36,
    0.19,
)  # inches
# A drawing of the same journal has the same bytes; text stays text, and names are no formulas.
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "evonas",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so widths are known everywhere
    "font.size": 9.0,
}


def draw(trials: Sequence[Trial], path: Path, name: str = "", winner: str = "") -> Path | None:
    """Save a picture of a search: a dot for each network, a line from it to its parent.

    Args:
        trials: of the journal, in order.
        path: of the picture; its ending says which kind: ``.svg`` or ``.png``.
        name: of the run, for the title.
        winner: digest of the network that the search names, if known.

    Returns:
        The path; None, and no file, where no network has a parent, or none succeeded.

    Raises:
        InputError: the ending is another one.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: expected a file name that ends in {' or '.join(FORMATS)}")
    content = picture(trials, path.suffix.lower()[1:], name, winner)
    if content is None:
        return None
    write_file(path, content)
    return path


def picture(trials: Sequence[Trial], form: str, name: str = "", winner: str = "") -> bytes | None:
    """Return the picture as a file's content, of the form ``svg`` or ``png``; see ``draw``."""
    family = Family.of(trials, winner)
    if not family.parents or not family.lowest:  # nobody came of anybody, or to anything
        return None
    import matplotlib  # slow to import, and only pictures need it

    with matplotlib.rc_context(_SETTINGS):
        return _picture(family, name, form)


def _picture(family: Family, name: str, form: str) -> bytes:
    from matplotlib.figure import Figure

    first = min(trial.generation for trial in family.networks.values())
    last = max(trial.generation for trial in [*family.networks.values(), *family.failed])
    width = float(np.clip(0.55 * (last - first + 1), 6.0, 12.0))
    unit = width * _POINTS / (last - first + 1)  # points a generation is wide
    places, radius, ends = _places(family, unit)
    right = last + 0.5 + _LEGEND * _POINTS / unit  # the picture's edge, in generations
    labels = [
        _fitting(family, *label, (right - places[label[0]][0]) * unit) for label in _steps(family)
    ]
    starts = [(places[digest][0] - first) * unit for digest, _, _ in labels]
    rows = flags(starts, [words.width(text) for _, text, _ in labels], gap=6.0)
    strip = _TICKS + _ROW * (max(rows) + 1)
    size = (_LEFT + width + _LEGEND, _TITLE + _HEIGHT + strip + _EDGE)
    figure = Figure(figsize=size)

    def axes(bottom: float, height: float, **options: Any) -> Axes:
        box = (_LEFT / size[0], bottom / size[1], width / size[0], height / size[1])
        return figure.add_axes(box, **options)

    plot = axes(_EDGE + strip, _HEIGHT)
    under = axes(_EDGE, strip, sharex=plot, zorder=-1)
    plot.set(xlim=(first - 0.5, last + 0.5), ylabel="fitness (lower is better)")
    plot.set_yscale("log" if _logarithmic(family) else "linear")
    plot.set_ylim(*ends)
    under.set_ylim(-strip, 0.0)
    under.set_axis_off()
    words.ticks(plot)
    marks.bands(plot, under, first, last)
    marks.links(plot, family, places)
    marks.dots(plot, family, places, radius)
    marks.crosses(plot, family, unit)
    marks.hang(plot, under, places, labels, rows, (_TICKS, _ROW))
    words.legend(plot, family, radius)
    words.title(figure, family, name, (_LEFT / size[0], 1.0 - 0.12 / size[1]), 0.27 / size[1])
    stream = io.BytesIO()
    # Without a date, and in PNG without matplotlib's version.
    nameless: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(stream, format=form, dpi=150, metadata=nameless)
    return stream.getvalue()


def _logarithmic(family: Family) -> bool:
    values = [trial.value for trial in family.networks.values()]
    return min(values) > 0.0 and max(values) / min(values) > _LOG_FROM


def _places(family: Family, unit: float) -> tuple[Places, dict[str, float], tuple[float, float]]:
    """Return where each network lies, the radius of its dot, and the ends of the fitness axis."""
    networks = list(family.networks.values())
    values = np.array([trial.value for trial in networks])
    scaled = np.log10(values) if _logarithmic(family) else values
    span = float(np.ptp(scaled)) or max(abs(float(scaled[0])), 1.0) * 0.1
    low, high = float(scaled.min()) - 0.06 * span, float(scaled.max()) + 0.12 * span
    heights = (scaled - low) / (high - low) * _HEIGHT * _POINTS
    sizes = radii([trial.macs for trial in networks], *_RADII)
    halo = np.array([marks.HALO if trial.digest == family.winner else 0.0 for trial in networks])
    generations = np.array([trial.generation for trial in networks])
    groups = [np.flatnonzero(generations == g) for g in np.unique(generations)]
    around = sizes + _AIR + halo
    moved, scale = columns([heights[g] for g in groups], [around[g] for g in groups], unit / 2)
    offsets = np.zeros(len(networks))
    for group, own in zip(groups, moved, strict=True):
        offsets[group] = own / unit
    keys = [trial.digest for trial in networks]
    points = zip((generations + offsets).tolist(), values.tolist(), strict=True)
    ends = (10.0**low, 10.0**high) if _logarithmic(family) else (low, high)
    radius = dict(zip(keys, (sizes * scale).tolist(), strict=True))
    return dict(zip(keys, points, strict=True)), radius, ends


def _steps(family: Family) -> list[tuple[str, str]]:
    """Return digest and colour of each network on the lines of descent, once each."""
    found: dict[str, str] = {}
    for digest, color, _ in words.lines(family):
        for trial in family.descent(digest):
            found.setdefault(trial.digest, color)
    return list(found.items())


def _fitting(family: Family, digest: str, color: str, room: float) -> Label:
    """Return the label of a network on a line: what it changed, as much of it as there is room."""
    parent = family.parents.get(digest)
    if parent is None:
        alone = digest not in family.parents.values()
        return digest, "has no parent" if alone else "first ancestor", color
    told = [step(family.networks[parent], family.networks[digest], most) for most in (2, 1, 0)]
    fitting = (text for text in told if words.width(text) < room - _MARGIN)
    return digest, next(fitting, told[-1]), color
