"""``evonas.write_report``: the page of one or several searches; the figure of a lineage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from evonas.core.files import read_json, writing
from evonas.errors import InputError
from evonas.report.lineage import figure as lineage
from evonas.report.page import run_tables as facts
from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.runs.run_store import read_journal


class HasRunDir(Protocol):
    """Anything with a run directory, such as ``SearchResult``."""

    @property
    def run_dir(self) -> Path:
        """The run directory."""


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        path: of the HTML page.
        figures: folder of the charts; None where none were asked for.
        charts: number of files in it.
    """

    path: Path
    figures: Path | None
    charts: int
    _runs: tuple[Run, ...] = field(repr=False)

    @property
    def markdown(self) -> str:
        """The same as Markdown, short enough for a pull request."""
        return writer.text(self._runs)


def write_report(
    runs: HasRunDir | str | Path | Iterable[HasRunDir | str | Path],
    path: str | Path | None = None,
    *,
    figures: bool = False,
    every: int = 0,
    on_wait: Callable[[str], None] | None = None,
) -> Report:
    """Write one HTML page on a search, or on several side by side; it needs no other file.

    Args:
        runs: a run directory, its folder of retrained networks, or a ``SearchResult``, or
            several; they may be running.
        path: of the page; by default ``report.html`` in the one run directory, or here.
        figures: also save every chart as PNG and SVG, in ``figures`` beside the page.
        every: seconds after which the page is written again, until no run is running; 0: once.
        on_wait: called with a line on the run each time before ``every`` seconds pass.

    Raises:
        InputError: there is no such run, it has no trial yet, a file is damaged, or the page
            cannot be written.

    Examples:
        >>> evonas.write_report(["runs/quickstart", "runs/quickstart-ga-s0"], "both.html").path
        PosixPath('both.html')
    """
    if isinstance(runs, str | Path) or not isinstance(runs, Iterable):
        runs = [runs]
    given = [Path(one) if isinstance(one, str | Path) else one.run_dir for one in runs]
    folders = [_folder(one) for one in given]
    if not folders:
        raise InputError("write_report: expected at least one run, got none")
    file = Path(path) if path is not None else _default(given, folders)
    pictures, charts = file.parent / "figures", 0
    while True:
        found = _named([Run.read(folder) for folder in folders])
        running = bool(every) and any(one.state == "running" for one in found)
        with writing(file, "choose another file with --out"):
            writer.write(file, found, every if running else 0)
            if figures:
                charts = writer.save_figures(pictures, found)
        if not running:
            return Report(file, pictures if figures else None, charts, tuple(found))
        if on_wait is not None:
            on_wait(f"{file}: {facts.headline(found[0])}")
        time.sleep(every)


def draw_lineage(run_dir: Path, path: str | Path | None = None) -> Path:
    """Draw the networks of a run, finished or running, below their parents; return the file.

    Args:
        run_dir: the run directory.
        path: of the figure, SVG or PNG; by default ``lineage.svg`` in the run directory.

    Raises:
        InputError: there is no such run, no network has a parent, or the file cannot be written.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: there is no such run")
    file = Path(path) if path is not None else run_dir / "lineage.svg"
    # Which finals count is the search's business: a raised budget may have held some before.
    best = read_json(run_dir / "best.json") if (run_dir / "best.json").is_file() else {}
    name, winner = run_dir.absolute().name, str(best.get("digest", ""))
    with writing(file):
        drawn = lineage.draw(read_journal(run_dir), file, name, winner)
    if drawn is None:
        raise InputError(
            f"{run_dir}: holds no lineage: no network has a parent (yet); a search with --inherit "
            f"or --optimizer evolution makes one"
        )
    return drawn


def _folder(given: Path) -> Path:
    """Return the run directory, also where a folder that belongs to the run was given."""
    belonging = [given, given / "search"]  # `evonas fit` searches in the latter
    if (given / "comparison.json").is_file():
        belonging += [given.parent, given.parent / "search"]
    return next((one for one in belonging if (one / "journal.jsonl").is_file()), given)


def _default(given: list[Path], folders: list[Path]) -> Path:
    """Return where the page goes: above the run's folders, or here for several runs."""
    if len(folders) > 1:
        return Path(writer.FILE)
    inside = (given[0] / "comparison.json").is_file()
    return (given[0].parent if inside else given[0]) / writer.FILE


def _named(runs: list[Run]) -> list[Run]:
    """Return the runs, each with a name of its own."""
    times = Counter(run.name for run in runs)
    return [
        replace(run, name=f"{run.name} ({i + 1})") if times[run.name] > 1 else run
        for i, run in enumerate(runs)
    ]
