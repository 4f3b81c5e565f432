"""Trainings that pause and go on when the strategy asks again: as one, whatever happens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, said

from evonas.core import registry
from evonas.core.settings import FidelitySettings, ObjectiveSettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.report.live_view import Tally, Work
from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.space import SearchSpace
from evonas.workflows.loop import Search, SearchComponents
from evonas.workflows.paused_trainings import PausedTrainings, statement, steps_of
from evonas.workflows.time_budget import TimeBudget

CURVES = FidelitySettings(name="curves")
TRAINING = TrainingSettings(epochs=8)
GENES = [{"name": f"g{i}", "kind": "ordinal", "choices": [1, 2, 3]} for i in range(5)]
SPACE = SearchSpace.from_dict({"name": "toy", "network": "toy", "genes": GENES})


class Fake(Executor):
    """A digest decides the curve, and who fails, early or late."""

    def __init__(self, most: int = 10**6, slowness: float = 1.0) -> None:
        self.jobs: list[Job] = []
        self.now = 0.0  # seconds
        self._most, self._slowness = most, slowness
        self.usage = Usage(1)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            if len(self.jobs) == self._most:
                raise KeyboardInterrupt
            self.jobs.append(job)
            Path(job.paused).parent.mkdir(exist_ok=True)
            Path(job.paused).write_bytes(b"state")
            measurement = self._measured(job)
            self.now += measurement.seconds * self._slowness
            yield job.index, measurement

    @staticmethod
    def _measured(job: Job) -> Measurement:
        number, epochs = int(job.architecture.digest, 16), job.until or job.training.epochs
        if number % 11 == 0 or (number % 7 == 0 and not job.until):
            return Measurement.failure("diverged", "it did", macs=5, epochs=1)
        history = tuple(
            {"error": 1 + number % 89 / 89 + (1 + number // 7 % 97 / 97) / epoch}
            for epoch in range(1, epochs + 1)
        )
        return Measurement(
            "ok", history[-1], macs=5, epochs=epochs, seconds=epochs - job.done, history=history
        )


def search(
    folder: Path,
    executor: Fake,
    *,
    budget: int = 10,
    minutes: float | None = None,
    resume: bool = False,
) -> tuple[list[Trial], list[Trial]]:
    """Return the trials of all lines of the journal, and those that count."""
    steps = steps_of(CURVES, TRAINING)
    optimizer = registry.create(
        "optimizer", "surrogate", {}, SPACE, budget=budget, seed=5, steps=steps
    )
    paused = PausedTrainings(folder / "rungs", steps)
    objective = Objective("error", ObjectiveSettings(mode="one_sided", target_macs=4))
    with RunStore(folder, resume, clock=lambda: executor.now) as books:
        time = None if minutes is None else TimeBudget(minutes, books, epochs=8)
        parts = SearchComponents(
            *(SPACE, optimizer, executor, objective, TRAINING, lambda a: 5),
            time=time,
            paused=paused,
        )
        Search(parts, books).run(5)
        return books.rows(), books.trials()


def test_a_network_stands_in_the_journal_once_for_each_step(tmp_path: Path) -> None:
    executor = Fake()
    rows, trials = search(tmp_path / "run", executor)
    assert {trial.status for trial in trials} == {"ok", "failed", "stopped"}
    assert len({trial.digest for trial in trials}) == len(trials) < len(rows)
    assert len(trials) > 10  # more networks than whole trainings
    assert read_journal(tmp_path / "run") == trials
    for trial in trials:
        own = [row for row in rows if row.digest == trial.digest]
        assert [row.status for row in own[:-1]] == ["stopped"] * (len(own) - 1)
        if trial.status == "ok":
            assert [row.epochs for row in own] == [2, 8]
            assert own[0].curve == own[1].curve[:2]
            assert trial.seconds == 8.0  # of both steps
        if trial.status == "stopped":
            assert trial.epochs == 2
    assert not (tmp_path / "run" / "rungs").exists()
    jobs = {(job.architecture.digest, job.done, job.until) for job in executor.jobs}
    assert len(jobs) == len(executor.jobs) == len(rows)
    assert {(done, until) for _, done, until in jobs} == {(0, 2), (2, 0)}


def test_the_strategy_is_told_the_fitness_of_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = registry.load("optimizer", "surrogate")
    told: list[tuple[list[float], list[list[float]]]] = []
    tell = optimizer.tell

    def telling(self: object, fitness: Sequence[float], axes: object, curves: Any) -> None:
        told.append((list(fitness), curves))
        tell(self, fitness, axes, curves)

    monkeypatch.setattr(optimizer, "tell", telling)
    rows, _ = search(tmp_path / "run", Fake())
    penalty = (5 / 4) ** ObjectiveSettings().weight
    for row, (value, curve) in zip(
        rows,
        ((v, c) for fitness, curves in told for v, c in zip(fitness, curves, strict=True)),
        strict=True,
    ):
        assert math.isinf(value) if row.fitness is None else value == row.fitness
        assert curve == pytest.approx(
            [] if row.fitness is None else [e * penalty for e in row.curve]
        )
        assert len(curve) == (0 if row.fitness is None else row.epochs)


def test_the_best_is_one_that_trained_to_the_end(tmp_path: Path) -> None:
    search(tmp_path / "run", Fake())
    with RunStore(tmp_path / "run", resume=True) as opened:
        best = opened.best()
    assert best is not None
    assert best.epochs == 8


@pytest.mark.parametrize("most", range(0, 28, 3))
def test_a_search_that_was_broken_off_goes_on(tmp_path: Path, most: int) -> None:
    whole, _ = search(tmp_path / "whole", Fake())
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "split", Fake(most))
    begun = (tmp_path / "split" / "journal.jsonl").exists()
    rest = Fake()
    assert search(tmp_path / "split", rest, resume=begun)[0] == whole
    assert len(rest.jobs) == len(whole) - most  # no step is done twice


def test_a_greater_budget_goes_on_where_the_smaller_ended(tmp_path: Path) -> None:
    small, _ = search(tmp_path / "run", Fake(), budget=5)
    large, _ = search(tmp_path / "run", Fake(), budget=10, resume=True)
    assert [row for row in large if row in small] == small
    assert len(large) > len(small)


def test_minutes_end_a_search_and_a_resume_replays_the_clock(tmp_path: Path) -> None:
    """Nine tenths of a minute are 54 epochs of a second each."""
    executor = Fake()
    rows, _ = search(tmp_path / "whole", executor, budget=1000, minutes=1.0)
    assert 40.0 < executor.now < 60.0
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (place,) = [n for n, line in enumerate(lines) if line.startswith(b'{"clock": "search"')]
    for count in sorted({3, place, place + 1}):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:count]))
        # Once the clock has decided, a slower machine changes nothing.
        rest = Fake(slowness=1.0 if count <= place else 9.0)
        assert search(folder, rest, budget=1000, minutes=1.0, resume=True)[0] == rows


def test_there_is_one_pause() -> None:
    steps = [steps_of(CURVES, TrainingSettings(epochs=n)) for n in (2, 8, 10, 24)]
    assert steps == [(1, 2), (2, 8), (2, 10), (6, 24)]
    assert steps_of(FidelitySettings(), TRAINING) == ()
    with pytest.raises(InputError, match=r"fidelity=curves: expected more than 1 training\.epochs"):
        steps_of(CURVES, TrainingSettings(epochs=1))


def test_the_saved_epochs_are_told(tmp_path: Path) -> None:
    _, trials = search(tmp_path / "run", Fake())
    stopped = sum(trial.status == "stopped" for trial in trials)
    spent = sum(trial.epochs for trial in trials)
    whole = 8 * len(trials)
    assert statement(trials, 8) == (
        f"Fidelity: {stopped} of {len(trials)} networks were stopped before 8 epochs: "
        f"{whole - spent} of {whole} epochs saved ({100 * (1 - spent / whole):.0f} %)."
    )
    assert statement([trial for trial in trials if trial.status == "ok"], 8) == ""


def test_the_live_view_counts_whole_trainings(tmp_path: Path) -> None:
    rows, trials = search(tmp_path / "run", Fake())
    tally = Tally(Work(10, epochs=8), clock=lambda: 60.0, start=0.0)
    for row in rows:
        tally.take(row)
    assert tally.trained == len(trials)
    assert tally.counts["stopped"] == sum(trial.status == "stopped" for trial in trials)
    assert tally.done == sum(trial.epochs for trial in trials) / 8
    assert tally.rate == pytest.approx(tally.done)  # in this minute
    assert tally.words == f"{len(trials)} networks for {tally.done:.3g} of 10 whole trainings"
    resumed = Tally(Work(10, known=len(trials), epochs=8), clock=lambda: 60.0, start=0.0)
    for trial in trials:
        resumed.take(trial)
    assert resumed.rate is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--optimizer", "ga"), "fidelity=curves: expected a strategy that forecasts learning"),
        (("training.epochs=1",), "fidelity=curves: expected more than 1 training.epochs"),
        (("--inherit",), "inherit=true: expected fidelity=full or racing"),
        (("optimizer.window=4",), "optimizer.window=4: expected 0 with fidelity=curves"),
    ],
)
def test_what_does_not_fit_is_refused(
    evonas: Cli, tiny_file: Path, words: tuple[str, ...], message: str
) -> None:
    given = ["optimizer=surrogate"] if "--optimizer" not in words else []
    given += ["training.epochs=4"] if "training.epochs=1" not in words else []
    assert message in said(evonas("search", tiny_file, "--fidelity", "curves", *given, *words))


def test_on_the_command_line(evonas: Cli, tiny_file: Path) -> None:
    words = ("training.epochs=4", "finals.networks=0", "--optimizer=surrogate", "--budget", 3)
    code, out, err = evonas("search", tiny_file, "--run-dir", "run", *words, "--fidelity=curves")
    assert (code, err) == (0, "")
    assert "networks were stopped before 4 epochs" in out
    trials = read_journal(tiny_file.parent / "run")
    assert {trial.epochs for trial in trials} == {1, 4}
    code, _, _ = evonas("search", tiny_file, "--run-dir", "full", *words)
    assert code == 0
    full = {trial.digest: trial for trial in read_journal(tiny_file.parent / "full")}
    same = [trial for trial in trials if trial.status == "ok" and trial.digest in full]
    assert same
    for trial in same:  # a pause changes nothing
        assert trial.curve == full[trial.digest].curve
        assert trial.metrics == full[trial.digest].metrics
