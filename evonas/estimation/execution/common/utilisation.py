"""How well workers were used: their busy time, and their idle time by cause.

An executor sees when it got jobs and when each was done. With ``left`` jobs unfinished at
most ``left`` workers have work, so from these moments alone follows who had none, and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Usage:
    """Worker seconds of one process' work, from its first job on.

    Attributes:
        workers: how many there are.
        wall: seconds so far, times ``workers`` the seconds that there were.
        busy: trained, as the workers measured it.
        few: a generation had fewer candidates than there are workers.
        tail: the last of a generation were still training.
        between: the strategy was asked and told, and files were written.
        candidates: how many were trained.
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

    @property
    def hand_over(self) -> float:
        """Worker seconds that went into handing over jobs and results, by subtraction."""
        return max(0.0, self.workers * self.wall - self.busy - self.few - self.tail - self.between)

    @property
    def share(self) -> float:
        """Busy time as a share of all there was; 0 before the first job."""
        return min(1.0, self.busy / (self.workers * self.wall)) if self.wall else 0.0

    def begin(self, jobs: int) -> None:
        """Take note that jobs are handed out."""
        self.between += self.workers * self._passed()
        self._all = self._left = jobs

    def done(self, seconds: float) -> None:
        """Take note that a job is done, which its worker spent so many seconds on."""
        self._waited()
        self._left -= 1
        self.busy += seconds
        self.candidates += 1

    def end(self) -> None:
        """Take note that the last result was taken."""
        self._waited()

    def to_dict(self) -> dict[str, float]:
        """Return the worker seconds, rounded to milliseconds."""
        parts = {key: value for key, value in asdict(self).items() if key != "clock"}
        parts |= {"hand_over": self.hand_over, "utilisation": self.share}
        return {key: round(value, 3) for key, value in parts.items()}

    def statement(self) -> str:
        """Return a line for people; empty before the first job."""
        if not self.wall:
            return ""
        causes = {
            "end of generations": self.tail,
            "fewer candidates than workers": self.few,
            "strategy and files": self.between,
            "hand-over": self.hand_over,
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
