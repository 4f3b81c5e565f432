"""What every executor offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement

#: Makes, in each worker, what turns jobs into measurements.
MakeEstimator = Callable[[TrainingContext], Callable[[Job], Measurement]]


class Executor(ABC):
    """Runs jobs and hands back measurements as they finish.

    Args:
        setting: what all jobs share.
        workers: how many jobs run at once.
        name: of the experiment, for dashboards.
        estimator: what each worker makes of the setting, to answer its jobs.

    Attributes:
        usage: how well the workers were used so far.
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

        It never raises for what a candidate does: a training that fails, takes its worker
        along or never ends is a measurement with status ``failed``; see
        ``evonas.estimation.failure_kinds``.

        Raises:
            RunError: nothing can be trained any more, whatever the candidate.
        """
        if not jobs:
            return
        self.usage.begin(len(jobs))
        for index, measurement in self._evaluate(jobs):
            self.usage.done(measurement.seconds)
            yield index, measurement
        self.usage.end()

    @abstractmethod
    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Do what ``evaluate`` promises, for at least one job."""

    def observe(self, status: str, seconds: float, best: float) -> None:  # noqa: B027
        """Take note of a finished trial, for whoever watches from outside.

        Args:
            status: of the trial.
            seconds: that it took.
            best: lowest fitness so far.
        """

    def expect(self, trained: int, budget: int) -> None:  # noqa: B027
        """Take note of what a search is about to do, for whoever watches from outside.

        Args:
            trained: distinct networks that are trained already.
            budget: how many there will be in the end.
        """

    def notes(self) -> list[str]:
        """Return lines that tell a person where to watch."""
        return []

    def close(self) -> None:  # noqa: B027
        """Give workers back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
