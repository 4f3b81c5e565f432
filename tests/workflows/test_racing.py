"""Racing: who goes on is as without a race, the others are told as worse, nothing is lost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, said
from hypothesis import given
from hypothesis import strategies as st

from evonas.core import registry
from evonas.core.settings import FidelitySettings, ObjectiveSettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.estimation.training.training import Training
from evonas.runs import run_store as store
from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.space import SearchSpace
from evonas.workflows.loop import Search, SearchComponents
from evonas.workflows.paused_trainings import statement
from evonas.workflows.racing import Race

RACING = FidelitySettings(name="racing")
TRAINING = TrainingSettings(epochs=8)
GENES = [{"name": f"g{i}", "kind": "ordinal", "choices": [1, 2, 3]} for i in range(5)]
SPACE = SearchSpace.from_dict({"name": "toy", "network": "toy", "genes": GENES})
FITNESS = st.dictionaries(st.integers(0, 30), st.sampled_from([1.0, 2.0, 3.0, math.inf]))


@given(fitness=FITNESS, share=st.floats(0.05, 1.0))
def test_the_better_part_goes_on_and_at_least_one(fitness: dict[int, float], share: float) -> None:
    settings = FidelitySettings(name="racing", go_on=share)
    ahead = Race(settings, TRAINING, Path("x")).survivors(fitness)
    worked = {index for index, value in fitness.items() if value < math.inf}
    assert ahead <= worked
    assert len(ahead) == (max(1, math.ceil(share * len(worked))) if worked else 0)
    for index in worked - ahead:
        assert all((fitness[a], a) < (fitness[index], index) for a in ahead)


def test_the_rung_is_a_share_of_the_epochs_and_at_least_one() -> None:
    rungs = [Race(RACING, TrainingSettings(epochs=n), Path("x")).rung for n in (2, 4, 8, 12)]
    assert rungs == [1, 1, 2, 3]
    with pytest.raises(InputError, match=r"expected more than 1 training\.epochs.* got 1: "):
        Race(RACING, TrainingSettings(epochs=1), Path("x"))


class Fake(Executor):
    """A digest decides who is good at the rung, who in the end, and who fails, early or late."""

    def __init__(self, most: int = 10**6) -> None:
        self.jobs: list[Job] = []
        self._most = most
        self.usage = Usage(1)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            if len(self.jobs) == self._most:
                raise KeyboardInterrupt
            self.jobs.append(job)
            yield job.index, self._measured(job)

    @staticmethod
    def _measured(job: Job) -> Measurement:
        number, epochs = int(job.architecture.digest, 16), job.until or job.training.epochs
        if number % 11 == 0 or (number % 7 == 0 and not job.until):
            return Measurement.failure("diverged", "it did", macs=5, epochs=1)
        late = (number // 7) % 97 / 97  # ranks at the rung are not those at the end
        error = 1 + number % 89 / 89 + late * epochs / 2
        return Measurement("ok", {"error": error}, macs=5, epochs=epochs, seconds=epochs)


def search(folder: Path, name: str, executor: Fake, *, resume: bool = False) -> list[Trial]:
    optimizer = registry.create("optimizer", name, {}, SPACE, budget=30, seed=5)
    objective = Objective("error", ObjectiveSettings())
    race = Race(RACING, TRAINING, folder / "rungs")
    with RunStore(folder, resume) as books:
        components = SearchComponents(
            SPACE, optimizer, executor, objective, TRAINING, lambda a: 5, race
        )
        Search(components, books).run(5)
        return books.trials()


@pytest.fixture(params=["random", "ga", "cma"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_who_is_stopped_is_told_as_worse_than_who_went_on(tmp_path: Path, name: str) -> None:
    executor = Fake()
    trials = search(tmp_path / "run", name, executor)
    trained = [trial for trial in trials if trial.trained]
    assert len(trained) == 30
    assert {trial.status for trial in trained} == {"ok", "failed", "stopped"}
    for number in {trial.generation for trial in trained}:
        own = [trial for trial in trained if trial.generation == number]
        went = [trial for trial in own if trial.status == "ok"]
        left = [trial for trial in own if trial.status == "stopped"]
        assert all(trial.epochs == 8 for trial in went)
        assert all(trial.epochs == 2 for trial in left)
        worst = max((trial.value for trial in went), default=0.0)
        assert all(trial.value >= worst for trial in left)
        rungs = sorted(t.rung for t in own if t.rung is not None)
        raced = math.ceil(len(rungs) / 2)
        assert sorted(t.rung for t in own if t.rung is not None and t not in left) == rungs[:raced]
    assert sum(job.until == 2 for job in executor.jobs) == 30
    assert not (tmp_path / "run" / "rungs").exists()


def test_the_best_is_one_that_trained_to_the_end(tmp_path: Path) -> None:
    trials = search(tmp_path / "run", "ga", Fake())
    stopped = {trial.digest for trial in trials if trial.status == "stopped"}
    with RunStore(tmp_path / "run", resume=True) as opened:
        best = opened.best()
    assert best is not None
    assert best.digest not in stopped
    assert best.epochs == 8


@pytest.mark.parametrize("most", range(0, 40, 3))
def test_a_race_that_was_broken_off_goes_on(tmp_path: Path, name: str, most: int) -> None:
    whole = search(tmp_path / "whole", name, Fake())
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "split", name, Fake(most))
    begun = (tmp_path / "split" / "journal.jsonl").exists()
    rows = read_journal(tmp_path / "split") if begun else []
    done = {trial.digest for trial in rows if trial.trained}
    rest = Fake()
    assert search(tmp_path / "split", name, rest, resume=begun) == whole
    assert not done & {job.architecture.digest for job in rest.jobs}  # nobody trains twice


def test_the_saved_epochs_are_told(tmp_path: Path) -> None:
    trials = search(tmp_path / "run", "random", Fake())
    stopped = sum(trial.status == "stopped" for trial in trials)
    spent = 240 - 6 * stopped - sum(8 - t.epochs for t in trials if t.status == "failed")
    assert statement(trials, 8) == (
        f"Fidelity: {stopped} of 30 networks were stopped before 8 epochs: {240 - spent} of 240 "
        f"epochs saved ({100 * (1 - spent / 240):.0f} %)."
    )
    assert statement([trial for trial in trials if trial.status == "ok"], 8) == ""


def test_on_the_command_line(evonas: Cli, tiny_file: Path) -> None:
    words = ("training.epochs=4", "finals.networks=0", "--optimizer", "ga", "--budget", 6)
    assert evonas("search", tiny_file, "--run-dir", "full", *words)[0] == 0
    code, out, err = evonas("search", tiny_file, "--run-dir", "race", *words, "--fidelity=racing")
    assert (code, err) == (0, "")
    full, raced = (read_journal(tiny_file.parent / run) for run in ("full", "race"))
    first = {t.digest: t.metrics for t in full}
    went = [t for t in raced if t.generation == 0 and t.status == "ok"]
    assert len(went) == 3  # of five
    # to the bit, though they were written down at the rung
    assert all(trial.metrics == first[trial.digest] for trial in went)
    stopped = [t for t in raced if t.status == "stopped"]
    assert f"Fidelity: {len(stopped)} of 6 networks were stopped before 4 epochs" in out
    best = json.loads((tiny_file.parent / "race" / "best.json").read_text())
    assert best["digest"] not in {trial.digest for trial in stopped}
    front = json.loads((tiny_file.parent / "race" / "front.json").read_text())["front"]
    assert not {one["digest"] for one in front} & {trial.digest for trial in stopped}
    assert np.isfinite([trial.value for trial in stopped]).all()


@pytest.mark.parametrize("cleared", [True, False])
def test_a_run_that_was_killed_in_its_first_generation_starts_anew(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch, cleared: bool
) -> None:
    """At another learning rate: its journal is that of a clean run, to the bit.

    Also where what the killed run left is still there, as on a disk that allows no removing.
    """
    words = ("training.epochs=4", "finals.networks=0", "--budget", 6, "--fidelity=racing")
    words = (
        *words,
        "optimizer.population_size=6",
        "--optimizer=random",
        "--executor=local",
        "baselines=[]",
    )
    estimate, left = Estimator.__call__, tiny_file.parent / "a" / "rungs"
    opened: list[Job] = []

    def killed(self: Estimator, job: Job) -> Measurement:
        if len(opened) == 4:
            raise KeyboardInterrupt
        opened.append(job)
        return estimate(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(Estimator, "__call__", killed)
        slow = evonas("search", tiny_file, "--run-dir", "a", *words, "training.learning_rate=1e-5")
    assert slow[0] == 130
    assert len([*left.iterdir()]) == 4
    if not cleared:
        monkeypatch.setattr(store, "_clear_away", lambda folder: None)
    for folder in ("a", "b"):
        done = evonas("search", tiny_file, "--run-dir", folder, *words)
        assert done[0] == 0, done
    one, other = (read_journal(tiny_file.parent / folder) for folder in ("a", "b"))
    assert len(one) == 6
    assert [untimed(trial) for trial in one] == [untimed(trial) for trial in other]


def test_a_race_that_is_resumed_goes_on_from_its_rungs(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("training.epochs=4", "finals.networks=0", "--budget", 6, "--fidelity=racing")
    words = (
        *words,
        "optimizer.population_size=6",
        "--optimizer=random",
        "--executor=local",
        "baselines=[]",
    )
    estimate, done = Estimator.__call__, list[Job]()

    def killed(self: Estimator, job: Job) -> Measurement:
        if len(done) == 7:  # one of the second rung
            raise KeyboardInterrupt
        done.append(job)
        return estimate(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(Estimator, "__call__", killed)
        assert evonas("search", tiny_file, "--run-dir", "a", *words)[0] == 130
    assert len(read_journal(tiny_file.parent / "a")) == 1
    trained, train = list[int](), Training._epoch

    def counted(self: Training, *given: object) -> float:
        trained.append(self.epoch)
        return train(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_epoch", counted)
        assert evonas("search", "--resume", "--run-dir", "a")[0] == 0
    assert trained == [1, 2, 3] * 2  # nothing of the first rung
    assert evonas("search", tiny_file, "--run-dir", "b", *words)[0] == 0
    one, other = (read_journal(tiny_file.parent / folder) for folder in ("a", "b"))
    assert [untimed(trial) for trial in one] == [untimed(trial) for trial in other]


def untimed(trial: Trial) -> dict[str, object]:
    return {**trial.row(), "seconds": 0, "at": 0}


def test_what_a_rung_found_out_is_not_taken_over(evonas: Cli, tiny_file: Path) -> None:
    words = ("training.epochs=2", "finals.networks=0", "--budget", 4, "--optimizer", "ga")
    assert evonas("search", tiny_file, "--run-dir", "a", *words, "--fidelity=racing")[0] == 0
    trials = read_journal(tiny_file.parent / "a")
    assert evonas("search", tiny_file, "--run-dir", "b", *words, "--from", "a")[0] == 0
    taken = [t.digest for t in read_journal(tiny_file.parent / "b") if t.status == "earlier"]
    assert sorted(taken) == sorted(t.digest for t in trials if t.status == "ok")
    assert any(t.status == "stopped" for t in trials)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fidelity=racing", "training.epochs=1"), "expected more than 1 training.epochs"),
        (("fidelity=racing", "fidelity.rung=1.5"), "fidelity.rung: input should be less than 1"),
        (("fidelity=raced",), "fidelity.name: input should be 'full', 'racing' or 'curves'"),
    ],
)
def test_bad_input(evonas: Cli, tiny_file: Path, words: tuple[str, ...], expected: str) -> None:
    assert expected in said(evonas("search", tiny_file, *words))


def test_alone_there_is_nobody_to_race(evonas: Cli, tiny_file: Path) -> None:
    alone = ("--optimizer=surrogate", "optimizer.population_size=1")
    words = (*alone, "--budget=1", "training.epochs=2", "finals.networks=0")
    code, out, _ = evonas("search", tiny_file, "--fidelity", "racing", *words)
    assert code == 0
    assert "surrogate asks for 1 network at a time, so there is no other to race against" in out
