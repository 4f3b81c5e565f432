"""The verbs that show a search: reports, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

verbs = typer.Typer()


@verbs.command(epilog="Example: evonas report runs/quickstart --figures")
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of searches, running or not.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page; report.html in RUN, or here for several runs."),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Save the charts as PNG and SVG as well.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print it as Markdown too, for a pull request.")
    ] = False,
    every: Annotated[
        int,
        typer.Option(help="Write the page again after so many seconds, while it runs.", min=0),
    ] = 0,
) -> None:
    """Show a search as one page that opens anywhere; several searches side by side."""
    from evonas.cli import report as verb

    verb.run(runs, out, figures, markdown, every, Console())


@verbs.command(epilog="Example: evonas lineage runs/quickstart-evolution-s0 --out lineage.png")
def lineage(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a search, finished or running.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File, .svg or .png; lineage.svg in RUN if left out.")
    ] = None,
) -> None:
    """Draw who was made from whom in a search, and what changed on the way to the winner."""
    from evonas.cli import lineage as verb

    verb.run(folder, out, Console())
