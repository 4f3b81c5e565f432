"""Followed run: a run directory that is read again and again, each time what is new."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from evonas.errors import EvonasError, InputError, one_line
from evonas.report.page.run_data import Run
from evonas.runs.clock_decisions import ClockDecision
from evonas.runs.run_store import in_order, is_open, last_steps
from evonas.runs.stop_request import stop_requested
from evonas.runs.trial import Trial

#: Files whose content a dashboard shows beside the journal.
_FILES = ("experiment.yaml", "environment.json", "best.json", "utilisation.json", "progress.json")
_RETRAINED = ("retrained/comparison.json", "retrained/test.json")
_REST = 4.0  # times the seconds of reading a run that pass before it is read again, at least
_Signature = tuple[tuple[int, int, int] | None, ...]


class JournalTail:
    """The trials of a journal that grows; a line is read once, when it is whole.

    Args:
        path: of journal.jsonl.

    Attributes:
        trials: in the order of the lines.
        decisions: of the clock, likewise.
        problem: what is wrong with the first line that is none; empty if nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(0)

    def _begin(self, inode: int) -> None:
        self._inode, self._offset, self._lines = inode, 0, 0
        self.trials: list[Trial] = []
        self.decisions: list[ClockDecision] = []
        self.problem = ""

    def read(self) -> None:
        """Read the lines that were added; all of them, if the journal was replaced or cut.

        Raises:
            OSError: it cannot be read.
        """
        with self._path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._begin(found.st_ino)
            stream.seek(self._offset)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        collecting = gc.isenabled()
        gc.disable()  # the trials stay, and scanning them takes long
        try:
            for line in whole.split(b"\n")[:-1]:
                self._take(line)
        finally:
            if collecting:
                gc.enable()

    def _take(self, line: bytes) -> None:
        self._lines += 1
        try:
            if (decision := ClockDecision.from_line(line)) is not None:
                self.decisions.append(decision)
            else:
                self.trials.append(Trial.from_line(line))
        except ValueError as error:
            where = f"{self._path}, line {self._lines}"
            self.problem = self.problem or f"{where}: is no trial ({error}): restore the file"


@dataclass
class FollowedRun:
    """A run directory, followed by a dashboard.

    Attributes:
        folder: the run directory.
        key: its path below the folder of the dashboard.
        version: number that grows when the content changes.
        content: the files; None before the first trial, or where a file is damaged.
        problem: what is wrong with the files; empty if nothing.
        running: whether a search has the directory open.
        stopping: whether that search was asked to stop.
    """

    folder: Path
    key: str
    version: int = 0
    content: Run | None = None
    problem: str = ""
    running: bool = False
    stopping: bool = False
    _signature: _Signature = ()
    _due: float = 0.0
    _journal: JournalTail = field(init=False)

    def __post_init__(self) -> None:
        self._journal = JournalTail(self.folder / "journal.jsonl")

    @property
    def trained(self) -> int:
        """Number of networks that the journal says were trained."""
        return sum(trial.trained for trial in last_steps(self._journal.trials))

    def refresh(self) -> None:
        """Read what has changed; a damaged file becomes a ``problem``."""
        running = is_open(self.folder)
        self.stopping = running and stop_requested(self.folder)
        ended, self.running = running != self.running, running
        signature = self._signed()
        begun = time.monotonic()
        if (signature == self._signature and not ended) or (begun < self._due and not ended):
            return
        self._signature = signature
        self.version += 1
        try:
            self._journal.read()
            trials = in_order(self._journal.trials)
            found = Run.of(self.folder, trials, self._journal.decisions) if trials else None
            self.content, self.problem = found, self._journal.problem
        except OSError as error:
            self.content, self.problem = None, f"{self.folder}: cannot be read ({error.strerror})"
        except EvonasError as error:
            self.content, self.problem = None, str(error.args[0])
        except Exception as error:  # one run must not hide the others
            self.content, self.problem = None, f"{self.folder}: cannot be shown: {one_line(error)}"
        self._due = begun + _REST * (time.monotonic() - begun)

    def _signed(self) -> _Signature:
        names = ("journal.jsonl", *_FILES, *_RETRAINED)
        return tuple(_signature(self.folder / name) for name in names)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def run_folders(folder: Path) -> list[Path]:
    """Return the run directories in a folder: itself, its folders, and theirs.

    Raises:
        InputError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder: give the one that holds the run directories"
        )
    try:
        return sorted(_search(folder, 2))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _search(folder: Path, depth: int) -> list[Path]:
    if (folder / "journal.jsonl").exists():
        return [folder]
    found: list[Path] = []
    with os.scandir(folder) as entries:
        inner = [one.path for one in entries if not one.name.startswith(".") and one.is_dir()]
    for path in inner if depth else ():
        try:
            found += _search(Path(path), depth - 1)
        except OSError:  # a folder of somebody else's, or one that has just gone
            continue
    return found
