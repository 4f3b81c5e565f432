"""Utilisation of workers: busy time, and idle time by cause.

Both follow from the times at which jobs are submitted and finished: with ``left`` unfinished jobs
at most ``left`` workers are busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Usage:
    """Worker seconds since the first job of this process.

    Attributes:
        workers: number of workers.
        wall: seconds of wall time.
        busy: spent in trainings, as measured by the workers.
        few: idle since a generation had fewer candidates than there are workers.
        tail: idle while the last candidates of a generation, or of a window, were training.
        between: idle while the optimizer ran and files were written.
        candidates: number of trained candidates.
    """

    workers: int
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    wall: float = 0.0
    busy: float = 0.0
    few: float = 0.0
    tail: float = 0.0
    between: float = 0.0
    candidates: int = 0

    def __post_init__(self) -> None:
        self._last: float | None = None
        self._all = self._left = 0
        self._window = False

    @property
    def scheduling_delay(self) -> float:
        """Worker seconds of scheduling delay: the rest, after all other causes."""
        return max(0.0, self.workers * self.wall - self.busy - self.few - self.tail - self.between)

    @property
    def share(self) -> float:
        """Busy time over all worker time; 0 before the first job."""
        return min(1.0, self.busy / (self.workers * self.wall)) if self.wall else 0.0

    def begin(self, jobs: int) -> None:
        """Record the start of a generation of jobs."""
        self.between += self.workers * self._passed()
        self._all = self._left = jobs

    def add(self, jobs: int) -> None:
        """Record jobs that come while others may run."""
        self._window = True
        if jobs and not self._left:
            self.begin(jobs)
        elif jobs:
            self._waited()
            self._left += jobs
            self._all = max(self._all, self._left)

    def done(self, seconds: float) -> None:
        """Record a finished job and the seconds that its worker spent on it."""
        self._waited()
        self._left -= 1
        self.busy += seconds
        self.candidates += 1

    def end(self) -> None:
        """Record the end of a generation."""
        self._waited()

    def to_dict(self) -> dict[str, float]:
        """Return the worker seconds, rounded to milliseconds."""
        parts = {key: value for key, value in asdict(self).items() if key != "clock"}
        parts |= {"hand_over": self.scheduling_delay, "utilisation": self.share}
        return {key: round(value, 3) for key, value in parts.items()}

    def statement(self) -> str:
        """Return one line for the user; empty before the first job."""
        if not self.wall:
            return ""
        causes = {
            "oldest of the window" if self._window else "end of generations": self.tail,
            "fewer candidates than workers": self.few,
            "strategy and files": self.between,
            "scheduling delay": self.scheduling_delay,
        }
        whole = self.workers * self.wall
        idle = [f"{name} {100 * s / whole:.1f} %" for name, s in causes.items() if s / whole > 5e-4]
        return (
            f"Utilisation {100 * self.share:.1f} % of {self.workers} worker(s) over "
            f"{self.wall:.1f} s{'; idle: ' if idle else ''}{', '.join(idle)}."
        )

    def _waited(self) -> None:
        passed = self._passed()
        self.few += passed * max(0, self.workers - self._all)
        self.tail += passed * max(0, min(self.workers, self._all) - self._left)

    def _passed(self) -> float:
        now = self.clock()
        passed = 0.0 if self._last is None else now - self._last
        self._last = now
        self.wall += passed
        return passed
