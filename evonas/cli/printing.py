"""Callbacks and helpers that print what the functions of the Python API report and return."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from evonas.api.live_view import LiveView
from evonas.api.search_result import SearchResult
from evonas.report.tables import Table, show


class SearchPrinter(LiveView):
    """Prints a search, and the command that follows it."""

    def on_end(self, result: SearchResult) -> None:
        """Print how to go on from a search, and what it was worth."""
        self._drawing.close()
        if not result.experiment.table:
            self.console.print(f"Next: evonas retrain {result.best_file}", soft_wrap=True)
        super().on_end(result)

    def on_step(self, number: int, steps: int, name: str) -> None:
        """Print the headline of a step of a pipeline."""
        self.on_message(f"[{number}/{steps}] {name}")


class QuietView(LiveView):
    """Prints messages as warnings, and progress of work that takes longer than a moment."""

    patience = 2.0  # seconds of progress without a bar
    _start: float | None = None

    def on_message(self, line: str) -> None:
        """Print a line as a mistake is printed."""
        print(f"evonas: {line}", file=sys.stderr)

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Draw a progress bar, but not of what is done at once."""
        if self._start is None:
            self._start = time.perf_counter()
        if time.perf_counter() - self._start > self.patience:
            super().on_progress(label, done, total)


def show_all(console: Console, tables: Iterable[Table], lines: Iterable[str] = ()) -> None:
    """Print tables, and lines below them."""
    for table in tables:
        show(table, console)
    for line in lines:
        console.print(line, soft_wrap=True)


def show_file(file: Path) -> None:
    """Print a JSON file alone, for programs that read it."""
    print(file.read_text(encoding="utf-8").rstrip("\n"))
