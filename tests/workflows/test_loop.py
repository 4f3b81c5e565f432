"""The search loop, with an executor that needs no training: an architecture's digest decides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from untrained_search import (
    BUDGET,
    OPTIMIZERS,
    SPACE,
    Fake,
    as_asked,
    backwards,
    comparable,
    cost,
    search,
    shuffled,
)

from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import RunStore
from evonas.workflows.loop import Search, SearchComponents, candidate_seed


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_budget_is_spent_on_distinct_trainings_exactly(tmp_path: Path, name: str) -> None:
    executor = Fake()
    trials = search(tmp_path, name, executor)
    assert len(executor.digests) == len(set(executor.digests)) == BUDGET
    assert sum(trial.trained for trial in trials) == BUDGET
    assert {trial.status for trial in trials} <= {"ok", "failed", "repeat"}


class Twice(Optimizer):
    """Asks everything twice, and something old with it."""

    _old: NDArray[np.float64] | None = None

    def _ask(self) -> NDArray[np.float64]:
        new = self.sample_new(2)
        return np.concatenate([new, new, new if self._old is None else self._old])

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        assert fitness[0] == fitness[2]
        self._old = genomes[:1]

    def parents(self) -> list[str]:
        return []


def test_a_repeat_carries_the_first_measurement(tmp_path: Path) -> None:
    optimizer = Twice(SPACE, budget=30, seed=5, macs=cost)
    objective = Objective("error", ObjectiveSettings(target_macs=25_000))
    with RunStore(tmp_path) as store:
        components = SearchComponents(SPACE, optimizer, Fake(), objective, TrainingSettings(), cost)
        Search(components, store).run(5)
        trials = store.trials()
    first = {trial.digest: trial for trial in reversed(trials) if trial.trained}
    repeats = [trial for trial in trials if trial.status == "repeat"]
    assert len(first) == 30
    assert len(repeats) >= 45
    for trial in repeats:
        known = first[trial.digest]
        assert (known.generation, known.index) < (trial.generation, trial.index)
        assert (trial.fitness, trial.metrics, trial.macs) == (
            known.fitness,
            known.metrics,
            known.macs,
        )
        assert (trial.latency, trial.latency_noise) == (known.latency, known.latency_noise)
        assert trial.seconds == 0.0
        assert SPACE.decode(trial.genome).digest == trial.digest


def test_infeasible_architectures_are_never_trained(tmp_path: Path) -> None:
    found = 0
    for name in OPTIMIZERS:
        executor = Fake()
        trials = search(tmp_path / name, name, executor, max_macs=16_000)
        assert all(cost(job.architecture) <= 16_000 for job in executor.jobs)
        over = [trial for trial in trials if trial.macs > 16_000]
        assert all((t.status, t.fitness, t.params) == ("infeasible", None, 0) for t in over)
        assert len(executor.jobs) == BUDGET
        found += len(over)
    assert found, "no strategy asked for an infeasible architecture: nothing was tested"


def test_a_limit_is_inclusive(tmp_path: Path) -> None:
    executor = Fake()
    search(tmp_path, executor=executor, max_macs=1000, budget=3)
    assert {cost(job.architecture) for job in executor.jobs} == {1000}


def test_failures_are_recorded_and_not_fatal(tmp_path: Path) -> None:
    executor = Fake()
    trials = search(tmp_path, executor=executor, budget=40)
    failed = [trial for trial in trials if trial.status == "failed"]
    assert failed
    assert all(trial.fitness is None for trial in failed)
    assert {trial.error for trial in failed} == {"exception: boom"}
    assert len(executor.jobs) == 40
    assert sum(status == "failed" for status, _ in executor.observed) == len(failed)


def test_the_executor_is_told_the_lowest_fitness_so_far(tmp_path: Path) -> None:
    executor = Fake()
    trials = search(tmp_path, executor=executor)
    best = [value for _, value in executor.observed]
    assert best == sorted(best, reverse=True)
    assert best[-1] == min(trial.value for trial in trials)


def test_the_penalty_is_in_the_fitness(tmp_path: Path) -> None:
    dear = [t for t in search(tmp_path) if t.status == "ok" and 2 * t.macs > 50_000]
    assert dear
    for trial in dear:
        expected = trial.metrics["error"] * (2 * trial.macs / 50_000) ** 0.06
        assert trial.fitness == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_journal_does_not_depend_on_the_order_of_finishing(tmp_path: Path, name: str) -> None:
    journals = []
    for order in (as_asked, backwards, shuffled):
        search(tmp_path / order.__name__, name, Fake(order), max_macs=64_000)
        journals.append(comparable(tmp_path / order.__name__))
    assert journals[0] == journals[1] == journals[2]


def test_the_dearest_jobs_start_first(tmp_path: Path) -> None:
    class Watching(Fake):
        def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
            costs = [cost(job.architecture) for job in jobs]
            assert costs == sorted(costs, reverse=True)
            return super()._evaluate(jobs)

    search(tmp_path, executor=Watching())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_cut_after_any_row_ends_the_same(tmp_path: Path, name: str) -> None:
    search(tmp_path / "whole", name, Fake(shuffled), max_macs=64_000)
    expected = comparable(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(lines) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        known = {
            row["digest"]
            for row in map(json.loads, lines[:cut])
            if row["status"] in ("ok", "failed")
        }
        executor, seen = Fake(backwards), []
        search(folder, name, executor, resume=True, max_macs=64_000, seen=seen)
        assert comparable(folder) == expected, f"cut after {cut} of {len(lines)} rows"
        assert not known & set(executor.digests)
        assert len(known) + len(executor.digests) == BUDGET
        assert len(seen) == len(lines) - cut  # who watches sees what is new


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path: Path, name: str) -> None:
    search(tmp_path / "whole", name, budget=14)
    search(tmp_path / "split", name, budget=5)
    executor = Fake()
    search(tmp_path / "split", name, executor, budget=14, resume=True)
    assert comparable(tmp_path / "split") == comparable(tmp_path / "whole")
    assert len(executor.jobs) == 9


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resuming_with_another_optimizer_seed_is_refused(tmp_path: Path, name: str) -> None:
    search(tmp_path, name, budget=4)
    before = (tmp_path / "journal.jsonl").read_bytes()
    executor = Fake()
    with pytest.raises(InputError, match=r"the journal does not fit: generation 0"):
        search(tmp_path, name, executor, resume=True, seed=6)
    assert executor.jobs == []
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_job_says_what_and_how_to_train(tmp_path: Path) -> None:
    executor = Fake()
    search(tmp_path, executor=executor, seed=11)
    for job in executor.jobs:
        assert job.seed == candidate_seed(11, job.architecture.digest, 5)
        assert job.training == TrainingSettings()
        assert job.label.startswith("generation ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "0000000000000000", 5), 1103211233),
        ((0, "09aea5c2d2555ecb", 5), 866793512),
        ((1, "09aea5c2d2555ecb", 5), 1331440199),
        ((0, "09aea5c2d2555ecb", 6), 260200821),
        ((2147483647, "ffffffffffffffff", 100), 1112079448),
    ],
)
def test_the_seed_of_a_candidate_never_changes(
    arguments: tuple[int, str, int], expected: int
) -> None:
    """Old journals are reproduced only as long as these numbers stay."""
    assert candidate_seed(*arguments) == expected


def test_candidate_seeds_differ_and_fit_every_generator() -> None:
    made = {candidate_seed(s, f"{d:016x}", e) for s in range(5) for d in range(20) for e in (1, 5)}
    assert len(made) == 200
    assert all(0 <= seed < 2**31 for seed in made)
