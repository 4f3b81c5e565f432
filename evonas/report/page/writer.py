"""The page, the pictures and the Markdown of a report, written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evonas.core.files import write_file
from evonas.report.figure_files import FORMS
from evonas.report.lineage import figure as lineage
from evonas.report.page import comparison_sections as several
from evonas.report.page import run_tables as facts
from evonas.report.page.html import page
from evonas.report.page.matplotlib_backend import picture
from evonas.report.page.network_diagram import network
from evonas.report.page.run_data import Run
from evonas.report.page.sections import figures
from evonas.report.tables import markdown

FILE = "report.html"


def write(path: Path, runs: Sequence[Run], refresh: int = 0) -> None:
    """Write the page in one step, so that a browser never sees half of it.

    Raises:
        OSError: it cannot be written.
    """
    pedigree = _pedigree(runs[0]).decode() if len(runs) == 1 else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page(runs, refresh, pedigree))


def save_figures(folder: Path, runs: Sequence[Run]) -> int:
    """Save every chart as PNG and SVG; return how many files these are.

    Raises:
        OSError: one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(runs[0]) if len(runs) == 1 else several.figures(runs)
    files = {f"{one.key}.{form}": picture(one, form) for one in drawn for form in FORMS}
    if len(runs) == 1:
        if runs[0].best.get("blocks"):
            files |= {f"winner.{form}": network(runs[0], form) for form in FORMS}
        family = {f"lineage.{form}": _pedigree(runs[0], form) for form in FORMS}
        files |= {name: content for name, content in family.items() if content}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return len(files)


def text(runs: Sequence[Run]) -> str:
    """Return the runs as Markdown, short enough for a pull request."""
    if len(runs) > 1:
        lines = [f"## {len(runs)} searches", "", *several.warnings(runs), ""]
        tables = [several.table(runs), several.differences(runs)]
        again = [line for run in runs for line in facts.again(run)]
    else:
        run = runs[0]
        lines = [f"## {run.name}", "", facts.headline(run), "", *facts.sentences(run), ""]
        found = (
            facts.contenders(run),
            facts.retrained(run),
            facts.front(run, 6),
            facts.failures(run),
        )
        tables = [table for table in found if table]
        again = facts.again(run)
    parts = [markdown(table) for table in tables if table.rows]
    return "\n".join([*lines, *parts, "```", *again, "```"])


def _pedigree(run: Run, form: str = "svg") -> bytes:
    """Return the picture of a run's lineage; nothing if it has none."""
    return lineage.picture(run.trials, form, run.name, str(run.best.get("digest", ""))) or b""
