"""Forecast of the time and memory of a training from the finished ones.

The seconds per epoch are modelled as linear in multiply-adds, output elements and layers with
non-negative coefficients, fitted to relative errors (C. L. Lawson and R. J. Hanson 1974,
non-negative least squares), since trainings differ 30-fold and more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from evonas.estimation.cost.workload import Work
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import LARGE

_FEWEST = 8  # trainings that the fit of the four coefficients needs
_PAYS = 50  # least ratio of seconds of a training to seconds of counting its workload
_MOST = 500  # latest trainings that count, since the load of the machine changes
#: Bytes a parameter: weight, gradient, two moments of AdamW, and the average.
_OF_PARAMETER = 20
#: Bytes an output: itself and its gradient.
_OF_OUTPUT = 8
#: Factor on the formula's bytes before anything was measured: buffers of convolutions.
_CAUTION = 2.0


@dataclass
class Mean:
    """Running mean; 0 before the first value."""

    number: int = 0
    total: float = 0.0

    @property
    def value(self) -> float:
        """Mean of the values."""
        return self.total / self.number if self.number else 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.number += 1
        self.total += value


class Forecast:
    """Predicts the seconds and the memory of trainings.

    Args:
        work: returns the workload of a job, which takes milliseconds.
    """

    def __init__(self, work: Callable[[Job], Work]) -> None:
        self._count = work
        self._works: dict[str, Work | None] = {}
        self._late: deque[tuple[Job, Measurement]] = deque(maxlen=_MOST)
        self._seen: deque[tuple[Work, float]] = deque(maxlen=_MOST)
        self._new = 0  # trainings since the last fit
        self._shares: NDArray[np.float64] | None = None
        self._ratios: deque[float] = deque(maxlen=_MOST)
        self._counting = Mean()
        self._training = Mean()

    def pays(self) -> bool:
        """Whether trainings are long enough for counting workloads to pay."""
        return self._training.value >= _PAYS * self._counting.value > 0

    def knows(self, job: Job) -> bool:
        """Whether the workload of a job was counted."""
        return job.architecture.digest in self._works

    def count(self, job: Job) -> Work | None:
        """Return the workload of a job, counted once; None where the network cannot be built."""
        digest = job.architecture.digest
        if digest not in self._works:
            start = time.perf_counter()
            try:
                self._works[digest] = self._count(job)
            except Exception:  # the training will report the error
                self._works[digest] = None
            self._counting.add(time.perf_counter() - start)
        return self._works[digest]

    def learn(self, job: Job, measurement: Measurement) -> None:
        """Record a finished training; a resumed one is left out, for its seconds are of a part."""
        if job.resumes:
            return
        if measurement.status == "ok" and measurement.seconds > 0 and measurement.epochs > 0:
            self._late.append((job, measurement))
            self._training.add(measurement.seconds)

    def catch_up(self) -> bool:
        """Count one recorded training or refit; return whether there was anything to do.

        ``learn`` does neither, since jobs would wait for it.
        """
        if self._late and (self.pays() or not self._counting.number):
            job, measurement = self._late.popleft()
            if work := self.count(job):
                self._seen.append((work, measurement.seconds / measurement.epochs))
                self._new += 1
                if measurement.memory:
                    self._ratios.append(measurement.memory / _formula(work, job))
            return True
        # Fits are frequent at the start and rare later.
        if len(self._seen) >= _FEWEST and self._new >= max(_FEWEST, len(self._seen) // 10):
            rows = np.array([_row(work) for work, _ in self._seen])
            seconds = np.array([seconds for _, seconds in self._seen])
            self._shares = nnls(rows / seconds[:, None], np.ones(len(rows)))[0]
            self._new = 0
            return True
        return False

    def seconds(self, job: Job) -> float | None:
        """Return the predicted seconds of a job; None before the first fit."""
        work = self._works.get(job.architecture.digest)
        if work is None or self._shares is None:
            return None
        return float(np.dot(_row(work), self._shares)) * (job.until or job.training.epochs)

    def memory(self, job: Job) -> float:
        """Return the predicted GPU memory of a job in bytes, without the features."""
        work = self.count(job)
        factor = max(self._ratios) if len(self._ratios) >= _FEWEST else _CAUTION
        return factor * _formula(work, job) if work else 0.0


def _row(work: Work) -> tuple[float, ...]:
    # In millions and thousands: NNLS compares its columns with one tolerance.
    return work.macs / 1e6, work.elements / 1e6, work.layers / 1e2, 1.0


def _formula(work: Work, job: Job) -> float:
    training = _OF_OUTPUT * job.training.batch_size * work.elements
    validation = _OF_OUTPUT / 2 * LARGE * work.widest
    return _OF_PARAMETER * work.params + max(training, validation)
