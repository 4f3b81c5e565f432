"""One HTML page that holds all it needs: a run, or several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evonas.core.version import __version__
from evonas.report.page import comparison_sections as several
from evonas.report.page import plotly_backend as interactive
from evonas.report.page import run_tables as facts
from evonas.report.page.run_data import Run
from evonas.report.page.sections import of_run


def page(runs: Sequence[Run], refresh: int = 0, pedigree: str = "") -> str:
    """Return the page of a run, or that of several, compared.

    Args:
        runs: at least one.
        refresh: seconds after which a browser loads it again; 0: never.
        pedigree: SVG of the one run's lineage; empty if it has none.
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


def _for_a_script(content: Any) -> str:
    """Return JSON that ends no script, whatever texts it holds."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
