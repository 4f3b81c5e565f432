"""Time limit of a job: a multiple of the median seconds per epoch of the finished ones."""

from __future__ import annotations

import math
import signal
import statistics
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from evonas.core.settings import TimeLimitSettings
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement

_FEWEST = 5  # trainings that a median needs
_MOST = 201  # latest trainings that count, since the load of the machine changes


class OverTime(BaseException):
    """A training exceeded its time limit. No Exception, so that no network's code catches it."""


class TimeLimit:
    """Computes time limits from the seconds per epoch of finished trainings.

    Args:
        settings: factor on the median, and bounds.
    """

    def __init__(self, settings: TimeLimitSettings) -> None:
        self._settings = settings
        self._seconds: deque[float] = deque(maxlen=_MOST)

    def learn(self, job: Job, measurement: Measurement) -> None:
        """Record a finished training; a resumed one is left out, for its seconds are of a part."""
        if not job.resumes and measurement.status == "ok" and measurement.epochs > 0:
            self._seconds.append(measurement.seconds / measurement.epochs)

    def of(self, job: Job) -> float:
        """Return the time limit of a job in seconds; infinite if there is none."""
        settings = self._settings
        if not settings.times:
            return math.inf
        if len(self._seconds) < _FEWEST:
            return settings.most
        epochs = job.until or job.training.epochs
        limit = settings.times * statistics.median(self._seconds) * epochs
        return min(max(limit, settings.least), settings.most)


def over_time(limit: float) -> Measurement:
    """Return the measurement of a training that exceeded its time limit."""
    return Measurement.failure("timeout", f"it took more than {limit:.4g} s", seconds=limit)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Interrupt a ``with`` block after some seconds, by a signal and thus between bytecodes.

    Without effect outside the main thread. Time in which the process is stopped (Ctrl-Z) does
    not count.

    Raises:
        OverTime: the seconds have passed.
    """
    if math.isinf(seconds) or threading.current_thread() is not threading.main_thread():
        yield
        return

    step = min(seconds, 1.0)
    left = math.ceil(seconds / step)

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal left
        left -= 1  # a stopped process gets a single signal
        if left <= 0:
            raise OverTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, step, step)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
