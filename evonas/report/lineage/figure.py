"""Lineage figure: the networks of a search by generation and fitness, linked to their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evonas.core.files import write_file
from evonas.errors import InputError
from evonas.report.figure_files import FORMS, encoded, figure_style
from evonas.report.lineage import labels, marks
from evonas.report.lineage.marks import Places
from evonas.report.lineage.tree import Family
from evonas.runs.run_store import Trial

_LOG_FROM = 8.0  # the highest fitness is so many times the lowest
_RADII = (2.6, 6.0)  # points, of the cheapest and the dearest network
_APART, _ROOM = 14.0, 3.5  # points between two dots of a generation, at most and for large dots
_HEIGHT, _TITLE, _LEFT, _LEGEND, _BELOW = 5.0, 0.75, 0.8, 3.3, 0.55  # inches


def draw(trials: Sequence[Trial], path: Path, name: str = "", winner: str = "") -> Path | None:
    """Save the lineage figure of a search: a dot per network, a line from it to its parent.

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
    form = path.suffix.lower()[1:]
    if form not in FORMS:
        raise InputError(f"{path}: expected a file name that ends in .svg or .png")
    content = picture(trials, form, name, winner)
    if content is None:
        return None
    write_file(path, content)
    return path


def picture(trials: Sequence[Trial], form: str, name: str = "", winner: str = "") -> bytes | None:
    """Return the figure as the content of a file, ``svg`` or ``png``; see ``draw``."""
    family = Family.of(trials, winner)
    if not family.parents or not family.lowest:  # no network has a parent, or a result
        return None
    with figure_style(**{"font.size": 9.0}):
        return _picture(family, name, form)


def _picture(family: Family, name: str, form: str) -> bytes:
    from matplotlib.figure import Figure

    first = min(trial.generation for trial in family.networks.values())
    last = max(trial.generation for trial in [*family.networks.values(), *family.failed])
    width = float(np.clip(0.55 * (last - first + 1), 6.0, 12.0))
    unit = 72.0 * width / (last - first + 1)  # points a generation is wide
    places, radius = _places(family, unit), _radii(family, unit)
    steps = list(labels.steps(family))
    rows = labels.step_rows(steps, width + _LEGEND)
    below = _BELOW + labels.ROW * rows
    wide, high = _LEFT + width + _LEGEND, _TITLE + _HEIGHT + below
    figure = Figure(figsize=(wide, high))
    plot = figure.add_axes((_LEFT / wide, below / high, width / wide, _HEIGHT / high))
    values = np.array([trial.value for trial in family.networks.values()])
    logarithmic = values.min() > 0.0 and values.max() / values.min() > _LOG_FROM
    scaled = np.log10(values) if logarithmic else values
    span = float(np.ptp(scaled)) or max(abs(float(scaled[0])), 1.0) * 0.1
    low, top = float(scaled.min()) - 0.06 * span, float(scaled.max()) + 0.12 * span
    plot.set(xlim=(first - 0.5, last + 0.5), ylabel="fitness (lower is better)")
    plot.set_yscale("log" if logarithmic else "linear")
    plot.set_ylim(*((10.0**low, 10.0**top) if logarithmic else (low, top)))
    labels.ticks(plot)
    marks.bands(plot, first, last)
    marks.links(plot, family, places)
    marks.dots(plot, family, places, radius)
    marks.crosses(plot, _spread(family.failed, 0.5 * _APART, unit))
    marks.numbers(plot, places, steps)
    labels.legend(plot, family, radius)
    labels.title(figure, family, name, (_LEFT / wide, 1.0 - 0.12 / high), 0.27 / high)
    labels.list_steps(figure, steps, rows, _LEFT)
    return encoded(figure, form, dpi=150)


def _places(family: Family, unit: float) -> Places:
    """Return digest -> generation, moved sideways in the order of proposal, and fitness."""
    networks = list(family.networks.values())
    return {
        trial.digest: (x, trial.value)
        for trial, x in zip(networks, _spread(networks, _APART, unit), strict=True)
    }


def _spread(trials: Sequence[Trial], apart: float, unit: float) -> list[float]:
    """Return the place of each trial: those of a generation side by side, around its number.

    Args:
        trials: in order.
        apart: points between two of them; less where the generation has no room.
        unit: points a generation is wide.
    """
    sizes, done = Counter(trial.generation for trial in trials), Counter[int]()
    found = []
    for generation in (trial.generation for trial in trials):
        step = min(apart, 0.8 * unit / sizes[generation]) / unit
        found.append(generation + (done[generation] - (sizes[generation] - 1) / 2) * step)
        done[generation] += 1
    return found


def _radii(family: Family, unit: float) -> dict[str, float]:
    """Return digest -> radius of its dot in points, by the logarithm of its multiply-adds.

    Dots are smaller where a generation has many.
    """
    logs = np.log([max(trial.macs, 1) for trial in family.networks.values()])
    share = (logs - logs.min()) / (float(np.ptp(logs)) or 1.0)
    most = max(Counter(trial.generation for trial in family.networks.values()).values())
    low, high = np.array(_RADII) * np.clip(unit / most / _ROOM, 0.3, 1.0)
    return dict(zip(family.networks, (low + (high - low) * share).tolist(), strict=True))
