"""Which waiting job goes next to a worker: the longest one that has room there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evonas.estimation.estimator import Job
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.failure_kinds import KINDS
from evonas.estimation.measurement import Measurement


@dataclass(frozen=True)
class Place:
    """Where a worker trains, together with others.

    Attributes:
        node: the machine.
        gpu: which of its GPUs; empty on a CPU.
        room: bytes of the GPU that all trainings there may have together; 0: not looked at.
    """

    node: str
    gpu: str = ""
    room: float = 0.0


@dataclass(eq=False)
class Trial:
    """A job and what it has been through.

    Attributes:
        job: the training.
        tries: how often it took its worker along.
        losses: how often its node went away under it.
        alone: it ran out of memory beside others, and is tried with a place of its own.
    """

    job: Job
    tries: int = 0
    losses: int = 0
    alone: bool = False


class Queue:
    """Jobs of one generation, from waiting to running.

    One that runs out of memory runs once more with nobody beside it, after all others.

    Args:
        jobs: in the order in which they go as long as nothing is known about them.
        forecast: of seconds and bytes; None: the order stays, and bytes are not looked at.
    """

    def __init__(self, jobs: Sequence[Job], forecast: Forecast | None) -> None:
        self._waiting = [Trial(job) for job in jobs]
        self._forecast = forecast
        self._running: dict[Place, dict[Trial, float]] = {}
        self._sorted = forecast is None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, place: Place) -> Trial | None:
        """Return the next trial for a worker; None where none has room there for now."""
        if not self._sorted:
            self._sort()
        here = self._running.setdefault(place, {})
        if any(other.alone for other in here):
            return None
        for number, trial in enumerate(self._waiting):
            need = self._need(trial, place)
            # Beside nobody all are let in: if that is not enough, nothing ever will be.
            if not here or not (trial.alone or sum(here.values()) + need > place.room > 0):
                del self._waiting[number]
                here[trial] = need
                return trial
        return None

    def ended(self, trial: Trial, place: Place) -> None:
        """Take note that a trial does not run any more, however it ended."""
        self._running[place].pop(trial)

    def done(self, trial: Trial, measurement: Measurement) -> Measurement | None:
        """Return what a trial has come to; None if it is tried once more."""
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
        """Put a trial back, behind all others."""
        self._waiting.append(trial)

    def refine(self) -> bool:
        """Do one step, of milliseconds, towards a better order; return whether there was one."""
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
        """Put the longest first, if something is known of all; of some alone it would mislead."""
        assert self._forecast is not None
        found = {trial: self._forecast.seconds(trial.job) for trial in self._waiting}
        known = {trial: seconds for trial, seconds in found.items() if seconds is not None}
        if len(known) == len(found):
            self._waiting.sort(key=lambda trial: (trial.alone, -known[trial]))
        self._sorted = True

    def _need(self, trial: Trial, place: Place) -> float:
        return self._forecast.memory(trial.job) if self._forecast and place.room else 0.0
