"""Report and lineage figure, written when a search ends; a failure does not end the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evonas.core.files import read_json
from evonas.report.lineage import figure
from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.runs.callbacks import Callback
from evonas.runs.run_store import RunStore


class _ResultPage(Callback):
    """Writes a page or a figure of a finished search.

    Args:
        store: the run directory.
        say: receives a line on the file.
    """

    file: str
    verb: str  # of the command line, that writes the file again

    def __init__(self, store: RunStore, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say

    def on_end(self, result: Any) -> None:
        """Write the file, or say and log why that failed."""
        try:
            line = self._write()
        except Exception as error:  # whatever it is: a search is not lost for a picture
            reason = f"{self.file} could not be written ({type(error).__name__}: {error})"
            self._store.log(reason)
            line = f"{reason}; evonas {self.verb} {self._store.folder} tries again."
        if line:
            self._say(line)

    def _write(self) -> str:
        """Write the file; return a line on it, or nothing if there is no file."""
        raise NotImplementedError


class LineageFigure(_ResultPage):
    """Draws lineage.svg where networks have parents."""

    file, verb = "lineage.svg", "lineage"

    def _write(self) -> str:
        folder = self._store.folder
        winner = read_json(folder / "best.json")["digest"]
        path, name = folder / self.file, folder.absolute().name
        drawn = figure.draw(self._store.trials(), path, name, winner)
        return f"Lineage: parents, children and their changes: {drawn}." if drawn else ""


class ReportPage(_ResultPage):
    """Writes report.html."""

    file, verb = writer.FILE, "report"

    def _write(self) -> str:
        path = self._store.folder / self.file
        # the directory is still locked, as that of a running search is
        writer.write(path, [replace(Run.read(self._store.folder), state="finished")])
        return f"Report: {path} opens in a browser."
