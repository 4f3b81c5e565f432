"""Searches in virtual time: workers that train without time passing, on a clock of their own."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from untrained_search import SPACE, cost, measure

from evonas.core import registry
from evonas.core.budget import UNLIMITED
from evonas.core.settings import FinalsSettings, ObjectiveSettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor, MoreJobs
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.runs.finals import decided
from evonas.runs.run_store import RunStore, Trial
from evonas.workflows.loop import Search, SearchComponents
from evonas.workflows.time_budget import TimeBudget


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def eightfold(digest: str) -> float:
    """Seconds of a training, from 1 to 8 in eighths, which a journal holds exactly."""
    return round(8.0 * 8.0 ** ((int(digest, 16) // 7 % 1000) / 1000)) / 8.0


class VirtualWorkers(Executor):
    """Trains on a number of workers in virtual time.

    Args:
        clock: is set to the end of each training.
        workers: how many.
        seconds: digest -> seconds of a training.
        dies: number of trainings after which the process is killed; None: never.
    """

    def __init__(
        self,
        clock: Clock,
        workers: int = 1,
        seconds: Callable[[str], float] = eightfold,
        dies: int | None = None,
    ) -> None:
        self.clock, self.workers, self.name = clock, workers, "virtual"
        self.usage = Usage(workers, clock)
        self.jobs: list[Job] = []
        self._seconds, self._dies = seconds, dies

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        given = iter([jobs])
        return self._stream(lambda: next(given, ()))

    def _stream(self, more: MoreJobs) -> Iterator[tuple[int, Measurement]]:
        waiting, running = list(more()), list[tuple[float, int, Job]]()
        while waiting or running:
            while waiting and len(running) < self.workers:
                job = waiting.pop(0)
                end = self.clock.now + self._seconds(job.architecture.digest)
                heapq.heappush(running, (end, job.index, job))
            self.clock.now, _, job = heapq.heappop(running)
            if self._dies is not None and len(self.jobs) >= self._dies:
                raise KeyboardInterrupt
            self.jobs.append(job)
            seconds = self._seconds(job.architecture.digest)
            yield job.index, replace(measure(job), seconds=seconds)
            waiting += more()


def timed(
    folder: Path,
    minutes: float | None,
    name: str = "random",
    *,
    executor: VirtualWorkers,
    budget: int = UNLIMITED,
    finals: FinalsSettings | None = None,
    baselines: int = 0,
    resume: bool = False,
    window: int = 0,
) -> tuple[list[Trial], TimeBudget | None]:
    """Search on the clock of an executor, with finals; return the trials and the time budget."""
    options = {"window": window} if window else {}
    optimizer = registry.create("optimizer", name, options, SPACE, budget=budget, seed=5, macs=cost)
    objective = Objective("error", ObjectiveSettings(target_macs=25_000))
    with RunStore(folder, resume, executor.clock) as store:
        time = None
        if minutes is not None:
            time = TimeBudget(minutes, store, executor.workers, finals, baselines)
        training = TrainingSettings()
        parts = (SPACE, optimizer, executor, objective, training, cost, None, None, time)
        search = Search(SearchComponents(*parts), store)
        search.run(5)
        if finals is not None:
            if time is not None:
                time.plan_finals(finals)
                finals = decided(finals, store.trials(), store.decisions, minutes)
            search.run_finals(finals, 5)
        if time is not None:
            time.plan_baselines(baselines)
        return store.trials(), time
