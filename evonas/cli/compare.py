"""``evonas compare``: search strategies on one experiment at an equal budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evonas.api.comparison import compare
from evonas.cli.search import SearchPrinter
from evonas.core.overrides import Word
from evonas.report.page import writer
from evonas.report.tables import show


def run(
    source: str,
    overrides: Sequence[Word],
    optimizers: list[str],
    seeds: int,
    out: Path | None,
    console: Console,
) -> Path:
    """Run every strategy with every seed, print how they compare, and return the folder.

    Args:
        source: experiment, by name or path.
        overrides: ``key=value`` changes to it.
        optimizers: names; empty: all there are.
        seeds: how many, counted from the experiment's own.
        out: folder of the runs, ``comparison.md`` and ``comparison.png``.
        console: where to print.

    Raises:
        InputError: the experiment or a name is wrong.
    """
    with SearchPrinter(console) as view:
        found = compare(
            source,
            optimizers=optimizers,
            seeds=seeds,
            out=out,
            callbacks=[view],
            overrides=overrides,
        )
    for table in found.tables:
        show(table, console)
    files = f"{found.folder}/comparison.md, comparison.png, {writer.FILE}"
    console.print(f"written: {files}", soft_wrap=True)
    return found.folder
