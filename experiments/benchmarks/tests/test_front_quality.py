"""The benchmark of fronts: shares of a known hypervolume, fair rivals, runs resume."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import front_quality
import numpy as np
import pytest
import replay
import rivals
from benchmark_files import write_table
from memo import Memo, Spent
from replay import TableProblem, run_front

from evonas.core import registry

BUDGET = 30


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all 6561 rows in which accuracy and cost both grow with the digits."""
    rng = np.random.default_rng(7)
    return write_table(
        tmp_path_factory.mktemp("table") / "random.csv",
        lambda digits: rng.normal(60 + sum(digits), 0.3, 3),
        lambda number, digits: 10**6 * (1 + sum(d * k for k, d in enumerate(digits, 1))),
    )


@pytest.fixture(scope="module")
def problem(table: Path) -> TableProblem:
    return TableProblem(table)


def arguments(table: Path, out: Path, **changes: object) -> SimpleNamespace:
    plain = {
        **{"table": table, "problems": ["table"], "strategies": ["nsga2", "random"]},
        **{"rivals": ["plain_nsga2"], "first_seed": 3, "seeds": [2], "slow_seeds": 1},
        **{"budget": BUDGET, "out": out, "workers": 0},
    }
    parser = argparse.ArgumentParser()
    replay.add_problem_arguments(parser)
    return SimpleNamespace(**vars(parser.parse_args([])) | plain | changes)


def test_shares_of_a_handmade_front() -> None:
    e = float(np.e)
    whole = np.array([[1.0, e], [2.0, 1.0]])  # the second is the cheaper by a factor of e
    worst = (3.0, e**2)
    axes = np.array([[3.0, 1.0], [2.0, e], [2.0, 1.0], [1.0, e]])
    assert front_quality.volumes(whole, worst)[-1] == pytest.approx(2 + 1)
    found = front_quality.shares([axes, axes[2:3]], whole, worst, budget=5)
    # on the edge of the reference nothing is dominated; who ends early keeps what he had
    assert found[0] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert found[1] == pytest.approx([2 / 3] * 5)


def test_a_tables_axes_and_the_worst_of_them(problem: TableProblem) -> None:
    best = problem.space.decode([0.9] * 8)
    error, cost = problem.axes(best)
    assert error == pytest.approx(100 - 76, abs=1)
    assert cost == 73e6 == problem.worst[1]
    every = problem.every()
    assert every.shape == (6561, 2)
    assert problem.worst == tuple(every.max(axis=0))
    assert [error, cost] in every.tolist()


@pytest.mark.parametrize("name", rivals.FRONT_RIVALS)
def test_rivals_train_once_each_and_as_many_as_all(name: str, problem: TableProblem) -> None:
    rival = rivals.FRONT_RIVALS[name]
    if missing := rival.missing():
        pytest.skip(f"{', '.join(missing)} not installed")
    found = []
    for seed in (1, 1, 2):
        memo = Memo(problem, BUDGET, seed)
        rival.search(memo, seed)
        found.append(memo.met_axes())
        assert memo.trained == len(found[-1]) == BUDGET
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_repeat_is_answered_and_not_counted(problem: TableProblem) -> None:
    memo = Memo(problem, budget=1, seed=0)
    assert memo.axes_at([1] * 8) == memo.axes([0.5] * 8)
    assert memo.axes([0.4] * 8) == problem.axes(problem.space.decode([0.4] * 8))
    with pytest.raises(Spent):
        memo.axes_at([0] * 8)
    assert memo.met_axes().shape == (1, 2)


def test_a_strategy_meets_each_architecture_once(problem: TableProblem) -> None:
    met = run_front(registry.load("optimizer", "nsga2"), problem, BUDGET, 0)
    assert met.shape == (BUDGET, 2)
    assert set(map(tuple, met.tolist())) <= set(map(tuple, problem.every().tolist()))


def test_a_benchmark_resumes(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, notes = front_quality.plan(arguments(table, tmp_path))
    assert (len(jobs), notes) == (6, [])
    assert {job.seed for job in jobs} == {3, 4}
    path = tmp_path / "fronts.csv"
    front_quality.measure(jobs[:4], path, 0)
    path.write_text(path.read_text() + "random,half a li", newline="")
    run, ran = front_quality.execute, []
    monkeypatch.setattr(front_quality, "execute", lambda job: ran.append(job) or run(job))
    rows = front_quality.measure(jobs, path, 0)
    assert ran == jobs[4:]
    assert len(rows) == 6
    tables = {job.problem: job.source for job in jobs}
    text = front_quality.write(tmp_path, rows, tables, ["A note."])
    assert text == front_quality.write(tmp_path, rows[::-1], tables, ["A note."])
    assert "A note." in text
    assert "share of the hypervolume of the table's front" in text
    for label in (
        "**evonas nsga2** | 2 |",
        "**evonas random** | 2 |",
        "plain NSGA-II (pymoo) | 2 |",
    ):
        assert f"| {label}" in text
    assert "| at 25 | at 30 |" in text
    assert [path.name for path in tmp_path.glob("*.png")] == [f"{jobs[0].problem}.png"]


def test_a_foreign_csv_is_refused(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "fronts.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        front_quality.InputError, match=r"expected columns.*got \['a', 'b'\].*--out"
    ):
        front_quality.measure([], path, 0)


def test_slow_strategies_have_fewer_seeds_and_missing_libraries_none(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    changes = {"strategies": ["surrogate", "cma"], "rivals": ["optuna_nsga2"], "seeds": [3]}
    jobs, notes = front_quality.plan(arguments(table, tmp_path, **changes))
    assert [job.strategy for job in jobs] == ["surrogate", "cma", "cma", "cma"]
    assert notes == ["Optuna NSGA-II is left out: optuna not installed."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--problems", "table"], "--table"),
        (["--rivals", "optuna_nsga"], "did you mean 'optuna_nsga2'"),
        (["--strategies", "nsga3"], "unknown strategy 'nsga3'"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_errors_are_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["front_quality.py", "--out", str(tmp_path / "o"), *words])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as stopped:
        front_quality.main()
    if stopped.value.code == 2:  # argparse has printed it
        assert said in capsys.readouterr().err
    else:
        assert said in str(stopped.value)
        assert "\n" not in str(stopped.value)
