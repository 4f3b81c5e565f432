"""Searches whose trainings are arithmetic: they take no time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evonas.core import registry
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.runs.callbacks import Callback
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture, SearchSpace
from evonas.workflows.loop import Search, SearchComponents

OPTIMIZERS = registry.names("optimizer")
BUDGET = 10
SPACE = SearchSpace.from_dict(
    {
        "name": "toy",
        "network": "toy",
        "genes": [
            {"name": "width", "kind": "ordinal", "choices": [1, 2, 4, 8]},
            {"name": "depth", "kind": "integer", "low": 1, "high": 4},
            {"name": "block", "kind": "choice", "choices": ["a", "b", "c"]},
        ],
    }
)
Order = Callable[[Sequence[Job]], Sequence[Job]]


def as_asked(jobs: Sequence[Job]) -> Sequence[Job]:
    return jobs


def backwards(jobs: Sequence[Job]) -> Sequence[Job]:
    return jobs[::-1]


def shuffled(jobs: Sequence[Job]) -> Sequence[Job]:
    return random.Random(len(jobs)).sample(list(jobs), len(jobs))


def cost(architecture: Architecture) -> int:
    return 1000 * architecture.settings["width"] ** 2 * architecture.settings["depth"]


def measure(job: Job) -> Measurement:
    number = int(job.architecture.digest, 16)
    if number % 5 == 0:
        return Measurement.failure("exception", "boom\nsecond line", macs=7, seconds=1.0)
    # The seed takes part, so that a candidate's seed must be reproduced as well.
    metrics = {"error": (number % 997) / 997 + job.seed / 2**40}
    timed = {"latency": 1.0 + number % 7, "latency_noise": 0.5}
    macs = cost(job.architecture)
    return Measurement("ok", metrics, macs=macs, params=3, seconds=number % 9, **timed)


class Fake(Executor):
    """Answers in any order and remembers what it was asked to train."""

    def __init__(self, order: Order = as_asked) -> None:
        self.order, self.workers = order, 1
        self.usage = Usage(1)
        self.jobs: list[Job] = []
        self.observed: list[tuple[str, float]] = []

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in self.order(list(jobs)):
            self.jobs.append(job)
            yield job.index, measure(job)

    def observe(self, status: str, seconds: float, best: float) -> None:
        self.observed.append((status, best))

    @property
    def digests(self) -> list[str]:
        return [job.architecture.digest for job in self.jobs]


class Watching(Callback):
    """Collects the trials of a search."""

    def __init__(self, seen: list[Trial] | None) -> None:
        self.seen = [] if seen is None else seen

    def on_trial(self, trial: Trial) -> None:
        self.seen.append(trial)


def search(
    folder: Path,
    name: str = "random",
    executor: Fake | None = None,
    *,
    resume: bool = False,
    seed: int = 5,
    budget: int = BUDGET,
    max_macs: int | None = None,
    seen: list[Trial] | None = None,
    window: int = 0,
) -> list[Trial]:
    options = {"window": window} if window else {}
    optimizer = registry.create(
        "optimizer", name, options, SPACE, budget=budget, seed=seed, macs=cost, max_macs=max_macs
    )
    objective = Objective("error", ObjectiveSettings(target_macs=25_000, max_macs=max_macs))
    with RunStore(folder, resume) as store:
        components = SearchComponents(
            SPACE, optimizer, executor or Fake(), objective, TrainingSettings(), cost
        )
        best = Search(components, store, Watching(seen)).run(seed)
        assert best == store.best()
        return store.trials()


def comparable(folder: Path) -> list[dict[str, Any]]:
    """The journal, sorted and without timings."""
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["at"]
    return sorted(rows, key=lambda row: (row["generation"], row["index"]))
