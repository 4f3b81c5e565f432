"""Run directory: journal, result files, lock and resume.

The journal is an append-only file of JSON lines, one a trial, flushed to disk the
moment a trial is known; a kill loses at most what was in flight. Sorted by
(generation, index) and without timings it is the same for every executor. A budget in
minutes adds lines of another kind, see ``evonas.runs.clock_decisions``.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

from evonas.core.files import read_json, write_file, writing
from evonas.errors import InputError, RunError
from evonas.runs.clock_decisions import ClockDecision
from evonas.runs.trial import LARGEST, Trial

__all__ = ["LARGEST", "RunStore", "Trial", "in_order", "is_open", "read_journal", "read_lines"]

_LOG_BYTES = 1_000_000
_TRIES, _PAUSE = 4, 0.02  # of locking a run directory, and seconds between them
_LEFT = ("rungs", "weights")  # folders of a run that hold files named after networks
_DIGEST = re.compile(r"\.?[0-9a-f]{16}\.safetensors")  # such a file, or its draft


class RunStore:
    """A run directory that one process at a time has open.

    Args:
        folder: the run directory; made if missing.
        resume: whether a journal may be there already.
        clock: returns monotonic seconds; None: the machine's.
        begun: seconds of the clock at which the search began; None: now.

    Attributes:
        decisions: decisions of the clock, in their order.

    Raises:
        InputError: the directory is in use, holds a run although ``resume`` is
            off, holds none although it is on, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        resume: bool = False,
        clock: Callable[[], float] | None = None,
        begun: float | None = None,
    ) -> None:
        self.folder, self._clock = folder, clock or time.monotonic
        self._journal = folder / "journal.jsonl"
        with writing(f"run directory {folder}"):
            if resume and not self._journal.exists():
                raise InputError(f"{folder}: holds no run to resume: start it without --resume")
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("a+")
        try:
            _take(self._lock)
        except OSError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise InputError(
                f"run directory {folder}: in use by process {owner}: wait for it, or choose another"
            ) from error
        if not resume and self._journal.exists() and self._journal.stat().st_size:
            self._lock.close()
            raise InputError(
                f"run directory {folder}: already holds a run: go on with --resume, or choose "
                f"another"
            )
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        try:
            for draft in folder.glob(".*.draft"):  # a write that was killed
                draft.unlink(missing_ok=True)
            if not resume:
                _clear_away(folder)
            self._trials, self.decisions = _restored(self._journal) if resume else ([], [])
            self._sorted = False
            # Unbuffered: what could not be written must not come after all when it is closed.
            self._stream = self._journal.open("ab", buffering=0)
        except InputError:
            self._lock.close()
            raise
        except OSError as error:
            self._lock.close()
            raise InputError(
                f"{self._journal}: cannot be written ({error.strerror}): give yourself the right "
                f"to, or choose another run directory"
            ) from error
        # as if this start had begun so long ago
        ends = [*(trial.at for trial in self._trials), *(line.at for line in self.decisions)]
        spent = max(ends, default=0.0)
        self._start = (self._clock() if begun is None else begun) - spent

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken, up to its last line in earlier starts."""
        return round(self._clock() - self._start, 3)

    def append(self, *trials: Trial) -> None:
        """Write trials to the journal in one step; they are on the disk when this returns.

        Raises:
            RunError: they cannot be written; the journal is as before.
        """
        self._write(json.dumps(trial.row(), allow_nan=False) for trial in trials)
        self._trials += trials
        self._sorted = self._sorted and not trials

    def decide(self, decision: ClockDecision) -> None:
        """Write a decision of the clock to the journal.

        Raises:
            RunError: it cannot be written; the journal is as before.
        """
        self._write([decision.line()])
        self.decisions.append(decision)

    def _write(self, lines: Iterable[str]) -> None:
        rest, number = "".join(f"{line}\n" for line in lines).encode(), self._stream.fileno()
        before = os.fstat(number).st_size
        try:
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._stream.write(rest) :]
            os.fsync(number)
        except OSError as error:
            with suppress(OSError):  # resuming trims what is left of it
                os.ftruncate(number, before)
            raise self._unwritable("journal.jsonl", error) from error

    @property
    def count(self) -> int:
        """How many trials there are."""
        return len(self._trials)

    @property
    def trained(self) -> int:
        """How many networks were trained so far."""
        return sum(trial.trained for trial in last_steps(self._trials))

    def rows(self) -> list[Trial]:
        """Return the trials of all lines, sorted by generation, index and repeat."""
        if not self._sorted:
            self._trials.sort(key=lambda trial: trial.place)
            self._sorted = True
        return self._trials.copy()

    def trials(self) -> list[Trial]:
        """Return the trials as ``in_order`` does."""
        return last_steps(self.rows())

    def best(self) -> Trial | None:
        """Return the trial of lowest fitness with one seed; the earliest among equals."""
        known = (trial for trial in self._trials if trial.succeeded)
        return min(known, key=lambda trial: (trial.value, trial.place), default=None)

    def write(self, name: str, content: Mapping[str, Any] | str) -> Path:
        """Replace a file of the run directory in one step; mappings become JSON.

        Raises:
            RunError: it cannot be written; the old one stays.
        """
        path = self.folder / name
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        try:
            write_file(path, text)
        except OSError as error:
            raise self._unwritable(name, error) from error
        return path

    def log(self, line: str) -> None:
        """Append a line with the time to log.txt; the log never grows past twice its bound.

        One that cannot be written is left out: a search is not lost for it.
        """
        path = self.folder / "log.txt"
        with suppress(OSError):
            if path.exists() and path.stat().st_size > _LOG_BYTES:
                os.replace(path, path.with_name("log.old.txt"))
            with path.open("a", encoding="utf-8") as stream:
                stream.write(f"{datetime.now().isoformat(timespec='seconds')} {line}\n")

    def _unwritable(self, name: str, error: OSError) -> RunError:
        return RunError(
            f"{self.folder / name}: cannot be written ({error.strerror}); nothing that is done is "
            f"lost: mend this, then go on with evonas search --resume --run-dir {self.folder}"
        )

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the run directory, empty if it is missing.

        Raises:
            InputError: the file is damaged.
        """
        return read_json(self.folder / name) if (self.folder / name).exists() else {}

    def close(self) -> None:
        """Release the directory."""
        self._stream.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        if error and not self._trials and not (self.folder / "experiment.yaml").exists():
            for name in ("journal.jsonl", "lock"):  # a run that never began leaves nothing
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()


def _take(lock: IO[str]) -> None:
    """Lock a file for this process alone.

    ``is_open`` of another process holds it for less than a millisecond, so one try is not enough.

    Raises:
        OSError: another process has the run directory open.
    """
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_PAUSE)
    return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_open(folder: Path) -> bool:
    """Whether a process has a run directory open, as a running search has."""
    try:
        with (folder / "lock").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock: a copy, or a file system without locks
        return False
    return False


def in_order(trials: Iterable[Trial]) -> list[Trial]:
    """Return trials sorted by generation, index and repeat; of a training that paused, the last."""
    return last_steps(sorted(trials, key=lambda trial: trial.place))


def last_steps(trials: list[Trial]) -> list[Trial]:
    """Return trials without those of trainings that were stopped and went on later."""
    if not any(trial.status == "stopped" for trial in trials):
        return trials
    last = {trial.digest: trial.place for trial in trials if trial.trained}
    return [t for t in trials if t.status != "stopped" or last[t.digest] == t.place]


def read_journal(folder: Path) -> list[Trial]:
    """Return the trials of a run directory, in order, without opening it; it may be running.

    Raises:
        InputError: it holds no run, or the journal is damaged.
    """
    return read_lines(folder)[0]


def read_lines(folder: Path) -> tuple[list[Trial], list[ClockDecision]]:
    """Return the trials of a run directory, in order, and decisions of the clock.

    Raises:
        InputError: as of ``read_journal``.
    """
    try:
        trials, decisions, _ = _parsed(folder / "journal.jsonl")
    except OSError as error:
        raise InputError(f"{folder}: holds no run: journal.jsonl cannot be read") from error
    return in_order(trials), decisions


def _clear_away(folder: Path) -> None:
    """Remove the weights and paused trainings of a run that was killed before its first trial.

    Only files named after networks: a user may have a folder of the same name there.
    """
    for name in _LEFT:
        for path in (folder / name).glob("*.safetensors*"):
            if _DIGEST.match(path.name):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it is missing, or holds files of the user's
            (folder / name).rmdir()


def _restored(journal: Path) -> tuple[list[Trial], list[ClockDecision]]:
    """Read the journal; a last line that was cut off is removed, any other is refused."""
    trials, decisions, complete = _parsed(journal)
    if complete < journal.stat().st_size:
        os.truncate(journal, complete)
    return trials, decisions


def _parsed(journal: Path) -> tuple[list[Trial], list[ClockDecision], int]:
    """Return trials and decisions of all whole lines, and how many bytes these are."""
    trials: list[Trial] = []
    decisions: list[ClockDecision] = []
    complete = 0
    with journal.open("rb") as stream, _no_collection():
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            try:
                if (decision := ClockDecision.from_line(line)) is not None:
                    decisions.append(decision)
                else:
                    trials.append(Trial.from_line(line))
            except ValueError as error:
                raise InputError(
                    f"{journal}, line {number}: is no trial ({error}): restore the file"
                ) from error
    return trials, decisions, complete


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector: the trials of a journal stay, and scanning them takes long."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
