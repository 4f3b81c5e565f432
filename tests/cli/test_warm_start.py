"""A search that begins with another run, and what is said where that does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Cli, said
from finished_search import new, of, read


def test_a_search_begins_with_another_whatever_searched(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--optimizer", "ga", "--budget", 3, "--seed", 8, "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert f"Begins with 6 trained networks of {run}.\n" in out
    assert "3 networks trained" in out
    given, known = of(folder, "earlier"), of(run, "ok")
    assert {t.digest: (t.fitness, t.metrics, t.macs) for t in given} == {
        t.digest: (t.fitness, t.metrics, t.macs) for t in known
    }
    assert [t.value for t in given] == sorted(t.value for t in known)
    assert {(t.generation, t.seconds) for t in given} == {(-1, 0.0)}
    own = of(folder, "ok", "failed")
    assert len(own) == 3
    assert not {t.digest for t in own} & {t.digest for t in known}
    best = read(folder / "best.json")
    assert best["fitness"] == min(t.value for t in [*own, *given])


def test_a_run_that_began_with_another_goes_on_without_it(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    folder, _ = new(evonas, tiny_file, "--optimizer", "ga", "--budget", 2, "--from", run)
    before = (folder / "journal.jsonl").read_bytes()
    shutil.rmtree(run)
    code, _, err = evonas("search", "--resume", "--run-dir", folder, "--budget", 3)
    assert (code, err) == (0, "")
    assert (folder / "journal.jsonl").read_bytes().startswith(before)
    assert len(of(folder, "ok", "failed")) == 3
    assert len(of(folder, "earlier")) == 6


def test_results_are_judged_by_the_new_objective(evonas: Cli, tiny_file: Path, run: Path) -> None:
    words = ("--budget", 1, "objective.weight=1", "objective.mode=soft", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert "Begins with 6 trained networks" in out
    for trial in of(folder, "earlier"):
        assert trial.fitness == pytest.approx(trial.metrics["mae"] * 2 * trial.macs / 10e6)


def test_where_results_do_not_hold_the_best_are_trained_anew_first(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--optimizer", "ga", "--budget", 8, "training.epochs=2", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert (
        f"The results of {run} do not hold here (training.epochs: 1 -> 2): 2 of its best are "
        "trained again, first.\n"
    ) in out
    suggested = of(folder, "suggested")
    best = sorted(of(run, "ok"), key=lambda trial: trial.value)[:2]
    assert [trial.digest for trial in suggested] == [trial.digest for trial in best]
    assert {(t.generation, t.fitness) for t in suggested} == {(-1, None)}
    assert all(trial.metrics == {} for trial in suggested)
    first = of(folder, "ok")[:2]
    assert {trial.digest for trial in first} == {trial.digest for trial in best}
    assert len(of(folder, "ok", "failed")) == 8


def test_other_data_are_named(evonas: Cli, tiny_file: Path, run: Path) -> None:
    stored = read(run / "environment.json")
    (run / "environment.json").write_text(json.dumps({**stored, "data": "other"}))
    _, out = new(evonas, tiny_file, "--optimizer", "ga", "--budget", 1, "--from", run)
    assert f"The results of {run} do not hold here (the data): 1 of its best" in out


def test_what_the_space_has_no_place_for_is_left_out(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    stems = [trial.architecture["settings"]["stem"] for trial in of(run, "ok")]
    assert set(stems) == {8, 12}
    words = ("--optimizer", "ga", "--budget", 1, "space.stem=[8]", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert (
        f"Begins with {stems.count(8)} trained networks of {run}; {stems.count(12)} are outside "
        "this space or limit.\n"
    ) in out
    assert len(of(folder, "earlier")) == stems.count(8)


def test_finals_do_not_repeat_the_training_that_made_a_network_look_good(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    """The other run's seed was 3; further seeds of a run with seed 2 start at 3."""
    words = ("--seed", 2, "--budget", 1, "finals.seeds=1", "--from", run)
    folder, _ = new(evonas, tiny_file, *words, finals=7)
    given = {trial.digest: trial.metrics for trial in of(folder, "earlier")}
    again = [trial for trial in of(folder, "final") if trial.digest in given]
    assert len(again) == 6
    assert not [trial.digest for trial in again if trial.metrics == given[trial.digest]]


def test_a_latency_that_nobody_measured_dominates_nothing(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--budget", 1, "objective.axes=[error, macs, latency]", "--from", run)
    folder, _ = new(evonas, tiny_file, *words)
    front = read(folder / "front.json")["front"]
    assert front
    assert all(network["axes"]["latency"] > 0 for network in front)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--from", "nowhere"],
            "--from nowhere: expected the folder of a run, found no experiment.yaml",
        ),
        (
            ["--from", "run/best.json"],
            "--from run/best.json: expected the folder of a run, found no experiment.yaml",
        ),
        (
            ["--from", "run", "space.stem=[16]"],
            "--from run: none of its networks fits space 'master_module' and its limit: "
            "start without it",
        ),
    ],
)
def test_a_run_that_cannot_be_begun_with_is_refused(
    evonas: Cli, tiny_file: Path, run: Path, words: list[str], expected: str
) -> None:
    line = said(evonas("search", tiny_file, "--run-dir", "new", *words))
    assert line.startswith(expected)
    assert not (tiny_file.parent / "new").exists()


def test_a_run_that_is_resumed_begins_with_nothing(evonas: Cli, run: Path) -> None:
    line = said(evonas("search", "--resume", "--run-dir", run, "--from", run))
    assert line == "--from is for a new run: one that is resumed knows what it began with"


def test_a_run_does_not_begin_with_itself(evonas: Cli, tiny_file: Path, run: Path) -> None:
    before = (run / "journal.jsonl").read_bytes()
    line = said(evonas("search", tiny_file, "--run-dir", run, "--from", run))
    assert "already holds a run" in line
    assert (run / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", ["environment.json", "journal.jsonl"])
def test_a_run_that_lacks_a_file_is_named(
    evonas: Cli, tiny_file: Path, run: Path, damage: str
) -> None:
    (run / damage).unlink()
    assert damage in said(evonas("search", tiny_file, "--from", run))


def test_a_run_that_trained_nothing_is_not_blamed_on_the_space(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    (run / "journal.jsonl").write_text("")
    line = said(evonas("search", tiny_file, "--from", run))
    assert line.startswith(f"--from {run}: ")
    assert "fits space" not in line
