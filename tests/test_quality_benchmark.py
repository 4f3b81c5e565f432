"""The quality benchmark: bounds follow from recorded searches; what misses them is named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import quality
import quality_bounds
import quality_runs
from benchmark_files import BENCHMARKS
from quality_runs import Outcome, Shipped
from rich.console import Console

from evonas.errors import InputError, RunError
from evonas.store import Trial

SHIPPED = Shipped("quickstart", "test_mae", "hand-made")
WINNER = {"network": "master_module", "settings": {"stem": 8}}
#: Of three searches: mean and sd of the error are 12 and 0.3, of the lead 1.5 and 0.3.
RECORD = {
    seed: {
        **{"error": 12.0 + change, "hand_made": 13.5, "lead": 1.5 - change},
        **{"macs": 900_000, "failed": 0},
    }
    for seed, change in ((0, 0.0), (10, -0.3), (20, 0.3))
}
ONE = 0.3 * (1 + 1 / 3) ** 0.5  # sd of one new search minus the mean of the three


def outcome(**values: float) -> Outcome:
    return Outcome({**RECORD[0], **values}, WINNER, {"macs": 1e6}, "d", "b", {"search": 1.0})


def states(**values: float) -> dict[str, str]:
    verdicts = quality_bounds.compare(RECORD, {0: {**RECORD[0], **values}})
    return {verdict.measure.name: verdict.state for verdict in verdicts}


@pytest.fixture
def bounds(tmp_path: Path) -> Path:
    """A file with a record of RECORD."""
    outcomes = {seed: replace(outcome(), values=dict(one)) for seed, one in RECORD.items()}
    path = tmp_path / "bounds.json"
    quality.write_record(SHIPPED, outcomes, path, Console(quiet=True))
    return path


def test_the_bound_is_three_standard_deviations_of_the_difference_of_means() -> None:
    found = quality_bounds.bounds(RECORD)
    assert found["error"] == pytest.approx(12.0 + 3 * ONE)
    assert found["lead"] == pytest.approx(1.5 - 3 * ONE)
    assert (found["hand_made"], found["macs"]) == (13.5, 900_000)
    more = quality_bounds.bounds(RECORD, searches=3)
    assert more["error"] == pytest.approx(12.0 + 3 * 0.3 * (2 / 3) ** 0.5)


def test_no_bound_lies_beyond_a_hard_limit() -> None:
    record = {seed: {**RECORD[0], "macs": macs} for seed, macs in ((0, 500_000), (1, 900_000))}
    assert quality_bounds.bounds(record)["macs"] > 1_500_000
    assert quality_bounds.bounds(record, limits={"macs": 950_000})["macs"] == 950_000
    assert quality_bounds.bounds(record, limits={"macs": 1e9}) == quality_bounds.bounds(record)
    verdict = quality_bounds.compare(record, {0: {**RECORD[0], "macs": 951_000}}, {"macs": 950_000})
    assert [one.state for one in verdict if one.measure.name == "macs"] == ["missed"]


@pytest.mark.parametrize(
    ("change", "state"),
    [(3.01, "missed"), (2.99, "worse"), (1.99, "ok"), (-1.99, "ok"), (-2.01, "better")],
)
def test_an_error_is_missed_worse_ok_or_better(change: float, state: str) -> None:
    assert states(error=12.0 + change * ONE)["error"] == state
    assert states(lead=1.5 - change * ONE)["lead"] == state


def test_where_no_training_failed_one_is_too_many() -> None:
    assert states(failed=0)["failed"] == "ok"
    assert states(failed=1)["failed"] == "missed"


def test_a_value_that_is_no_number_misses_its_bound() -> None:
    assert states(error=float("nan"))["error"] == "missed"


def test_several_searches_count_by_their_mean() -> None:
    results = {0: {**RECORD[0], "error": 13.3}, 1: {**RECORD[0], "error": 12.1}}
    verdict = quality_bounds.compare(RECORD, results)[0]
    assert verdict.value == pytest.approx(12.7)
    assert verdict.bound == pytest.approx(12.0 + 3 * 0.3 * (1 / 2 + 1 / 3) ** 0.5)


def test_what_misses_is_named_with_what_was_expected_and_what_came(bounds: Path) -> None:
    outcomes = {0: outcome(error=13.2, lead=0.3)}
    lines, found = quality.check(SHIPPED, outcomes, bounds, Console(quiet=True))
    assert lines == [
        "quickstart: test error of the retrained winner: expected at most 13.04 degrees, got "
        "13.20 degrees (recorded 12.00 degrees, sd 0.30 degrees)",
        "quickstart: lead of the winner over the hand-made network: expected at least 0.46 "
        "degrees, got 0.30 degrees (recorded 1.50 degrees, sd 0.30 degrees)",
    ]
    assert [row["state"] for row in found["verdicts"]] == ["missed", "ok", "missed", "ok", "ok"]
    assert json.loads(json.dumps(found))["results"]["0"]["values"]["error"] == 13.2


def printed(outcomes: dict[int, Outcome], bounds: Path) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    assert quality.check(SHIPPED, outcomes, bounds, console)[0] == []
    return console.export_text()


def test_news_are_printed_and_fail_nothing(bounds: Path) -> None:
    text = printed({0: outcome(error=11.0)}, bounds)
    assert "better than recorded: record it with --record: test error" in text
    assert "seed 0 gives the same winner and other figures than on 20" in text
    assert "error 12.00 degrees -> 11.00 degrees" in text
    other = replace(outcome(error=12.8), winner={"network": "other"})
    text = printed({0: other}, bounds)
    assert "near its bound" in text
    assert "seed 0 gives another winner" in text
    assert "seed" not in printed({0: outcome()}, bounds)
    assert "other figures" not in printed({7: outcome(error=12.1)}, bounds)


def test_another_test_set_is_no_better_or_worse_result(bounds: Path) -> None:
    outcomes = {0: replace(outcome(), data="e")}
    lines, _ = quality.check(SHIPPED, outcomes, bounds, Console(quiet=True))
    assert lines == [
        "quickstart: data: expected d as recorded, got e: record it again with --record"
    ]


def test_a_record_says_where_it_comes_from_and_keeps_those_of_others(bounds: Path) -> None:
    content = json.loads(bounds.read_text())
    content["experiments"]["other"] = content["experiments"]["quickstart"]
    bounds.write_text(json.dumps(content))
    quality.write_record(SHIPPED, {0: outcome(), 1: outcome()}, bounds, Console(quiet=True))
    new = json.loads(bounds.read_text())["experiments"]
    assert new["other"] == content["experiments"]["other"]
    told = new["quickstart"]
    assert set(told) >= {"command", "date", "machine", "versions", "repeats", "seconds"}
    assert told["spread"]["error"] == {"mean": 12.0, "sd": 0.0}
    assert quality_bounds.read(bounds, "quickstart")["values"][1] == RECORD[0]


def edit(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["bounds"].update(error=20.0), "bound of error: expected 13.0392"),
        (lambda record: record["bounds"].pop("macs"), "bound of macs: expected 900000"),
        (edit("values", {"0": RECORD[0]}), "of at least two seeds"),
        (lambda record: record["values"]["0"].pop("lead"), "expected error, failed, hand_made"),
        (edit("repeats", "many"), "repeats: input should be a valid integer"),
    ],
)
def test_an_edited_record_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, bounds: Path
) -> None:
    content = json.loads(bounds.read_text())
    change(content["experiments"]["quickstart"])
    bounds.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        quality_bounds.read(bounds, "quickstart")


def test_without_a_record_the_message_says_how_to_make_one(bounds: Path) -> None:
    with pytest.raises(InputError, match="record of 'other', got none: record it with --record"):
        quality_bounds.read(bounds, "other")
    bounds.write_text('{"format": 9, "experiments": {}}')
    with pytest.raises(InputError, match="expected format 1, got 9"):
        quality_bounds.read(bounds, "quickstart")


def comparison(winner: list[float], failures: list[str]) -> dict[str, Any]:
    rows = {"winner": winner, "hand-made": [13.0, 14.0]}
    contenders = [
        {
            "name": name,
            "head": {"macs": 10},
            "failures": failures,
            "results": [{"mae": 1.0, "test_mae": error} for error in errors],
        }
        for name, errors in rows.items()
    ]
    return {"repeats": 2, "contenders": contenders}


def test_values_are_means_over_the_trainings() -> None:
    found = quality_runs.values(comparison([11.0, 12.0], []), SHIPPED)
    assert found == {"error": 11.5, "hand_made": 13.5, "lead": 2.0, "macs": 10}


def test_a_training_that_failed_is_no_smaller_mean() -> None:
    with pytest.raises(RunError, match="winner: expected 2 trainings, got 1: nan: it did"):
        quality_runs.values(comparison([11.0], ["nan: it did"]), SHIPPED)
    with pytest.raises(RunError, match="no such network"):
        quality_runs.values(comparison([11.0, 12.0], []), replace(SHIPPED, hand_made="none"))


def write_journal(folder: Path, *statuses: tuple[str, str]) -> None:
    trials = [
        Trial(0, number, (0.5,), "d", WINNER, status, None, 1, error=error)
        for number, (status, error) in enumerate(statuses)
    ]
    lines = [json.dumps(trial.row()) + "\n" for trial in trials]
    (folder / "journal.jsonl").write_text("".join(lines))


def test_failures_of_candidates_and_finals_count(tmp_path: Path) -> None:
    rows = [("ok", ""), ("failed", "nan: it was"), ("repeat", "nan: it was"), ("final", "")]
    write_journal(tmp_path, *rows, ("final", "diverged: it did"))
    assert quality_runs.failures(tmp_path) == 2


def test_the_commands_are_those_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def execute(command: list[str], env: dict[str, str], cwd: Path) -> Any:
        ran.append((command[1:], env["OMP_NUM_THREADS"]))
        if command[3] == "search":
            folder = tmp_path / "quickstart-0"
            (folder / "retrained").mkdir(parents=True)
            best = {"architecture": WINNER, "data": "d", "backbone": "b"}
            best["experiment"] = {"objective": {"max_macs": 99}}
            write_journal(folder, ("ok", ""))
            (folder / "best.json").write_text(json.dumps(best))
            text = json.dumps(comparison([11.0, 12.0], []))
            (folder / "retrained" / "comparison.json").write_text(text)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", execute)
    found = quality_runs.measure(SHIPPED, 0, tmp_path, workers=0)
    assert (found.winner, found.data, found.limits) == (WINNER, "d", {"macs": 99})
    assert (found.values["error"], found.values["failed"]) == (11.5, 0)
    run, cache = tmp_path / "quickstart-0", f"features.cache={tmp_path / 'cache'}"
    search = ["search", "experiments/quickstart.yaml", cache, "--run-dir", str(run)]
    retrain = ["retrain", str(run / "best.json"), "--repeats", "3"]
    assert ran == [(["-m", "evonas", *search], "1"), (["-m", "evonas", *retrain], "1")]
    assert "quality: evonas search experiments/quickstart.yaml" in capsys.readouterr().out
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RunError, match="evonas search: expected exit status 0, got 3"):
        quality_runs.measure(SHIPPED, 0, tmp_path, workers=0)


def test_the_exit_status_tells(
    bounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["quality.py", "--bounds", str(bounds), "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(quality, "SHIPPED", [SHIPPED])
    monkeypatch.setattr(quality, "measure", lambda *args: outcome(error=99.0))
    with pytest.raises(SystemExit) as ended:
        quality.main()
    (line,) = str(ended.value).splitlines()
    assert line.startswith("quality: quickstart: test error")
    assert json.loads((tmp_path / "out.json").read_text())["quickstart"]["wrong"]
    monkeypatch.setattr(quality, "measure", lambda *args: outcome())
    quality.main()
    assert json.loads((tmp_path / "out.json").read_text())["quickstart"]["wrong"] == []
    assert "Quality of quickstart" in capsys.readouterr().out


def test_the_record_in_the_repository_is_whole() -> None:
    for shipped in quality.SHIPPED:
        record = quality_bounds.read(BENCHMARKS / "quality_bounds.json", shipped.name)
        assert record["bounds"]["lead"] > 0, "the winner has to lead"
