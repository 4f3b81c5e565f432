"""All runs of a folder: their rows, views and requests to stop, read again at each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evonas.core.version import __version__
from evonas.errors import InputError, one_line
from evonas.report.dashboard.followed_run import FollowedRun, run_folders
from evonas.report.dashboard.run_rows import Row, row, tally_of
from evonas.report.dashboard.run_view import sections
from evonas.report.live_view import Tally
from evonas.runs.stop_request import request_stop

_FRESH = 0.2  # seconds for which what was read is shown to every page


class RunsFolder:
    """Runs in a folder, finished or running; several threads may use it.

    Args:
        folder: holds the run directories.
        clock: returns seconds since 1970.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._runs: dict[str, FollowedRun] = {}
        self._tallies: dict[str, tuple[int, Tally | None]] = {}
        self._rows: list[Row] = []
        self._read = float("-inf")
        self.overview()

    def overview(self) -> dict[str, Any]:
        """Return the rows of all runs, running ones first, then the latest, as plain data.

        Raises:
            InputError: the folder cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._read > _FRESH:
                self._refresh()
                self._read = time.monotonic()
            return {"folder": str(self.folder), "evonas": __version__, "runs": list(self._rows)}

    def view(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the sections of the runs of some keys; unknown keys are left out.

        What a damaged run lacks is said instead.
        """
        with self._lock:
            chosen = [self._runs[key] for key in dict.fromkeys(keys) if key in self._runs]
            versions = {run.key: run.version for run in chosen}
            readable = [replace(run.content, name=run.key) for run in chosen if run.content]
            problems = [run.problem for run in chosen if run.problem]
            waiting = [run.key for run in chosen if not run.content and not run.problem]
            problems += [f"{key}: no network has been trained yet." for key in waiting]
            try:
                found = sections(readable)
            except Exception as error:  # the table and the other runs are still shown
                problems, found = [*problems, f"cannot be shown: {one_line(error)}"], []
            return {"versions": versions, "problems": problems, "sections": found}

    def trained(self, key: str) -> int:
        """Return the number of networks that a run has trained; 0 for an unknown key."""
        self.overview()
        with self._lock:
            return self._runs[key].trained if key in self._runs else 0

    def stop(self, key: str) -> None:
        """Ask the search of a run to stop.

        Raises:
            InputError: there is no such run, or no search is running there.
        """
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                raise InputError(f"{key}: there is no such run in {self.folder}")
            request_stop(run.folder)
            self._read = float("-inf")

    def _refresh(self) -> None:
        known, self._runs = self._runs, {}
        for folder in run_folders(self.folder):
            key = folder.relative_to(self.folder).as_posix()
            key = folder.resolve().name if key == "." else key
            run = known.get(key) or FollowedRun(folder, key)
            run.refresh()
            self._runs[key] = run
        rows = [self._row(run) for run in self._runs.values()]
        rows.sort(key=lambda one: one["started"], reverse=True)
        self._rows = sorted(rows, key=lambda one: not self._runs[one["key"]].running)

    def _row(self, run: FollowedRun) -> Row:
        try:
            return row(run, self._tally(run))
        except Exception as error:  # one run must not hide the others
            run.content, run.problem = None, f"{run.folder}: cannot be shown: {one_line(error)}"
            return row(run, None)

    def _tally(self, run: FollowedRun) -> Tally | None:
        """Return the counts of a run, counted once for each of its versions."""
        version, tally = self._tallies.get(run.key, (-1, None))
        if version != run.version:
            tally = None if run.content is None else tally_of(run.content, self._clock)
            self._tallies[run.key] = (run.version, tally)
        return tally
