"""A search with a window of asks: no worker waits for a generation, and the journal is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from numpy.typing import NDArray
from untrained_search import (
    SPACE,
    Fake,
    as_asked,
    backwards,
    comparable,
    cost,
    search,
    shuffled,
)
from virtual_time import Clock, VirtualWorkers, eightfold, timed

from evonas.core.settings import FinalsSettings, ObjectiveSettings, TrainingSettings
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.optimizers.random import Random
from evonas.runs.callbacks import Callback
from evonas.runs.run_store import RunStore, Trial
from evonas.workflows.loop import Search, SearchComponents

WINDOW = 5
AHEAD = ["random", "surrogate"]


@pytest.mark.parametrize("name", AHEAD)
def test_the_journal_depends_on_no_number_of_workers_and_no_order(
    tmp_path: Path, name: str
) -> None:
    journals = []
    for order in (as_asked, backwards, shuffled):
        folder = tmp_path / order.__name__
        search(folder, name, Fake(order), max_macs=64_000, window=WINDOW, budget=20)
        journals.append(comparable(folder))
    assert [row["index"] for row in journals[0]] == list(range(len(journals[0])))
    assert {row["generation"] for row in journals[0]} == {0}
    assert journals[0] == journals[1] == journals[2]


@pytest.mark.parametrize("name", AHEAD)
def test_workers_in_virtual_time_write_one_journal(tmp_path: Path, name: str) -> None:
    journals = []
    for workers in (1, 2, 3, 5):
        folder, executor = tmp_path / str(workers), VirtualWorkers(Clock(), workers)
        timed(folder, None, name, executor=executor, budget=24, window=WINDOW)
        journals.append(comparable(folder))
    assert all(journal == journals[0] for journal in journals)
    ends = [json.loads(x) for x in (tmp_path / "5" / "journal.jsonl").read_text().splitlines()]
    assert [row["index"] for row in ends] != sorted(row["index"] for row in ends)


@pytest.mark.parametrize("name", AHEAD)
def test_a_window_cut_after_any_row_ends_the_same(tmp_path: Path, name: str) -> None:
    whole = VirtualWorkers(Clock(), 3)
    timed(tmp_path / "whole", None, name, executor=whole, budget=14, window=WINDOW)
    expected = comparable(tmp_path / "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for count in range(len(lines) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:count]))
        executor = Fake(backwards)
        seen: list[Trial] = []
        search(folder, name, executor, resume=True, budget=14, window=WINDOW, seen=seen)
        assert comparable(folder) == expected
        assert len(executor.jobs) == len(seen) == len(lines) - count


@pytest.mark.parametrize("name", AHEAD)
def test_a_larger_budget_goes_on(tmp_path: Path, name: str) -> None:
    search(tmp_path / "whole", name, budget=14, window=WINDOW)
    search(tmp_path / "split", name, budget=6, window=WINDOW)
    search(tmp_path / "split", name, budget=14, window=WINDOW, resume=True)
    assert comparable(tmp_path / "split") == comparable(tmp_path / "whole")


class Watched(Random):
    """Records how many results it knows at each ask."""

    known: list[int]

    def _ask(self) -> NDArray[np.float64]:
        self.known.append(len(self.archive.genomes))
        return super()._ask()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_ask_k_knows_the_results_up_to_k_minus_the_window(tmp_path: Path, workers: int) -> None:
    optimizer = Watched(SPACE, budget=20, seed=5, macs=cost, window=WINDOW)
    optimizer.known = []
    objective = Objective("error", ObjectiveSettings(target_macs=25_000))
    executor = VirtualWorkers(Clock(), workers)
    with RunStore(tmp_path) as store:
        parts = SearchComponents(SPACE, optimizer, executor, objective, TrainingSettings(), cost)
        Search(parts, store).run(5)
    assert optimizer.known == [max(0, ask - WINDOW + 1) for ask in range(20)]


class Old(Optimizer):
    """Asks for every network twice, the second time while the first may be in training."""

    asks_ahead = True

    def _restart(self) -> None:
        pass

    def _ask(self) -> NDArray[np.float64]:
        self._again: NDArray[np.float64] | None = getattr(self, "_again", None)
        asked = self.sample_new(1) if self._again is None else self._again
        self._again = asked if self._again is None else None
        return asked

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        pass

    def parents(self) -> list[str]:
        return []


def test_a_repeat_of_a_network_in_training_waits_for_its_result(tmp_path: Path) -> None:
    journals = []
    for order in (as_asked, backwards):
        optimizer = Old(SPACE, budget=8, seed=5, macs=cost, window=4)
        objective, executor = Objective("error", ObjectiveSettings(target_macs=25_000)), Fake(order)
        with RunStore(tmp_path / order.__name__) as store:
            parts = SearchComponents(
                SPACE, optimizer, executor, objective, TrainingSettings(), cost
            )
            Search(parts, store).run(5)
            trials = store.trials()
        journals.append(comparable(tmp_path / order.__name__))
        assert len(executor.jobs) == 8
        for first, second in zip(trials[::2], trials[1::2], strict=False):
            assert second.status == "repeat"
            assert (first.digest, first.fitness) == (second.digest, second.fitness)
    assert journals[0] == journals[1]


def test_callbacks_receive_trials_as_they_end_and_asks_in_order(tmp_path: Path) -> None:
    class Both(Callback):
        def __init__(self) -> None:
            self.trials: list[int] = []
            self.asks: list[int] = []

        def on_trial(self, trial: Trial) -> None:
            self.trials.append(trial.index)

        def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
            assert [trial.index for trial in trials] == [generation]
            self.asks.append(generation)

    callback, executor = Both(), VirtualWorkers(Clock(), 3)
    objective = Objective("error", ObjectiveSettings(target_macs=25_000))
    optimizer = Random(SPACE, budget=16, seed=5, macs=cost, window=WINDOW)
    with RunStore(tmp_path) as store:
        parts = SearchComponents(SPACE, optimizer, executor, objective, TrainingSettings(), cost)
        Search(parts, store, callback).run(5)
    assert callback.trials == [job.index for job in executor.jobs]
    assert callback.asks == sorted(callback.trials) == list(range(16))


def utilisation(folder: Path, workers: int, window: int, salt: int) -> float:
    """Share of the workers' time spent in trainings, until the last one began."""

    def seconds(digest: str) -> float:
        return eightfold(f"{int(digest, 16) * (2 * salt + 1):x}")

    executor = VirtualWorkers(Clock(), workers, seconds)
    timed(folder, None, "random", executor=executor, budget=48, window=window)
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    spans = [(row["at"] - row["seconds"], row["at"]) for row in rows]
    end = max(begin for begin, _ in spans)
    return sum(min(stop, end) - begin for begin, stop in spans) / (workers * end)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_worker_waits_for_a_generation(tmp_path: Path, workers: int) -> None:
    """Trainings from 1 to 8 seconds; in generations of ten, workers wait for the last."""
    means = {
        window: np.mean(
            [utilisation(tmp_path / f"{window}-{n}", workers, window, n) for n in range(5)]
        )
        for window in (0, 8)
    }
    assert means[8] >= 0.95
    assert means[0] < means[8] or workers == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_minutes_end_a_search_with_a_window(tmp_path: Path, workers: int) -> None:
    finals = FinalsSettings(networks=3, seeds=2)
    executor = VirtualWorkers(Clock(), workers)
    words: dict[str, Any] = {"finals": finals, "baselines": 2, "window": 6}
    trials, time = timed(tmp_path / "whole", 0.8, "random", executor=executor, **words)
    assert time is not None
    assert time.limited
    assert executor.clock.now <= 48.0 - 4.8
    batches = VirtualWorkers(Clock(), workers)
    words_of_batches = {key: value for key, value in words.items() if key != "window"}
    other, _ = timed(tmp_path / "batches", 0.8, "random", executor=batches, **words_of_batches)
    trained = [sum(trial.trained for trial in found) for found in (trials, other)]
    assert trained[0] >= trained[1] - 1, "the clock ended the search too early"
    rows = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (place,) = [n for n, row in enumerate(rows) if row.startswith(b'{"clock": "search"')]
    for count in (place + 1, place + 2, len(rows)):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(rows[:count]))
        slow = VirtualWorkers(Clock(), workers, lambda digest: 9 * eightfold(digest))
        found, _ = timed(folder, 0.8, "random", executor=slow, resume=True, **words)
        searched = [t.digest for t in found if t.trained]
        assert searched == [t.digest for t in trials if t.trained]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.window=1", "execution.executor=ray", "execution.workers=2"], "workers"),
        (["optimizer.window=4", "fidelity=racing", "training.epochs=4"], "fidelity=racing"),
        (["optimizer.window=4", "inherit=true"], "inherit=true"),
        (["optimizer={name: ga, window: 4}"], "window: expected 0 for Genetic"),
        (["optimizer={name: random, window: 4, population_size: 4}"], "population_size"),
        (["optimizer.window=-1"], "window"),
    ],
)
def test_a_window_that_cannot_be_is_refused(
    evonas: Cli, tiny_file: Path, words: list[str], said: str
) -> None:
    first = [] if "optimizer={" in words[0] else ["optimizer={name: random}"]
    code, _, err = evonas("search", tiny_file, "--run-dir", "run", *first, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_a_search_with_a_window(evonas: Cli, tiny_file: Path) -> None:
    words = ("optimizer={name: surrogate, window: 4}", "finals.networks=0", "--budget", 7)
    code, out, err = evonas("search", tiny_file, "--run-dir", "run", *words)
    assert (code, err) == (0, "")
    rows = comparable(tiny_file.parent / "run")
    trained = [row for row in rows if row["generation"] == 0]
    assert [row["index"] for row in trained] == list(range(7))
    assert "7 networks trained" in out


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_ray_write_the_journal_of_one(evonas: Cli, tiny_file: Path) -> None:
    journals = []
    for where in ("executor=local", "executor=ray"):
        workers = f"execution.workers={1 if 'local' in where else 2}"
        words = ("optimizer={name: surrogate, window: 4}", "--budget", 9, f"execution.{where}")
        code, _, err = evonas("search", tiny_file, "--run-dir", where, *words, workers)
        assert (code, err) == (0, "")
        rows = comparable(tiny_file.parent / where)
        journals.append(sorted(rows, key=lambda row: (row["index"], row["repeat"])))
    assert len(journals[0]) > 9
    assert journals[0] == journals[1]
