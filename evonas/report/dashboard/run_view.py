"""View of one run, or of several side by side: the sections below the table of all runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evonas.report.page import charts
from evonas.report.page import comparison_sections as several
from evonas.report.page import plotly_backend as interactive
from evonas.report.page import run_tables as facts
from evonas.report.page.charts import Chart, Figure, Series
from evonas.report.page.formatting import MOST, architecture, line, thinned, top
from evonas.report.page.pareto_chart import MILLISECONDS, MULTIPLY_ADDS, trade_off
from evonas.report.page.run_charts import kinds
from evonas.report.page.run_data import Run
from evonas.report.page.sections import Section
from evonas.runs.trial import Trial

_NOTE = (
    "Error of the network with the lowest fitness so far: a cheaper one may take its place at a "
    "slightly higher error."
)


def sections(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the sections of runs as plain data, with charts as plotly draws them."""
    if not runs:
        return []
    found = _of_run(runs[0]) if len(runs) == 1 else _side_by_side(runs)
    return [_plain(section) for section in found]


def _of_run(run: Run) -> Iterator[Section]:
    tables = [facts.contenders(run), facts.retrained(run), *facts.tested(run)]
    lines = [facts.headline(run), *facts.sentences(run)]
    yield Section("outcome", run.name, lines, [table for table in tables if table])
    yield Section("progress", "Progress", figures=_known(progress([run]), progress([run], True)))
    costs = _known(trade_off(run, MULTIPLY_ADDS), trade_off(run, MILLISECONDS))
    yield Section("trade-off", "Error against cost", tables=[facts.front(run)], figures=costs)
    found = [
        table for table in (facts.blocks(run), facts.counts(run), facts.failures(run)) if table
    ]
    yield Section("work", "Winner, trials and failures", (), found, _known(kinds(run)))


def _side_by_side(runs: Sequence[Run]) -> Iterator[Section]:
    yield Section("outcome", "Side by side", list(several.warnings(runs)), [several.table(runs)])
    yield Section("progress", "Progress", figures=_known(progress(runs), progress(runs, True)))
    yield Section("trade-off", "Error against cost", figures=[several.trade_off(runs)])
    found = several.differences(runs)
    none = [] if found.rows else ["The experiments of these runs do not differ."]
    yield Section("settings", "What differs", none, [found] if found.rows else [])


def progress(runs: Sequence[Run], by_time: bool = False) -> Chart | None:
    """Return the chart of the error of the best network so far; None before the first result.

    Args:
        runs: at least one; of a single run, every network is a point.
        by_time: over minutes instead of distinct trainings.
    """
    drawn: list[Series] = []
    for run, color in zip(runs, several.colors(runs), strict=True):
        rows = [(n, one) for n, one in enumerate(run.trained, 1) if one.fitness is not None]
        if by_time:
            rows.sort(key=lambda row: row[1].at)
        if not rows:
            continue
        if len(runs) == 1:
            kept = {id(one) for one in thinned([one for _, one in rows], MOST)}
            own = [row for row in rows if id(row[1]) in kept]
            drawn.append(_points(run, own, by_time))
        drawn.append(
            _best(run, rows, by_time, color, "best so far" if len(runs) == 1 else run.name)
        )
    if not drawn:
        return None
    values = np.array([float(y) for series in drawn for y in series.y])
    return Chart(
        "progress_by_time" if by_time else "progress",
        f"Error of the best against {'time' if by_time else 'distinct trainings'}",
        "minutes of searching" if by_time else "distinct trainings",
        runs[0].axis,
        drawn,
        note=_NOTE,
        top=top(values),
    )


def _points(run: Run, rows: Sequence[tuple[int, Trial]], by_time: bool) -> Series:
    x = [one.at / 60 if by_time else float(n) for n, one in rows]
    y = [run.error_of(one) or 0.0 for _, one in rows]
    words = [line(run, one) for _, one in rows]
    return Series("a network", x, y, color=charts.GREY, hover=words, opacity=0.6)


def _best(
    run: Run, rows: Sequence[tuple[int, Trial]], by_time: bool, color: str, name: str
) -> Series:
    """Return the steps of the best so far, ending at the last row."""
    steps: list[tuple[float, Trial]] = []
    best = rows[0][1]
    for n, one in rows:
        x = one.at / 60 if by_time else float(n)
        if one.value < best.value or not steps:
            best = one
            steps.append((x, best))
    steps.append((x, best))
    words = [f"{run.name}\n{architecture(run, one)}" for _, one in steps]
    y = [run.error_of(one) or 0.0 for _, one in steps]
    return Series(name, [x for x, _ in steps], y, "steps", color, words, size=2.5)


def _known(*figures: Chart | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _plain(section: Section) -> dict[str, Any]:
    """Return a section as plain data."""
    return {
        "key": section.key,
        "title": section.title,
        "lines": list(section.lines),
        "tables": [
            {
                "title": table.title,
                "columns": list(table.columns),
                "rows": [list(cells) for cells in table.rows],
                "notes": list(table.notes),
                "names": table.names,
            }
            for table in section.tables
        ],
        "charts": [
            {
                "key": figure.key,
                "title": figure.title,
                "note": figure.note,
                **interactive.plain(figure),
            }
            for figure in section.figures
        ],
    }
