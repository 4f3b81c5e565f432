"""Searches in which latency is penalised, or traded off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Cli, said
from finished_search import BUDGET, new, of, read

from evonas.core.settings import ExecutionSettings
from evonas.estimation.cost import latency_cache as timing
from evonas.workflows import resources
from evonas.workflows.resources import Hardware

COST = ("objective.cost=latency", "objective.target_ms=0.5", "objective.weight=1")


def test_fitness_counts_the_latency_and_finals_do_not_measure_again(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    folder, out = new(evonas, tiny_file, *COST, own_cache, "finals.seeds=2", finals=2)
    trials = of(folder, "ok")
    assert len(trials) == BUDGET
    # beside the networks of the search, the baseline was measured
    assert sorted(measured[:BUDGET]) == sorted(trial.params for trial in trials)
    assert len(measured) == BUDGET + 1
    finals = of(folder, "final")
    assert len(finals) == 4
    for trial in [*trials, *finals]:
        assert (trial.latency, trial.latency_noise) == (trial.params / 1e3, 0.02)
        factor = max(1.0, trial.latency / 0.5)
        assert trial.fitness == pytest.approx(trial.metrics["mae"] * factor, rel=1e-12)
    best = read(folder / "best.json")
    assert best["latency_ms"] == best["params"] / 1e3
    assert best["latency_noise"] == 0.02
    assert best["machine"].endswith(", 1 thread(s)")
    assert f" and {best['latency_ms']:.3f} ms ±2 %, fitness " in out
    assert "Latencies are measured on" in out


def test_another_run_finds_the_latencies_of_the_first(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    folder, _ = new(evonas, tiny_file, *COST, own_cache)
    before = {trial.digest: trial.latency for trial in of(folder, "ok")}
    folder.rename(folder.with_name("first"))
    count = len(measured)
    folder, _ = new(evonas, tiny_file, *COST, own_cache, "training.learning_rate=0.001")
    assert {trial.digest: trial.latency for trial in of(folder, "ok")} == before
    assert len(measured) == count


def test_a_race_is_judged_by_latency_at_its_rung(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    words = ("fidelity=racing", "training.epochs=4")
    folder, _ = new(evonas, tiny_file, *COST, own_cache, *words)
    trials = of(folder, "ok", "stopped")
    assert len(trials) == BUDGET
    assert len(measured) == BUDGET + 1
    assert all(trial.latency == trial.params / 1e3 for trial in trials)
    assert of(folder, "stopped")


def test_a_run_is_resumed_with_the_journals_latencies(
    evonas: Cli,
    tiny_file: Path,
    own_cache: str,
    measured: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = new(evonas, tiny_file, *COST, own_cache, "budget=3")
    before = (folder / "journal.jsonl").read_bytes()
    shutil.rmtree(tiny_file.parent / "cache" / "latency")
    assert evonas("search", "--resume", "--run-dir", folder, "--budget", 5)[0] == 0
    assert (folder / "journal.jsonl").read_bytes().startswith(before)
    assert len(measured) == 3 + 1 + 2 + 1  # and the baseline, twice
    monkeypatch.setattr(timing, "processor", lambda: "another one")
    answer = said(evonas("search", "--resume", "--run-dir", folder, "--budget", 6))
    assert "what differs: the machine that latencies are measured on" in answer


def test_results_without_latencies_are_trained_anew(
    evonas: Cli, run: Path, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    _, out = new(evonas, tiny_file, *COST, own_cache, "--from", run)
    assert "do not hold here (the machine): 1 of its best are trained again" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("objective.cost=time",), "objective.cost: input should be 'macs', 'params' or 'latency'"),
        (("objective.target_ms=0",), "objective.target_ms: input should be greater than 0"),
        (("objective.target_ms=fast",), "objective.target_ms: input should be a valid number"),
        (("objective.latency_threads=0",), "objective.latency_threads: input should be greater"),
    ],
)
def test_bad_values_are_named(
    evonas: Cli, tiny_file: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in said(evonas("search", tiny_file, *words))


def test_a_table_has_no_latencies(evonas: Cli, tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text("width,rmse,ops\n8,3.5,996\n16,3.0,1000\n")
    told = {"file": "past.csv", "genes": ["width"], "error": "rmse", "cost": "ops"}
    path = tmp_path / "past.yaml"
    path.write_text(json.dumps({"name": "past", "budget": 2, "table": told}))
    answer = said(evonas("search", path, "objective.cost=latency"))
    assert answer.startswith("objective.cost=latency: a table has no latencies")


@pytest.mark.parametrize(
    ("workers", "threads", "warned"),
    [(1, 1, ""), (3, 1, ""), (4, 1, "workers=3 "), (2, 2, "workers=1 "), (1, 4, "")],
)
def test_workers_that_leave_no_core_to_measure_on_are_told(
    monkeypatch: pytest.MonkeyPatch, workers: int, threads: int, warned: str
) -> None:
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda process: set(range(4)))
    settings = ExecutionSettings(workers=workers, threads=threads, device="cpu")
    found = Hardware(settings).disturbances()
    assert len(found) == bool(warned)
    assert all(f"execution.{warned}gives" in line for line in found)


def test_without_latency_nothing_is_measured_or_said(
    evonas: Cli, tiny_file: Path, measured: list[int]
) -> None:
    folder, out = new(evonas, tiny_file)
    assert not measured
    assert "Latencies" not in out
    best = json.loads((folder / "best.json").read_text())
    assert not {"latency_ms", "latency_noise", "machine"} & best.keys()
