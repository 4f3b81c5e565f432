"""Traps of Py-BOBYQA, and the bridge that turns its solve() into ask and tell."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.optimizers import bobyqa
from evonas.optimizers.common.ask_tell_thread import CallbackBridge
from evonas.testing.optimizer_problems import (
    bowl,
    build,
    by_digest,
    distinct,
    drive,
    ordinal,
    space_of,
)

ROOT = Path(__file__).parents[2]


def solvers() -> int:
    return sum(thread.name == "evonas-solver" for thread in threading.enumerate())


def soon(threads: int) -> bool:
    """Whether only so many solver threads are left within five seconds."""
    gc.collect()
    end = time.monotonic() + 5.0
    while solvers() > threads and time.monotonic() < end:
        time.sleep(0.005)
    return solvers() <= threads


def record_calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note every value that the solver is given."""
    values: list[float] = []
    solve = bobyqa.pybobyqa.solve

    def recorded(function: Any, **options: Any) -> Any:
        def noted(x: np.ndarray) -> float:
            value = function(x)
            values.append(value)
            return value

        return solve(noted, **options)

    monkeypatch.setattr(bobyqa.pybobyqa, "solve", recorded)
    return values


def test_known_architectures_are_answered_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch)
    optimizer = build("bobyqa", ordinal(), budget=80)
    asked = drive(optimizer, bowl)
    n_asked = sum(map(len, asked))
    assert len(calls) > 1.2 * n_asked, "the solver does repeat itself on plateaus"
    assert n_asked == len(distinct(optimizer, asked)) == 80, "runs that meet ask once"


def test_no_failure_reaches_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch)

    def mostly_failing(space: Any, genomes: np.ndarray) -> np.ndarray:
        values = by_digest(space, genomes)
        return np.choose((values * 4).astype(int), [values, np.nan, np.inf, values * 1e300])

    optimizer = build("bobyqa", ordinal(), budget=80)
    drive(optimizer, mostly_failing)
    assert np.isfinite(calls).all()
    assert np.abs(calls).max() < 1e3
    assert optimizer.trained == 80


@pytest.mark.parametrize("budget", [60, 100, 200])
def test_models_are_reached_within_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 13 genes: with 2n+1 = 27 points a run, runs of 20 calls only move single coordinates
    moved: list[int] = []
    solve = bobyqa.pybobyqa.solve

    def watched(function: Any, x0: np.ndarray, **options: Any) -> Any:
        points: list[np.ndarray] = []

        def noted(x: np.ndarray) -> float:
            points.append(x.copy())
            # the solver may push the start away from a wall: its first point counts
            moved.append(np.count_nonzero(~np.isclose(x, points[0])))
            return function(x)

        return solve(noted, x0=x0, **options)

    monkeypatch.setattr(bobyqa.pybobyqa, "solve", watched)
    drive(build("bobyqa", ordinal(13, 3), budget=budget), bowl)
    assert sum(n > 2 for n in moved) >= budget / 10


@pytest.mark.parametrize("values", [2, 3, 4, 8])
def test_the_first_steps_reach_other_values(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bobyqa, "CallbackBridge", lambda solve: None)
    for seed in range(5):
        optimizer = build("bobyqa", ordinal(4, values), radius=0.01, budget=16, seed=seed)
        run = optimizer._start(at_best=False)
        options, chart = run.options, run.chart
        start = chart.genome(options["x0"])
        for i in range(4):
            moved = []
            gene = chart._genes[i]
            for step in (-options["rhobeg"], options["rhobeg"]):
                point = options["x0"].copy()
                point[i] = np.clip(point[i] + step, 0.0, 1.0)
                moved.append(chart.genome(point)[gene] != start[gene])
            assert any(moved)


def test_a_solver_that_fails_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(function: Any, x0: np.ndarray, **options: Any) -> None:
        function(x0)
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(bobyqa.pybobyqa, "solve", failing)
    optimizer = build("bobyqa", ordinal(), budget=40)
    drive(optimizer)
    assert optimizer.trained == 40
    assert optimizer.restarts >= 30


def test_runs_side_by_side_fill_an_ask() -> None:
    optimizer = build("bobyqa", ordinal(), budget=80, population_size=5)
    sizes = [len(genomes) for genomes in drive(optimizer, asks=12)]
    assert sizes[:2] == [5, 5], "the random design"
    # runs that meet in one new architecture ask it once
    assert max(sizes) == 5
    assert np.mean(sizes) > 4.0


def test_a_run_that_ranked_a_failure_before_a_success_is_repeated() -> None:
    """The same first steps, answered from memory, with the failure behind every success."""
    optimizer = build("bobyqa", ordinal(), budget=200)
    drive(optimizer, bowl, asks=4)
    optimizer.tell(np.full(len(optimizer.ask()), np.nan))
    asked = optimizer.ask()
    before = list(optimizer._runs)
    assert any(optimizer._failed(digest) for run in before for digest in run.values)
    optimizer.tell([1e6] * len(asked))
    repeated = [i for i, run in enumerate(optimizer._runs) if run is not before[i]]
    assert repeated
    optimizer.ask()
    for i in repeated:
        run = optimizer._runs[i]
        assert run.chart is before[i].chart
        assert list(run.values)[:3] == list(before[i].values)[:3]
        assert all(v > 1e6 for digest, v in run.values.items() if optimizer._failed(digest))


def test_two_runs_by_default() -> None:
    assert build("bobyqa", ordinal(13), budget=1000).population_size == 2


def test_runs_start_at_the_best_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    charts: list[tuple[Any, np.ndarray]] = []
    start = bobyqa.Bobyqa._start

    def noted(self: Any, at_best: bool) -> Any:
        run = start(self, at_best)
        charts.append((run.chart, self.best_genome))
        return run

    monkeypatch.setattr(bobyqa.Bobyqa, "_start", noted)
    optimizer = build("bobyqa", ordinal(), budget=60)
    design = np.concatenate(drive(optimizer, bowl, asks=3))
    assert len(design) == optimizer.space.dim
    assert charts == []
    optimizer.ask()
    assert len(charts) == 2
    best = design[np.argmin(bowl(optimizer.space, design))]
    for chart, genome in charts:
        assert np.array_equal(genome, best)
        there = chart.genome(chart.point(genome))
        assert optimizer.space.decode(there) == optimizer.space.decode(best)


def test_values_without_order_are_ranked_by_what_is_known() -> None:
    space = space_of(
        {"kind": "choice", "choices": ["a", "b", "c", "d"]},
        {"kind": "integer", "low": 1, "high": 4},
    )
    worth = [0.3, 0.9, 0.1, 1e100]
    centres = (np.arange(4) + 0.5) / 4
    known = [(np.array([x, y]), worth[k]) for k, x in enumerate(centres) for y in centres]
    directions = set()
    for seed in range(8):
        chart = bobyqa.Chart(space, known[0][0], known, np.random.default_rng(seed))
        ranked = [chart.genome(np.array([k / 3, k / 3])) for k in range(4)]
        names = "".join(str(space.decode(g).settings["g0"]) for g in ranked)
        numbers = [space.decode(g).settings["g1"] for g in ranked]
        assert names in ("cabd", "dbac")
        assert numbers in ([1, 2, 3, 4], [4, 3, 2, 1])
        directions.add((names, numbers[0]))
    assert len(directions) == 4, "each gene counts up or down, by chance"


def test_categorical_optimum_within_a_hundred_trainings() -> None:
    # 4096 architectures; the order in which the values are written says nothing
    space = space_of(*[{"kind": "choice", "choices": list(range(4))}] * 6)
    worth = np.array([[3, 0, 2, 1], [1, 3, 0, 2], [2, 1, 3, 0]] * 2)

    def total(space: Any, genomes: np.ndarray) -> np.ndarray:
        bins = np.clip(np.ceil(genomes * 4), 1, 4).astype(int) - 1
        return worth[np.arange(6), bins].sum(axis=1).astype(float)

    best = []
    for seed in range(7):
        optimizer = build("bobyqa", space, budget=100, seed=seed)
        drive(optimizer, total)
        best.append(optimizer.best_fitness)
    assert np.median(best) == 0.0
    assert max(best) <= 2.0


def test_threads_end_with_the_search_and_with_the_optimizer() -> None:
    assert soon(0), "those of earlier tests are gone"
    optimizer = build("bobyqa", ordinal(), budget=30)
    drive(optimizer, bowl, asks=5)
    assert solvers() == optimizer.population_size
    drive(optimizer, bowl)
    assert soon(0), "finished"
    optimizer = build("bobyqa", ordinal(), budget=30)
    drive(optimizer, bowl, asks=5)
    optimizer.ask()
    del optimizer
    assert soon(0), "forgotten"


@pytest.mark.slow
def test_the_interpreter_exits_with_solvers_waiting(tmp_path: Path) -> None:
    program = (
        "from evonas.testing.optimizer_problems import bowl, build, drive, ordinal\n"
        "optimizer = build('bobyqa', ordinal(), budget=100)\n"
        "drive(optimizer, bowl, asks=4)\n"
        "optimizer.ask()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_bridge_asks_and_answers_in_lock_step() -> None:
    running: list[str] = []

    def solve(function: Any) -> None:
        for x in (0.1, 2.0, 0.3):
            running.append("solver")
            assert running[-1] == "solver"
            answers.append(function(np.array([x])))

    answers: list[float] = []
    bridge = CallbackBridge(solve)
    time.sleep(0.02)
    assert running == [], "it moves only when told to"
    assert bridge.advance() == 0.1
    assert bridge.advance(10.0) == 1.0
    assert (answers, running) == ([10.0], ["solver"] * 2)
    assert bridge.advance(20.0) == 0.3
    assert bridge.advance(30.0) is None
    assert answers == [10.0, 20.0, 30.0]
    assert bridge.error is None


def test_the_bridge_tells_what_the_solver_raised_and_closes_anywhere() -> None:
    def fails(function: Any) -> None:
        function(np.zeros(1))
        raise ValueError("singular")

    def never_ends(function: Any) -> None:
        while True:
            try:
                function(np.zeros(1))
            except Exception:  # a solver that swallows everything it can
                continue

    bridge = CallbackBridge(fails)
    bridge.advance()
    assert bridge.advance(1.0) is None
    assert str(bridge.error) == "singular"
    endless = CallbackBridge(never_ends)
    endless.advance()
    endless.advance(1.0)
    endless.close()
    unstarted = CallbackBridge(never_ends)
    unstarted.close()
    del bridge
    assert soon(0)


def test_a_gene_of_one_value_does_not_widen_the_radius() -> None:
    space = space_of({"kind": "choice", "choices": [1]}, {"kind": "integer", "low": 1, "high": 50})
    optimizer = build("bobyqa", space, radius=0.2, budget=20)
    assert optimizer._radius == pytest.approx(0.2)
    drive(optimizer)
    assert optimizer.trained == 20
