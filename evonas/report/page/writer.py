"""The report of a run, or of several side by side: one HTML page, pictures, Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evonas.core.files import write_file
from evonas.core.version import __version__
from evonas.report.figure_files import FORMS
from evonas.report.lineage import figure as lineage
from evonas.report.page import comparison_sections as several
from evonas.report.page import plotly_backend as interactive
from evonas.report.page import run_tables as facts
from evonas.report.page.matplotlib_backend import picture
from evonas.report.page.network_diagram import network
from evonas.report.page.run_data import Run
from evonas.report.page.sections import figures, of_run
from evonas.report.tables import markdown

FILE = "report.html"


def write(path: Path, runs: Sequence[Run], refresh: int = 0) -> None:
    """Write the page in one step, so that a browser never loads a partial file.

    Raises:
        OSError: the page cannot be written.
    """
    pedigree = _pedigree(runs[0]).decode() if len(runs) == 1 else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page(runs, refresh, pedigree))


def page(runs: Sequence[Run], refresh: int = 0, pedigree: str = "") -> str:
    """Return the page of a run, or that of several, compared.

    Args:
        runs: at least one.
        refresh: seconds after which a browser reloads the page; 0: never.
        pedigree: SVG of the lineage figure of a single run; empty if there is none.
    """
    sections = list(of_run(runs[0], pedigree) if len(runs) == 1 else several.sections(runs))
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} searches"
    lead = facts.headline(runs[0]) if len(runs) == 1 else ", ".join(run.name for run in runs)
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    loader = PackageLoader("evonas.report.page", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("page.html").render(
        title=title,
        lead=lead,
        sections=sections,
        charts=_for_a_script(
            {one.key: interactive.plain(one) for part in sections for one in part.figures}
        ),
        refresh=refresh,
        version=__version__,
        plotly=get_plotlyjs(),
    )


def save_figures(folder: Path, runs: Sequence[Run]) -> int:
    """Save every chart as PNG and SVG; return the number of files.

    Raises:
        OSError: a file cannot be written.
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
    """Return a short report as Markdown."""
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
            *facts.tested(run),
            facts.front(run, 6),
            facts.failures(run),
        )
        tables = [table for table in found if table]
        again = facts.again(run)
    parts = [markdown(table) for table in tables if table.rows]
    return "\n".join([*lines, *parts, "```", *again, "```"])


def _pedigree(run: Run, form: str = "svg") -> bytes:
    """Return the lineage figure of a run; empty if it has none."""
    return lineage.picture(run.trials, form, run.name, str(run.best.get("digest", ""))) or b""


def _for_a_script(content: Any) -> str:
    """Return JSON that is safe inside a ``<script>`` element."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
