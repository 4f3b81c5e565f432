"""Base class of executors, which run jobs on workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement

#: Returns the jobs that have come since it was last called; none for the moment, or for ever.
MoreJobs = Callable[[], Sequence[Job]]
#: Builds, in each worker, the callable that turns jobs into measurements.
MakeEstimator = Callable[[TrainingContext], Callable[[Job], Measurement]]


class Executor(ABC):
    """Runs jobs and returns measurements as they finish.

    Args:
        setting: context that all jobs share.
        workers: number of jobs that run at once.
        name: of the experiment, for dashboards.
        estimator: builds the estimator of each worker from the context.

    Attributes:
        usage: utilisation of the workers so far.
    """

    def __init__(
        self,
        setting: TrainingContext,
        workers: int = 1,
        name: str = "evonas",
        estimator: MakeEstimator = Estimator,
    ) -> None:
        self.setting, self.workers, self.name = setting, workers, name
        self.usage = Usage(workers)

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield (job.index, measurement) in the order in which jobs finish.

        Errors of a candidate are not raised: a training that fails, kills its worker or never
        ends is a measurement with status ``failed``; see
        ``evonas.estimation.failure_kinds``.

        Raises:
            RunError: no candidate can be trained any more.
        """
        if not jobs:
            return
        self.usage.begin(len(jobs))
        for index, measurement in self._evaluate(jobs):
            self.usage.done(measurement.seconds)
            yield index, measurement
        self.usage.end()

    def stream(self, more: MoreJobs) -> Iterator[tuple[int, Measurement]]:
        """Yield (job.index, measurement) of jobs that come while others run.

        Args:
            more: is called at first and whenever measurements were taken. The stream ends when no
                job is left and it returns none.

        Raises:
            RunError: no candidate can be trained any more.
        """

        def given() -> Sequence[Job]:
            jobs = more()
            self.usage.add(len(jobs))
            return jobs

        for index, measurement in self._stream(given):
            self.usage.done(measurement.seconds)
            yield index, measurement
        self.usage.end()

    def _stream(self, more: MoreJobs) -> Iterator[tuple[int, Measurement]]:
        """Yield measurements, see ``stream``; by default new jobs wait for all before them."""
        while jobs := more():
            yield from self._evaluate(jobs)

    @abstractmethod
    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield (job.index, measurement) of at least one job; see ``evaluate``."""

    def observe(self, status: str, seconds: float, best: float) -> None:  # noqa: B027
        """Export a finished trial to monitoring.

        Args:
            status: of the trial.
            seconds: duration of the trial.
            best: lowest fitness so far.
        """

    def expect(self, trained: int, budget: int) -> None:  # noqa: B027
        """Export the progress of a search to monitoring.

        Args:
            trained: number of distinct networks trained so far.
            budget: number of distinct networks to train in all.
        """

    def notes(self) -> list[str]:
        """Return lines about the workers and their dashboard, for the user."""
        return []

    def close(self) -> None:  # noqa: B027
        """Stop the workers and free their resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
