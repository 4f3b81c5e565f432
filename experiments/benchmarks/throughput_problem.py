"""The small search that the contenders of the throughput benchmark all run: same jobs, same seeds.

Trainings say when they began and ended, wherever they ran, so that every contender is
clocked by the same code: from within the function that it calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evonas.core.experiment import Experiment, changed
from evonas.estimation.estimator import Estimator, Job, Split, TrainingContext
from evonas.estimation.execution.base import Executor, MakeEstimator
from evonas.estimation.measurement import Measurement
from evonas.runs.run_store import RunStore, Trial
from evonas.workflows.components import Components
from evonas.workflows.loop import Search, SearchComponents

Answer = Callable[[Job], Measurement]


class Nothing:
    """What answers at once: the error is a number that follows from the architecture.

    Args:
        metric: the name of the error.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def __call__(self, setting: TrainingContext) -> Answer:
        """Return what answers jobs."""
        return self._answer

    def _answer(self, job: Job) -> Measurement:
        error = int(job.architecture.digest, 16) / 2**64
        return Measurement("ok", {self.metric: error}, macs=1, params=1)


class Clocked:
    """An estimator whose measurements say when, in seconds since 1970, and in which process.

    Args:
        make: the estimator itself.
    """

    def __init__(self, make: MakeEstimator) -> None:
        self.make = make
        if hasattr(make, "work"):  # by which evonas orders its jobs
            self.work = make.work

    def __call__(self, setting: TrainingContext) -> Answer:
        """Return what answers jobs."""
        inner = self.make(setting)

        def answer(job: Job) -> Measurement:
            begin = time.time()
            measurement = inner(job)
            span = {"begin": begin, "end": time.time(), "worker": float(os.getpid())}
            return replace(measurement, metrics={**measurement.metrics, **span})

        return answer


class Recorder(Executor):
    """Answers at once, and remembers what it was asked."""

    def __init__(self, setting: TrainingContext, answer: Answer) -> None:
        super().__init__(setting)
        self.jobs: list[Job] = []
        self._answer = answer

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            self.jobs.append(job)
            yield job.index, self._answer(job)


@dataclass(frozen=True)
class Problem:
    """One search: so many trainings, each by the same function.

    Attributes:
        components: of the experiment; its budget is the number of trainings.
        setting: what the trainings share.
        make: makes the function, clocked.
    """

    components: Components
    setting: TrainingContext
    make: Clocked

    @property
    def trials(self) -> int:
        """How many trainings."""
        return self.components.experiment.budget

    def search(self, executor: Executor, folder: Path) -> list[Trial]:
        """Run the search with evonas; return its trials, without those of no training."""
        components = self.components
        with RunStore(folder) as store:
            parts = SearchComponents(
                *(components.space, components.optimizer(), executor, components.objective),
                *(components.experiment.training, components.cost),
            )
            Search(parts, store).run(components.experiment.seed)
            return [trial for trial in store.trials() if trial.trained]

    def jobs(self, folder: Path) -> tuple[list[Job], list[tuple[float, ...]]]:
        """Return the jobs of the search in the order in which evonas trains, and their genomes."""
        recorder = Recorder(self.setting, Nothing(self.components.task.metric)(self.setting))
        genomes = {trial.digest: trial.genome for trial in self.search(recorder, folder)}
        return recorder.jobs, [genomes[job.architecture.digest] for job in recorder.jobs]


def small(experiment: Experiment, cache: Path, trials: int, identities: int = 20) -> Experiment:
    """Return the experiment with random search, one epoch, and few images if they are rendered."""
    words = [f"budget={trials}", "optimizer=random", "training.epochs=1", "features.jitters=0"]
    words += ["execution.device=cpu", f"features.cache={cache}", "finals.networks=0"]
    if experiment.data.name == "synthetic_faces":
        words += [f"data.identities={identities}", "data.images_per_identity=20"]
    return changed(experiment, words)


def problems(experiment: Experiment, cache: Path, trials: tuple[int, int]) -> tuple[Problem, ...]:
    """Return two problems: real trainings, and a function that does nothing.

    Args:
        experiment: whose parts to use.
        cache: folder for features.
        trials: of the one and of the other.
    """
    components = Components(small(experiment, cache, trials[0]))
    features = components.features(components.backbone, components.taps(), _quiet)
    sides = components.dataset.sides()
    splits = {"search": Split(sides["train"], sides["validation"])}
    setting = components.context({"backbone": features}, splits)
    idle = Components(changed(components.experiment, [f"budget={trials[1]}"]))
    nothing = Clocked(Nothing(components.task.metric))
    return Problem(components, setting, Clocked(Estimator)), Problem(idle, setting, nothing)


def _quiet(name: str, done: int, total: int) -> None:
    """Say nothing while features are computed."""
