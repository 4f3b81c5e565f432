"""How long a training may take: many times the median of those that are done."""

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

_FEWEST = 5  # trainings that a median is taken of
_MOST = 201  # the latest of them, which know the machine's load of today


class OverTime(BaseException):
    """A training has had its time. No Exception, which a network's own code might catch."""


class TimeLimit:
    """Of each training, from the seconds an epoch of the others.

    Args:
        settings: how many times the median, and the bounds.
    """

    def __init__(self, settings: TimeLimitSettings) -> None:
        self._settings = settings
        self._seconds: deque[float] = deque(maxlen=_MOST)

    def learn(self, job: Job, measurement: Measurement) -> None:
        """Take note of a training that is done; one that went on says nothing of a whole one."""
        whole = job.until or not job.paused
        if whole and measurement.status == "ok" and measurement.epochs > 0:
            self._seconds.append(measurement.seconds / measurement.epochs)

    def of(self, job: Job) -> float:
        """Return the seconds that a job may take; infinite: as long as it likes."""
        settings = self._settings
        if not settings.times:
            return math.inf
        if len(self._seconds) < _FEWEST:
            return settings.most
        epochs = job.until or job.training.epochs
        limit = settings.times * statistics.median(self._seconds) * epochs
        return min(max(limit, settings.least), settings.most)


def over_time(limit: float) -> Measurement:
    """Return what a training that took longer has come to."""
    return Measurement.failure("timeout", f"it took more than {limit:.4g} s", seconds=limit)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Break off what runs inside after so many seconds, as soon as Python is at it again.

    In the main thread alone, for there are the signals. The time in which the process is
    stopped (Ctrl-Z) does not count.

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
        left -= 1  # of a process that is stopped, all rings are one
        if left <= 0:
            raise OverTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, step, step)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
