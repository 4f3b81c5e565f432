"""Executor that runs one job after another in this process, without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evonas.errors import InputError, RunError
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.base import Executor, MakeEstimator
from evonas.estimation.execution.common.time_limit import OverTime, TimeLimit, at_most, over_time
from evonas.estimation.measurement import Measurement


class LocalExecutor(Executor):
    """Trains in this process, one candidate at a time.

    Raises:
        InputError: more than one worker is asked for.
    """

    def __init__(
        self,
        setting: TrainingContext,
        workers: int = 1,
        name: str = "evonas",
        estimator: MakeEstimator = Estimator,
    ) -> None:
        if workers != 1:
            raise InputError(
                f"execution.workers={workers}: the local executor has one worker; "
                f"use execution.executor=ray for more"
            )
        super().__init__(setting, workers, name, estimator)
        self._estimator = estimator
        self._time_limit = TimeLimit(setting.time_limit)
        self._estimate = estimator(setting)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield the measurements in order; see ``Executor.evaluate``."""
        for job in jobs:
            limit = self._time_limit.of(job)
            try:
                with at_most(limit):
                    measurement = self._estimate(job)
            except OverTime:
                measurement = over_time(limit)
                self._estimate = self._estimator(self.setting)  # interrupted in an unknown state
            if measurement.error_kind == "worker-death":
                raise RunError(f"this process cannot train any more: {measurement.error}")
            self._time_limit.learn(job, measurement)
            yield job.index, measurement
