"""``evonas report``: runs as one page that opens anywhere, as pictures, or as Markdown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evonas.errors import InputError
from evonas.files import write_file
from evonas.report import facts, lineage, several
from evonas.report.network_picture import network
from evonas.report.page import page
from evonas.report.run import Run
from evonas.report.sections import figures
from evonas.report.static import picture
from evonas.report.tables import markdown

FILE = "report.html"
_FORMS = ("png", "svg")


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
        try:
            write(path, runs, every if running else 0)
            if pictures:
                made = save_figures(path.parent / "figures", runs)
                if not as_markdown:
                    console.print(
                        f"written: {made} pictures in {path.parent / 'figures'}", soft_wrap=True
                    )
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}): choose another file with --out"
            ) from error
        if not (every and running):
            break
        console.print(f"{path}: {facts.headline(runs[0])} Ctrl-C ends this.", soft_wrap=True)
        time.sleep(every)
    if as_markdown:
        print(text(runs))
    else:
        console.print(f"written: {path}", soft_wrap=True)
    return path


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
    files = {f"{one.key}.{form}": picture(one, form) for one in drawn for form in _FORMS}
    if len(runs) == 1:
        if runs[0].best.get("blocks"):
            files |= {f"winner.{form}": network(runs[0], form) for form in _FORMS}
        family = {f"lineage.{form}": _pedigree(runs[0], form) for form in _FORMS}
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


def _named(runs: list[Run]) -> list[Run]:
    """Return the runs, each with a name of its own."""
    names = [run.name for run in runs]
    return [
        replace(run, name=f"{run.name} ({i + 1})") if names.count(run.name) > 1 else run
        for i, run in enumerate(runs)
    ]


def _pedigree(run: Run, form: str = "svg") -> bytes:
    """Return the picture of a run's lineage; nothing if it has none."""
    return lineage.picture(run.trials, form, run.name, str(run.best.get("digest", ""))) or b""
