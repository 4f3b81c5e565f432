"""``evonas report``: runs as one page that opens anywhere, as pictures, or as Markdown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evonas.core.files import writing
from evonas.report.page import run_tables as facts
from evonas.report.page.run_data import Run
from evonas.report.page.writer import FILE, save_figures, text, write


def run(
    folders: Sequence[Path],
    out: Path | None,
    pictures: bool,
    as_markdown: bool,
    every: int,
    console: Console,
) -> Path:
    """Write the report of a run, or that of several, compared; return its file.

    Args:
        folders: of the runs, running or not.
        out: file of the page; by default ``report.html`` in the one run's folder, or here.
        pictures: also save every chart as PNG and SVG, in ``figures`` beside the page.
        as_markdown: print Markdown as well, and nothing else.
        every: seconds after which the page is written again, while a run is running; 0: once.
        console: where to print.

    Raises:
        InputError: there is no such run, it has no trial yet, a file is damaged, or the page
            cannot be written.
    """
    path = out or (folders[0] if len(folders) == 1 else Path()) / FILE
    while True:
        runs = _named([Run.read(folder) for folder in folders])
        running = any(one.state == "running" for one in runs)
        with writing(path, "choose another file with --out"):
            write(path, runs, every if running else 0)
            if pictures:
                made = save_figures(path.parent / "figures", runs)
                if not as_markdown:
                    console.print(
                        f"written: {made} pictures in {path.parent / 'figures'}", soft_wrap=True
                    )
        if not (every and running):
            break
        console.print(f"{path}: {facts.headline(runs[0])} Ctrl-C ends this.", soft_wrap=True)
        time.sleep(every)
    if as_markdown:
        print(text(runs))
    else:
        console.print(f"written: {path}", soft_wrap=True)
    return path


def _named(runs: list[Run]) -> list[Run]:
    """Return the runs, each with a name of its own."""
    names = [run.name for run in runs]
    return [
        replace(run, name=f"{run.name} ({i + 1})") if names.count(run.name) > 1 else run
        for i, run in enumerate(runs)
    ]
