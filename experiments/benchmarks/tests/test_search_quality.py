"""The benchmark of search strategies: rivals are fair, quiet and repeatable; runs resume."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import quality_report
import replay
import rivals
import search_quality
from benchmark_files import BENCHMARKS, write_table
from memo import PATIENCE, STANDSTILL, Memo, Spent
from replay import Columns, TableProblem, Trace
from rich.console import Console

from evonas.errors import InputError

BUDGET = 12
QUICK = [name for name, rival in rivals.RIVALS.items() if not rival.slow]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of random numbers with all 6561 rows."""
    rng = np.random.default_rng(7)
    return write_table(
        tmp_path_factory.mktemp("table") / "random.csv",
        lambda digits: rng.normal(90 + sum(digits) / 4, 0.3, 3),
        lambda number, digits: 60_000_000 + 1000 * number,
    )


@pytest.fixture(scope="module")
def problem(table: Path) -> TableProblem:
    return TableProblem(table)


def installed(name: str) -> rivals.Rival:
    rival = rivals.RIVALS[name]
    if missing := rival.missing():  # importorskip would let pyswarms write its report.log
        pytest.skip(f"{', '.join(missing)} not installed")
    rival.load()
    return rival


@pytest.mark.parametrize("name", rivals.RIVALS)
def test_rival_is_repeatable_and_leaves_nothing_behind(
    name: str,
    problem: TableProblem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rival = installed(name)
    monkeypatch.chdir(tmp_path)
    np.random.seed(3)
    state, own = np.random.get_state()[1].copy(), random.getstate()
    found = rival(problem, BUDGET, 1)
    np.random.seed(4)  # what others draw must not matter
    again = rival(problem, BUDGET, 1)
    np.random.seed(3)
    rival(problem, BUDGET, 1)
    assert 1 <= len(found.values) <= BUDGET
    assert (np.diff(found.values) <= 0).all()
    assert found.values.tolist() == again.values.tolist()
    assert (np.random.get_state()[1] == state).all()
    assert random.getstate() == own
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", QUICK)
def test_seeds_protocols_and_batches(name: str, problem: TableProblem) -> None:
    rival = installed(name)
    found = [tuple(rival(problem, BUDGET, seed).values) for seed in range(3)]
    assert len(set(found)) == 3
    noisy = [tuple(rival(problem, BUDGET, seed, noisy=True).values) for seed in range(3)]
    assert noisy != found
    if rival.batches:
        assert rival.asks(8) == 8
        assert 1 <= len(rival(problem, BUDGET, 0, batch=8).values) <= BUDGET


def test_memo_never_counts_a_repeat(problem: TableProblem) -> None:
    memo = Memo(problem, budget=2, seed=0)
    first = memo.at([0] * 8)
    assert memo([0.1] * 8) == memo([-5.0] * 8) == first  # clipped, the same architecture
    assert (memo.trained, memo.calls) == (1, 3)
    memo.at([1] * 8)
    assert memo.at([0] * 8) == first  # the budget is spent, a repeat is still answered
    with pytest.raises(Spent):
        memo.at([2] * 8)
    assert len(memo.trace().values) == 2


def test_who_only_repeats_starts_anew_and_is_stopped_in_the_end(problem: TableProblem) -> None:
    starts = []

    def body(memo: Memo, seed: int, batch: int, noisy: bool) -> None:
        starts.append(seed)
        while True:
            memo.at([0] * 8)

    rival = rivals.Rival("stubborn", (), 1, False, False, body)
    assert len(rival(problem, 50, 0).values) == 1
    assert len(starts) == len(set(starts)) == 50 * PATIENCE // STANDSTILL


def test_noisy_memo_tells_one_training_and_traces_the_truth(problem: TableProblem) -> None:
    memo = Memo(problem, budget=5, seed=4, noisy=True)
    architecture = problem.space.decode([0.5] * 8)
    assert memo([0.5] * 8) == problem.told(architecture, 4)
    assert memo.trace().values.tolist() == [problem.value(architecture)]


def test_figures_of_a_handmade_trace() -> None:
    found = Trace(np.array([9.0, 9.0, 5.0, 6.0]))  # noise: the belief got worse at the end
    assert found.trainings_to(5.0) == 3
    assert found.trainings_to(4.0) == float("inf")
    assert [quality_report.regret(found, n, 4.0) for n in (1, 3, 4, 50)] == [5.0, 1.0, 2.0, 2.0]
    row = quality_report.figures(found, SimpleNamespace(best=4.0, threshold=5.0), 25)
    assert (row["trainings_to_best"], row["regret25"], row["regret50"]) == ("3", "2.00000", "")
    assert quality_report.curve(row["steps"], 6).tolist() == [9.0, 9.0, 5.0, 6.0, 6.0, 6.0]


def test_intervals() -> None:
    assert quality_report.median_interval(np.arange(1.0, 11.0)) == (2.0, 9.0)  # the textbook's
    assert quality_report.median_interval(np.array([3.0, np.inf, 1.0])) == (1.0, np.inf)
    low, high = quality_report.mean_interval(np.arange(100.0))
    assert 40 < low < 49.5 < high < 59


def arguments(table: Path, out: Path, **changes: object) -> SimpleNamespace:
    plain = {
        **{"table": table, "problems": ["table"], "protocols": ["clean", "noisy"], "batch": [1, 8]},
        **{"strategies": ["random"], "rivals": ["plain_ga", "plain_bobyqa"], "seeds": [2, 3]},
        **{"first_seed": 0, "slow_seeds": 1, "budget": BUDGET, "out": out, "workers": 0},
    }
    parser = argparse.ArgumentParser()
    replay.add_problem_arguments(parser)
    return SimpleNamespace(**vars(parser.parse_args([])) | plain | changes)


def test_a_benchmark_resumes(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, notes = search_quality.plan(arguments(table, tmp_path))
    assert len(jobs) == (2 + 3) * (2 + 2 + 1)  # BOBYQA has no batches
    assert notes == ["plain BOBYQA (Py-BOBYQA) has no batches."]
    path, console = tmp_path / "runs.csv", Console(quiet=True)
    search_quality.measure(jobs[:9], path, 0, console)
    path.write_text(path.read_text() + "random,own,half a li", newline="")
    run, ran = search_quality.execute, []
    monkeypatch.setattr(search_quality, "execute", lambda job: ran.append(job) or run(job))
    rows, failures = search_quality.measure(jobs, path, 0, console)
    assert ran == jobs[9:]
    assert not failures
    assert len(rows) == len(jobs)
    assert {row["population"] for row in rows} == {"1", "5", "8", "10"}
    assert {row["trained"] for row in rows if row["strategy"] == "random"} == {"12"}
    ran.clear()
    assert len(search_quality.measure(jobs, path, 0, console)[0]) == len(jobs)
    assert not ran
    problems = {jobs[0].problem: TableProblem(table)}
    text = quality_report.write(tmp_path, rows, problems, BUDGET, notes)
    assert text.count("plain GA (published)") == text.count("**random**") == 4
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_a_broken_contender_does_not_stop_the_others(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Trace:
        raise ValueError("two\nlines")

    monkeypatch.setattr(rivals.Rival, "__call__", broken)
    jobs, _ = search_quality.plan(arguments(table, tmp_path, batch=[1], rivals=["plain_ga"]))
    rows, failures = search_quality.measure(jobs, tmp_path / "r.csv", 0, Console(quiet=True))
    assert {row["strategy"] for row in rows} == {"random"}
    assert failures == ["plain_ga failed, seed 0: ValueError: two lines"]


def test_missing_libraries_leave_a_rival_out(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    names = ["optuna_tpe", "regularized_evolution"]
    jobs, notes = search_quality.plan(arguments(table, tmp_path, rivals=names))
    assert {job.strategy for job in jobs} == {"random", "regularized_evolution"}
    assert notes == ["Optuna TPE is left out: optuna not installed."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--problems", "table"], "--table"),
        (["--table", "nowhere.csv"], "nowhere.csv"),
        (["--rivals", "optuna_tp"], "did you mean 'optuna_tpe'"),
        (["--strategies", "gaa"], "unknown strategy 'gaa'"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_errors_are_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["search_quality.py", "--out", str(tmp_path / "o"), *words])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as stopped:
        search_quality.main()
    if stopped.value.code != 2:  # 2: argparse has printed it
        assert said in str(stopped.value)
        assert "\n" not in str(stopped.value)


def test_a_table_must_be_whole(table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    short, other = tmp_path / "short.csv", tmp_path / "other.csv"
    short.write_text("\n".join(lines[:-1]))
    other.write_text("arch,mean_acc\n00000000,90\n")
    with pytest.raises(InputError, match=r"expected all 6561 combinations .* got 6560"):
        TableProblem(short)
    with pytest.raises(InputError, match="the column 'flops' is missing"):
        TableProblem(other)


def test_any_whole_table_will_do(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [f"{w},{k},{w + len(k)},{100 * w}" for w in (1, 2, 4) for k in ("a", "bb")]
    path.write_text("\n".join(["width,kind,rmse,ops", *rows]) + "\n")
    columns = Columns(
        genes=("width", "kind"), error="rmse", single=(), cost="ops", unordered=True, target=50.0
    )
    problem = TableProblem(path, columns)
    assert [gene.kind for gene in problem.space.genes] == ["choice", "choice"]
    assert problem.best == problem.threshold == pytest.approx(2 * 2**0.06)
    assert (problem.worst, problem.noisy) == ((6.0, 400.0), False)


@pytest.mark.slow
@pytest.mark.ray
def test_script_with_workers(table: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "search_quality.py"), "--table", str(table)]
    command += ["--problems", "table", "--protocols", "clean", "--strategies", "random"]
    command += ["--rivals", "regularized_evolution", "--seeds", "2", "--budget", "12"]
    command += ["--batch", "1", "--workers", "1", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "| regularized evolution | 1 | 2 |" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"runs.csv", "table.md"} < names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
