"""progress.json: what a start of a search has to do, from which its time left follows."""

from __future__ import annotations

import time
from collections.abc import Callable

from evonas.runs.callbacks import Callback, SearchStart, Stage
from evonas.runs.file_schemas import Progress
from evonas.runs.run_store import RunStore

FILE = "progress.json"


class ProgressFile(Callback):
    """Writes progress.json when a search starts and when its stage changes.

    What is trained since then stands in the journal.

    Args:
        store: the run directory.
        clock: returns seconds since 1970.
    """

    def __init__(self, store: RunStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._content: Progress = {}

    def on_start(self, start: SearchStart) -> None:
        """Write the state of the search at its first training."""
        self._content = {
            "started": round(self._clock(), 3),
            "trained": start.trained,
            "seconds": start.seconds,
            "workers": start.workers,
            "further": start.further,
            "stage": "search",
        }
        self._store.write(FILE, self._content)

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Write the stage."""
        if self._content:
            self._content["stage"] = stage
            self._store.write(FILE, self._content)
