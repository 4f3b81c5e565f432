"""Queue of the jobs of a generation: the longest job that fits on a GPU goes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evonas.estimation.estimator import Job
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.failure_kinds import KINDS
from evonas.estimation.measurement import Measurement


@dataclass(frozen=True)
class Place:
    """The device on which a worker trains, shared with other workers.

    Attributes:
        node: Ray's id of the machine.
        gpu: id of the GPU; empty on a CPU.
        room: bytes for all trainings on that GPU together; 0: no limit.
    """

    node: str
    gpu: str = ""
    room: float = 0.0


@dataclass(eq=False)
class Trial:
    """A job and its failed attempts.

    Attributes:
        job: the training.
        tries: number of workers that died in it.
        losses: number of nodes that were lost in it.
        alone: whether it ran out of memory beside others and now needs a GPU of its own.
    """

    job: Job
    tries: int = 0
    losses: int = 0
    alone: bool = False


class Queue:
    """Waiting and running jobs of one generation, or of a window of asks.

    A job that runs out of memory runs once more, alone on its GPU and after all others.

    Args:
        jobs: in their initial order.
        forecast: predicts seconds and bytes; None: the order stays, and memory has no limit.
        in_order: whether the order stays anyway: with a window of asks the oldest is waited for.
    """

    def __init__(
        self, jobs: Sequence[Job], forecast: Forecast | None, in_order: bool = False
    ) -> None:
        self._waiting = [Trial(job) for job in jobs]
        self._forecast = forecast
        self._running: dict[Place, dict[Trial, float]] = {}
        self._in_order = in_order or forecast is None
        self._sorted = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, jobs: Sequence[Job]) -> None:
        """Append jobs that have come since."""
        self._waiting += map(Trial, jobs)
        self._sorted = self._sorted and not jobs

    def take(self, place: Place) -> Trial | None:
        """Return the next trial that fits at a place; None if there is none at present."""
        if not (self._sorted or self._in_order):
            self._sort()
        here = self._running.setdefault(place, {})
        if any(other.alone for other in here):
            return None
        for number, trial in enumerate(self._waiting):
            need = self._need(trial, place)
            # An empty GPU takes any trial: there will never be more room.
            if not here or not (trial.alone or sum(here.values()) + need > place.room > 0):
                del self._waiting[number]
                here[trial] = need
                return trial
        return None

    def ended(self, trial: Trial, place: Place) -> None:
        """Record the end of a trial, finished or failed."""
        self._running[place].pop(trial)

    def done(self, trial: Trial, measurement: Measurement) -> Measurement | None:
        """Return the final measurement of a trial; None if it runs once more."""
        if measurement.error_kind and KINDS[measurement.error_kind].alone:
            if trial.alone:
                return replace(measurement, error=f"{measurement.error} (alone as well)")
            trial.alone = True
            self.again(trial)
            return None
        if self._forecast:
            self._forecast.learn(trial.job, measurement)
        return measurement

    def again(self, trial: Trial) -> None:
        """Append a trial to the queue."""
        self._waiting.append(trial)

    def refine(self) -> bool:
        """Spend some milliseconds on better predictions; return whether anything was left to do."""
        if self._forecast is None:
            return False
        for trial in self._waiting if self._forecast.pays() else ():
            if not self._forecast.knows(trial.job):
                self._forecast.count(trial.job)
                self._sorted = False
                return True
        if self._forecast.catch_up():
            self._sorted = False
            return True
        return False

    def _sort(self) -> None:
        """Sort the longest first, provided that the seconds of all waiting trials are known."""
        assert self._forecast is not None
        found = {trial: self._forecast.seconds(trial.job) for trial in self._waiting}
        known = {trial: seconds for trial, seconds in found.items() if seconds is not None}
        if len(known) == len(found):
            self._waiting.sort(key=lambda trial: (trial.alone, -known[trial]))
        self._sorted = True

    def _need(self, trial: Trial, place: Place) -> float:
        return self._forecast.memory(trial.job) if self._forecast and place.room else 0.0
