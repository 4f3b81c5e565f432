"""Request to stop a running search: a file in its run directory, which the search looks for.

The search ends as after Ctrl-C, at the next point where nothing that is done is lost: after the
training in progress. A file needs no process number, so the request also reaches a search on
another machine with the same disk, and one that was started in the background and ignores the
signal of Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evonas.core.files import writing
from evonas.errors import InputError
from evonas.runs.callbacks import Callback, SearchStart, Stage, TrainedBaseline
from evonas.runs.run_store import is_open
from evonas.runs.trial import Trial

FILE = "stop"


def request_stop(folder: Path) -> None:
    """Ask the search of a run directory to stop.

    Raises:
        InputError: no search is running there, or the request cannot be written.
    """
    if not is_open(folder):
        raise InputError(f"{folder}: no search is running there: there is nothing to stop")
    with writing(folder / FILE, "press Ctrl-C where the search was started"):
        (folder / FILE).touch()


def stop_requested(folder: Path) -> bool:
    """Return whether a search was asked to stop and has not done so yet."""
    return (folder / FILE).exists()


class StopRequest(Callback):
    """Ends a search that was asked to stop, by the exception of Ctrl-C.

    A request that an earlier start left is removed.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._file.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise if the search was asked to stop.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._file.exists():
            self._file.unlink(missing_ok=True)
            raise KeyboardInterrupt

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Check while the features are computed."""
        self.check()

    def on_start(self, start: SearchStart) -> None:
        """Check before the first training."""
        self.check()

    def on_trial(self, trial: Trial) -> None:
        """Check after each trial, which is in the journal."""
        self.check()

    def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
        """Check after a generation."""
        self.check()

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Check before finals and baselines."""
        self.check()

    def on_baseline(self, baseline: TrainedBaseline) -> None:
        """Check after each baseline."""
        self.check()
