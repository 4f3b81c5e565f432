"""Every strategy with values and spaces that are out of the ordinary: it ends, and says why."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.core import registry
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.runs.run_store import RunStore, Trial
from evonas.space import SearchSpace
from evonas.testing.optimizer_problems import (
    build,
    by_digest,
    distinct,
    drive,
    mixed,
    ordinal,
    space_of,
)
from evonas.workflows.loop import Search, SearchComponents

Array = NDArray[np.float64]
NAMES = registry.names("optimizer")
ONE = space_of({"kind": "choice", "choices": ["a"]})
TWO = space_of({"kind": "choice", "choices": ["a", "b"]})


def _one(value: float) -> Callable[[SearchSpace, Array], Array]:
    """A twentieth of the architectures have this value: in a small search, one or two."""
    return lambda s, g: np.where(by_digest(s, g) < 0.05, value, by_digest(s, g))


VALUES: dict[str, Callable[[SearchSpace, Array], Array]] = {
    "all fail": lambda s, g: np.full(len(g), np.nan),
    "half fail": lambda s, g: np.where(by_digest(s, g) < 0.5, np.nan, by_digest(s, g)),
    "all equal": lambda s, g: np.full(len(g), 0.25),
    "one nan": _one(np.nan),
    "one inf": _one(np.inf),
    "one -inf": _one(-np.inf),
    "huge": lambda s, g: (by_digest(s, g) - 0.5) * 1e300,
    "huge and tiny": lambda s, g: 10.0 ** (600 * by_digest(s, g) - 300),
}
SPACES = {
    "budget 1": (mixed(), {"budget": 1}, 1),
    "a population larger than the budget": (ordinal(), {"budget": 5, "population_size": 12}, 5),
    "one architecture": (ONE, {"budget": 30}, 1),
    "two architectures": (TWO, {"budget": 30}, 2),
    "usual": (ordinal(), {"budget": 24}, 24),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", VALUES)
@pytest.mark.parametrize("where", SPACES)
def test_a_strategy_ends_keeps_its_budget_and_says_why(name: str, label: str, where: str) -> None:
    space, arguments, expected = SPACES[where]
    ran = []
    for _ in range(2):
        optimizer = build(name, space, **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asked = drive(optimizer, VALUES[label], asks=400)
        assert len(asked) < 400, "it does not end"
        ran.append((optimizer, asked))
    (optimizer, asked), (_, again) = ran
    assert len(distinct(optimizer, asked)) == optimizer.trained == expected
    reason = "exhausted" if expected < arguments["budget"] else "distinct architectures is spent"
    assert reason in optimizer.stop_reason
    assert all(np.array_equal(a, b) for a, b in zip(asked, again, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", VALUES)
def test_with_two_axes(name: str, label: str) -> None:
    optimizer = build(name, ordinal(), budget=24)
    for _ in itertools.repeat(None, 400):
        genomes = optimizer.ask()
        if not len(genomes):
            break
        values = VALUES[label](optimizer.space, genomes)
        optimizer.tell(values, np.stack([values, genomes.sum(axis=1)], axis=1))
    assert optimizer.stop_reason == "The budget of 24 distinct architectures is spent."


class Task(Executor):
    """Gives the same metrics to every third network, and sound ones to the others."""

    def __init__(self, metrics: dict[str, float], history: tuple[dict[str, float], ...]) -> None:
        self.workers, self.usage = 1, Usage(1)
        self._metrics, self._history = metrics, history

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            number = int(job.architecture.digest, 16)
            told = self._metrics if number % 3 == 0 else {"error": 1 + number % 7, "other": 1.0}
            history = self._history if number % 3 == 0 else ()
            yield job.index, Measurement("ok", told, macs=5, params=5, history=history)


def search(folder: Path, executor: Executor, resume: bool = False) -> list[Trial]:
    optimizer = registry.create("optimizer", "nsga2", {}, ordinal(), budget=24, seed=3)
    objective = Objective("error", ObjectiveSettings())
    training = TrainingSettings(epochs=2)
    with RunStore(folder, resume) as store:
        components = SearchComponents(
            ordinal(), optimizer, executor, objective, training, lambda architecture: 5
        )
        Search(components, store).run(3)
        return store.trials()


@pytest.mark.parametrize(
    ("metrics", "status", "said"),
    [
        ({"error": math.nan, "other": 1.0}, "failed", "nan: the task's metric error is nan"),
        ({"error": 1.0, "other": math.inf}, "failed", "nan: the task's metric other is inf"),
        ({"error": -math.inf, "other": 1.0}, "failed", "metric error is -inf, expected a finite"),
        ({"error": 1e300, "other": 1e300}, "ok", ""),
    ],
)
def test_metrics_of_a_task_that_are_no_numbers(
    tmp_path: Path, metrics: dict[str, float], status: str, said: str
) -> None:
    """The journal holds no nan: a search must not end with an exception because a task gave one."""
    history: Any = ({"error": metrics["error"]}, {"error": 1.5})
    trials = search(tmp_path, Task(metrics, history))
    assert sum(trial.trained for trial in trials) == 24
    third = [t for t in trials if int(t.digest, 16) % 3 == 0]
    assert third
    assert all(t.status in (status, "repeat") and said in t.error for t in third)
    assert all(1.5 in trial.curve for trial in third if trial.trained)
    json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[0])
    assert search(tmp_path, Task(metrics, history), resume=True) == trials
