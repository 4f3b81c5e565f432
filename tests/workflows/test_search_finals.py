"""Finals after a search, and searches that begin with what another found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from msgspec.structs import replace
from untrained_search import (
    BUDGET,
    OPTIMIZERS,
    SPACE,
    Fake,
    Watching,
    backwards,
    comparable,
    cost,
    shuffled,
)

from evonas.core import registry
from evonas.core.settings import FinalsSettings, ObjectiveSettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.runs.callbacks import Callback
from evonas.runs.finals import rank_finalists
from evonas.runs.run_store import RunStore, Trial
from evonas.workflows.loop import Search, SearchComponents, candidate_seed

SEED = 5


class Unsteady(Fake):
    """Fails on some further seeds."""

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        labels = {job.index: job.label for job in jobs}
        for index, found in super()._evaluate(jobs):
            bad = labels[index].endswith("seed 2")
            yield index, Measurement.failure("diverged", "loss is nan") if bad else found


def run(
    folder: Path,
    executor: Fake,
    name: str = "random",
    *,
    networks: int = 0,
    seeds: int = 2,
    method: Literal["race", "fixed"] = "fixed",
    budget: int = BUDGET,
    resume: bool = False,
    begin_with: Sequence[Trial] = (),
    seen: list[Trial] | None = None,
    folds: int = 0,
    callbacks: Callback | None = None,
    **settings: Any,
) -> list[Trial]:
    limit = settings.get("max_macs")
    optimizer = registry.create(
        "optimizer", name, {}, SPACE, budget=budget, seed=SEED, macs=cost, max_macs=limit
    )
    objective = Objective("error", ObjectiveSettings(target_macs=25_000, **settings))
    with RunStore(folder, resume) as store:
        components = SearchComponents(
            SPACE, optimizer, executor, objective, TrainingSettings(), cost, final_folds=folds
        )
        search = Search(components, store, callbacks or Watching(seen))
        if begin_with:
            search.begin(begin_with)
        search.run(SEED)
        finals = FinalsSettings(method=method, networks=networks, seeds=seeds)
        search.run_finals(finals, SEED)
        return store.trials()


def rows(folder: Path) -> list[dict[str, Any]]:
    return sorted(
        comparable(folder), key=lambda row: (row["generation"], row["index"], row["repeat"])
    )


def best(trials: Sequence[Trial], n: int) -> list[Trial]:
    known = [trial for trial in trials if trial.succeeded]
    return sorted(known, key=lambda trial: trial.value)[:n]


def of_finals(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.status == "final"]


def test_finals_train_the_best_with_other_seeds(tmp_path: Path) -> None:
    executor = Fake()
    trials = run(tmp_path, executor, networks=3, seeds=2)
    jobs = executor.jobs[BUDGET:]
    expected = {(one.digest, seed) for one in best(trials, 3) for seed in (1, 2)}
    assert {
        (job.architecture.digest, seed)
        for job in jobs
        for seed in (1, 2)
        if job.seed == candidate_seed(SEED, job.architecture.digest, 5, seed)
    } == expected
    assert len(jobs) == 6
    assert len({(job.architecture.digest, job.seed) for job in executor.jobs}) == BUDGET + 6
    assert len({job.index for job in jobs}) == 6
    assert all(job.training == TrainingSettings() for job in jobs)


def test_each_seed_has_its_fold_in_turn(tmp_path: Path) -> None:
    executor = Fake()
    trials = of_finals(run(tmp_path, executor, networks=2, seeds=3, folds=2))
    assert {(one.repeat, one.fold) for one in trials} == {(1, 1), (2, 2), (3, 1)}
    splits = {job.seed: job.split for job in executor.jobs[BUDGET:]}
    for one in trials:
        assert splits[candidate_seed(SEED, one.digest, 5, one.repeat)] == f"final fold {one.fold}"


def test_finals_stand_in_the_journal_at_what_they_repeat(tmp_path: Path) -> None:
    seen: list[Trial] = []
    trials = run(tmp_path, Fake(backwards), networks=2, seeds=3, seen=seen)
    found = of_finals(trials)
    assert sorted(found, key=id) == sorted(of_finals(seen), key=id)
    own = {one.digest: one for one in best(trials, 2)}
    assert sorted((one.digest, one.repeat) for one in found) == sorted(
        (digest, repeat) for digest in own for repeat in (1, 2, 3)
    )
    for one in found:
        first = own[one.digest]
        assert (one.place[:2], one.genome) == (first.place[:2], first.genome)
        assert one.metrics != first.metrics
        assert one.params == 3
        penalty = max(1.0, 2 * one.macs / 50_000) ** 0.06
        assert one.fitness == pytest.approx(one.metrics["error"] * penalty)
    with RunStore(tmp_path, resume=True) as store:
        assert store.trials() == trials
        assert store.best() == best(trials, 1)[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_finals_cost_no_budget_and_change_no_search(tmp_path: Path, name: str) -> None:
    executor = Fake()
    trials = run(tmp_path / "a", executor, name, networks=3)
    assert sum(trial.trained for trial in trials) == BUDGET
    assert len(executor.observed) == BUDGET
    run(tmp_path / "b", Fake(), name)
    without = [row for row in rows(tmp_path / "a") if not row["repeat"]]
    assert without == rows(tmp_path / "b")


def test_finals_are_not_repeated_on_resume(tmp_path: Path) -> None:
    run(tmp_path, Fake(), networks=3, seeds=2)
    before = (tmp_path / "journal.jsonl").read_bytes()
    executor = Fake()
    run(tmp_path, executor, networks=3, seeds=2, resume=True)
    assert executor.jobs == []
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    run(tmp_path, executor, networks=3, seeds=3, resume=True)
    assert {job.label.split(", ")[1] for job in executor.jobs} == {"seed 3"}
    assert len(executor.jobs) == 3


class Rounds(Fake):
    """Remembers how many jobs it got at a time."""

    def __init__(self, *order: Any) -> None:
        super().__init__(*order)
        self.sizes: list[int] = []

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        self.sizes.append(len(jobs))
        yield from super()._evaluate(jobs)


def test_a_race_trains_round_by_round_and_drops_the_worse(tmp_path: Path) -> None:
    executor = Rounds()
    trials = run(tmp_path, executor, networks=5, seeds=3, method="race")
    finals = of_finals(trials)
    by_round = [[one for one in finals if one.repeat == n] for n in (1, 2, 3)]
    sizes = [len(found) for found in by_round if found]
    assert sizes[:2] == [5, 3]
    assert sizes[2:] in ([], [2])
    assert executor.sizes[-len(sizes) :] == sizes  # the jobs of a round come together
    assert {one.digest for one in by_round[0]} == {one.digest for one in best(trials, 5)}
    own = {one.digest: one.value for one in best(trials, 5)}
    better = sorted(by_round[0], key=lambda one: own[one.digest] + one.value)[:3]
    assert {one.digest for one in by_round[1]} == {one.digest for one in better}
    settings = FinalsSettings(networks=5, seeds=3)
    assert rank_finalists(trials, settings)[0].trial.digest in {
        one.digest for one in by_round[len(sizes) - 1]
    }


def test_a_race_announces_its_most_trainings_once(tmp_path: Path) -> None:
    class Stages(Callback):
        told: ClassVar[list[tuple[str, int]]] = []

        def on_stage(self, stage: str, trainings: int) -> None:
            self.told.append((stage, trainings))

    run(tmp_path, Fake(), networks=5, seeds=3, method="race", callbacks=Stages())
    assert Stages.told == [("finals", 10)]


@pytest.mark.parametrize("unsteady", [False, True])
def test_a_race_cut_after_any_of_its_trainings_ends_the_same(
    tmp_path: Path, unsteady: bool
) -> None:
    made = Unsteady if unsteady else Fake
    race: Any = {"networks": 6, "seeds": 4, "method": "race", "folds": 3 if unsteady else 0}
    run(tmp_path / "whole", made(shuffled), **race)
    expected = rows(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b'"final"' in line)
    assert len(lines) - first >= 8
    for cut in range(first, len(lines) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        executor = made(backwards)
        run(folder, executor, **race, resume=True)
        assert rows(folder) == expected
        assert len(executor.jobs) == len(lines) - cut


def test_fixed_finals_go_on_as_a_race_without_training_anything_twice(tmp_path: Path) -> None:
    before = of_finals(run(tmp_path, Fake(), networks=3, seeds=3))
    executor = Fake()
    trials = run(tmp_path, executor, networks=6, seeds=4, method="race", resume=True)
    places = [one.place for one in of_finals(trials)]
    assert len(places) == len(set(places)) == len(before) + len(executor.jobs)


def test_a_run_cut_in_its_finals_ends_the_same(tmp_path: Path) -> None:
    run(tmp_path / "whole", Fake(shuffled), networks=2, seeds=2)
    expected = rows(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(lines) - 5, len(lines)):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        executor = Fake(backwards)
        run(folder, executor, networks=2, seeds=2, resume=True)
        assert rows(folder) == expected
        assert len(executor.jobs) == len(lines) - cut


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_larger_budget_after_finals_goes_on_with_the_search(tmp_path: Path, name: str) -> None:
    run(tmp_path / "whole", Fake(), name, budget=14)
    run(tmp_path / "split", Fake(), name, networks=2, budget=5)
    executor = Fake()
    trials = run(tmp_path / "split", executor, name, networks=2, budget=14, resume=True)
    assert [row for row in rows(tmp_path / "split") if not row["repeat"]] == rows(
        tmp_path / "whole"
    )
    tested = {one.digest for one in of_finals(trials)}
    assert {one.digest for one in best(trials, 2)} <= tested
    assert len(executor.jobs) == 9 + 2 * len(tested) - 4
    assert {len(one.further) for one in rank_finalists(trials)} == {2}


def test_more_finalists_than_successes_are_as_many_as_there_are(tmp_path: Path) -> None:
    executor = Fake()
    trials = run(tmp_path, executor, networks=99, seeds=1)
    successes = sum(trial.status == "ok" for trial in trials)
    assert 0 < successes < BUDGET
    assert len(executor.jobs) == BUDGET + successes


def test_a_final_that_fails_is_written_down_and_not_tried_again(tmp_path: Path) -> None:
    trials = run(tmp_path, Unsteady(), networks=2, seeds=2)
    failed = [one for one in of_finals(trials) if one.fitness is None]
    assert [one.repeat for one in failed] == [2, 2]
    assert {one.error for one in failed} == {"diverged: loss is nan"}
    assert {one.status for one in trials} <= {"ok", "failed", "repeat", "final"}
    assert [len(one.further) for one in rank_finalists(trials)] == [1, 1]
    executor = Fake()
    run(tmp_path, executor, networks=2, seeds=2, resume=True)
    assert executor.jobs == []


def test_where_everything_failed_there_are_no_finals(tmp_path: Path) -> None:
    class Broken(Fake):
        def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
            for index, _ in super()._evaluate(jobs):
                yield index, Measurement.failure("exception", "boom")

    executor = Broken()
    assert of_finals(run(tmp_path, executor, networks=3)) == []
    assert len(executor.jobs) == BUDGET


@pytest.mark.parametrize(
    ("axes", "wanted"), [(("error", "macs"), False), (("error", "latency"), True)]
)
def test_latency_is_measured_where_it_is_an_axis(
    tmp_path: Path, axes: tuple[str, ...], wanted: bool
) -> None:
    executor = Fake()
    run(tmp_path, executor, networks=1, axes=axes)
    searched, finals = executor.jobs[:BUDGET], executor.jobs[BUDGET:]
    assert {job.latency for job in searched} == {wanted}
    # a final is of a network that was measured, whatever another measurement would say
    assert {job.latency for job in finals} == {False}


# ------------------------------------------------------------- begin with another run


@pytest.fixture
def known(tmp_path: Path) -> list[Trial]:
    """What another run found, as this one may use it: successes and failures."""
    trials = run(tmp_path / "before", Fake(), budget=12)
    found = [
        replace(trial, generation=-1, index=i, status="earlier", seconds=0.0)
        for i, trial in enumerate(sorted(trials, key=lambda trial: trial.value))
    ]
    assert found[-1].fitness is None
    assert found[0].fitness is not None
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_known_is_never_trained_and_costs_no_budget(
    tmp_path: Path, known: list[Trial], name: str
) -> None:
    executor, seen = Fake(), []
    trials = run(tmp_path / "run", executor, name, begin_with=known, seen=seen)
    assert trials[: len(known)] == known
    assert not {trial.digest for trial in known} & set(executor.digests)
    assert len(executor.digests) == len(set(executor.digests)) == BUDGET
    assert sum(trial.trained for trial in trials) == BUDGET
    assert not [trial for trial in seen if trial.generation < 0]
    results = {trial.digest: trial for trial in known}
    again = [t for t in trials if t.generation >= 0 and t.digest in results]
    for trial in again:
        first = results[trial.digest]
        assert (trial.status, trial.fitness, trial.metrics) == (
            "repeat",
            first.fitness,
            first.metrics,
        )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("status", ["earlier", "suggested"])
def test_a_resumed_run_needs_no_other_run_and_asks_the_same(
    tmp_path: Path, known: list[Trial], name: str, status: str
) -> None:
    if status == "suggested":
        known = [replace(t, status=status, fitness=None, metrics={}) for t in known[:4]]
    run(tmp_path / "whole", Fake(shuffled), name, begin_with=known, networks=2)
    expected = rows(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(known), len(lines) + 1, 3):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        executor = Fake(backwards)
        run(folder, executor, name, networks=2, resume=True)
        assert rows(folder) == expected, f"cut after {cut} of {len(lines)} rows"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_suggested_is_trained_first(tmp_path: Path, known: list[Trial], name: str) -> None:
    some = [replace(t, status="suggested", fitness=None, metrics={}) for t in known[:4]]
    executor = Fake()
    trials = run(tmp_path / "run", executor, name, begin_with=some)
    wanted = {trial.digest for trial in some}
    asked = [trial.digest for trial in trials if trial.trained]
    assert set(asked[:4]) == wanted
    assert {trial.status for trial in trials if trial.digest in wanted} <= {
        *("suggested", "ok", "failed", "repeat")
    }
    assert len(set(executor.digests)) == len(executor.digests) == BUDGET


def test_finals_take_the_best_of_what_is_known_as_well(tmp_path: Path, known: list[Trial]) -> None:
    known[0] = replace(known[0], fitness=1e-9, metrics={"error": 1e-9})
    executor = Fake()
    trials = run(tmp_path / "run", executor, begin_with=known, networks=1, seeds=2)
    assert [job.architecture.digest for job in executor.jobs[BUDGET:]] == [known[0].digest] * 2
    (winner,) = rank_finalists(trials)
    assert winner.trial == known[0]
    assert winner.fitness > 1e-9
    assert {(one.generation, one.index) for one in of_finals(trials)} == {(-1, 0)}


def test_a_search_that_knows_everything_ends_at_once(tmp_path: Path, known: list[Trial]) -> None:
    limit = 1000
    few = run(tmp_path / "few", Fake(), budget=99, max_macs=limit)
    few = [replace(t, generation=-1, status="earlier", index=i) for i, t in enumerate(few)]
    assert {trial.macs for trial in few} == {1000}
    executor = Fake()
    trials = run(tmp_path / "run", executor, begin_with=few, networks=1, max_macs=limit)
    assert [job.label.split(", ")[1] for job in executor.jobs] == ["seed 1", "seed 2"]
    assert [trial for trial in trials if trial.status != "final"] == few
