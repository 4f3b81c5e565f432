"""The quality benchmark: bounds follow from recorded results; what misses them is named."""

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
from quality_bounds import Sample
from quality_runs import ExportedNetwork, Outcome
from rich.console import Console

from evonas.errors import InputError, RunError
from evonas.runs.run_store import Trial

SHIPPED = ExportedNetwork("quickstart", "test_mae", "hand-made")
WINNER = {"network": "master_module", "settings": {"stem": 8}}
LIMITS = {"lead": 0.0, "macs": 1_000_000.0}
SILENT = Console(quiet=True)


def trained(*errors: float, hand_made: float = 14.0) -> list[dict[str, float]]:
    return [{"error": e, "hand_made": hand_made, "lead": hand_made - e} for e in errors]


def outcome(*errors: float, macs: int = 900_000, failed: int = 0, **changes: Any) -> Outcome:
    search = {"macs": macs, "failed": failed}
    made = Outcome(trained(*errors), search, WINNER, LIMITS, "d", "b", {"search": 1.0})
    return replace(made, **changes)


#: Retrainings of the shipped search: 12 ± 0.3; searches: 12, 11 and 10, so 11 ± 1.
OUTCOMES = {0: outcome(12.0, 11.7, 12.3), 10: outcome(11.0), 20: outcome(10.0)}
RECORD = Sample(OUTCOMES[0].trainings, [one.values(3) for one in OUTCOMES.values()])
ONE = 0.3 * (1 + 1 / 3) ** 0.5  # sd of one new retraining minus the mean of the three
WIDE = 1.0 * (1 + 1 / 3) ** 0.5  # sd of one new search minus the mean of the three


def verdicts(
    new: Outcome, limits: dict[str, float] | None = None, same: bool = True
) -> dict[str, quality_bounds.Verdict]:
    made = Sample(new.trainings, [new.values(3)])
    found = quality_bounds.compare(RECORD, made, limits or {}, same)
    return {verdict.measure.name: verdict for verdict in found}


@pytest.fixture
def bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a record of OUTCOMES."""
    monkeypatch.setattr(quality, "processor", lambda: "this one")
    path = tmp_path / "bounds.json"
    quality.write_record(SHIPPED, OUTCOMES, path, SILENT)
    return path


def test_the_bound_is_three_standard_deviations_of_the_difference_of_means() -> None:
    found = verdicts(outcome(12.0))
    assert found["error"].bound == pytest.approx(12.0 + 3 * ONE)
    assert found["lead"].bound == pytest.approx(2.0 - 3 * ONE)
    assert found["hand_made"].bound == 14.0
    three = verdicts(outcome(12.0, 12.0, 12.0))
    assert three["error"].bound == pytest.approx(12.0 + 3 * 0.3 * (2 / 3) ** 0.5)


def test_another_winner_is_held_against_the_spread_of_searches() -> None:
    found = verdicts(outcome(12.0), same=False)
    assert found["error"].bound == pytest.approx(11.0 + 3 * WIDE)
    assert found["lead"].bound == pytest.approx(3.0 - 3 * WIDE)
    assert found["hand_made"].bound == 14.0  # no search chooses it
    assert verdicts(outcome(12.0), LIMITS, same=False)["lead"].bound == 0.0


def test_searches_that_agree_by_chance_bound_no_closer_than_trainings() -> None:
    record = Sample(RECORD.trainings, [outcome(12.0).values(3)] * 3)
    new = Sample(trained(12.0), [outcome(12.0).values(3)])
    error, *_ = quality_bounds.compare(record, new, {}, same_winner=False)
    assert (error.sd, error.bound) == (pytest.approx(0.3), pytest.approx(12.0 + 3 * ONE))


@pytest.mark.parametrize(
    ("change", "state"),
    [(3.01, "missed"), (2.99, "worse"), (1.99, "ok"), (-1.99, "ok"), (-2.01, "better")],
)
def test_an_error_is_missed_worse_ok_or_better(change: float, state: str) -> None:
    found = verdicts(outcome(12.0 + change * ONE))
    assert (found["error"].state, found["lead"].state) == (state, state)


def test_no_bound_lies_beyond_a_hard_limit() -> None:
    assert verdicts(outcome(12.0, macs=900_001))["macs"].state == "missed"
    spread = [
        {**one, "macs": macs} for one, macs in zip(RECORD.searches, (5e5, 7e5, 9e5), strict=True)
    ]
    record = Sample(RECORD.trainings, spread)
    for limit, macs, state in ((1e6, 999_999, "ok"), (1e6, 1_000_001, "missed")):
        new = Sample(RECORD.trainings, [{**RECORD.searches[0], "macs": macs}])
        found = quality_bounds.compare(record, new, {"macs": limit})
        assert [one.state for one in found if one.measure.name == "macs"] == [state]


def test_where_no_training_failed_one_is_too_many() -> None:
    assert verdicts(outcome(12.0, failed=0))["failed"].state == "ok"
    assert verdicts(outcome(12.0, failed=1))["failed"].state == "missed"


def test_a_value_that_is_no_number_misses_its_bound() -> None:
    assert verdicts(outcome(float("nan")))["error"].state == "missed"


def test_what_misses_is_named_with_what_was_expected_and_what_came(bounds: Path) -> None:
    lines, found = quality.check(SHIPPED, {0: outcome(13.2)}, bounds, SILENT)
    assert lines == [
        "quickstart: test error of the retrained winner: expected at most 13.04 degrees, got "
        "13.20 degrees (recorded 12.00 degrees, sd 0.30 degrees)",
        "quickstart: lead over the hand-made network: expected at least 0.96 degrees, got 0.80 "
        "degrees (recorded 2.00 degrees, sd 0.30 degrees)",
    ]
    assert [row["state"] for row in found["verdicts"]] == ["missed", "ok", "missed", "ok", "ok"]
    assert json.loads(json.dumps(found))["results"]["0"]["trainings"][0]["error"] == 13.2


def test_only_the_shipped_search_has_to_find_the_recorded_winner(
    bounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = outcome(13.2, winner={"network": "other"})
    assert quality.check(SHIPPED, {0: other}, bounds, SILENT)[0]
    assert not quality.check(SHIPPED, {10: other}, bounds, SILENT)[0]
    assert not quality.check(SHIPPED, {0: other, 10: other}, bounds, SILENT)[0]
    monkeypatch.setattr(quality, "processor", lambda: "another one")
    assert not quality.check(SHIPPED, {0: other}, bounds, SILENT)[0]
    assert quality.check(SHIPPED, {0: outcome(13.2)}, bounds, SILENT)[0]


def printed(outcomes: dict[int, Outcome], bounds: Path) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    assert quality.check(SHIPPED, outcomes, bounds, console)[0] == []
    return console.export_text()


def test_news_are_printed_and_fail_nothing(bounds: Path) -> None:
    text = printed({0: outcome(11.0)}, bounds)
    assert "better than recorded: record it with --record: test error" in text
    assert "seed 0 gave other figures on 20" in text
    assert "test error of the retrained winner 12.00 degrees -> 11.00 degrees" in text
    assert "another winner" not in text
    text = printed({0: outcome(12.8, winner={"network": "other"})}, bounds)
    assert "worse than recorded, yet within the bound" in text
    assert "another winner" in text
    assert "gave other figures" not in printed({0: OUTCOMES[0]}, bounds)
    assert "gave other figures" not in printed({7: outcome(11.0)}, bounds)


def test_another_test_set_is_no_better_or_worse_result(bounds: Path) -> None:
    lines, _ = quality.check(SHIPPED, {0: outcome(12.0, data="e")}, bounds, SILENT)
    assert lines == [
        "quickstart: data: expected d as recorded, got e: record it again with --record"
    ]


def test_a_record_says_where_it_comes_from_and_keeps_those_of_others(bounds: Path) -> None:
    content = json.loads(bounds.read_text())
    content["experiments"]["other"] = content["experiments"]["quickstart"]
    bounds.write_text(json.dumps(content))
    quality.write_record(SHIPPED, {**OUTCOMES, 10: outcome(9.0)}, bounds, SILENT)
    new = json.loads(bounds.read_text())["experiments"]
    assert new["other"] == content["experiments"]["other"]
    record = quality_bounds.read(bounds, "quickstart")
    assert set(record) >= {"command", "date", "machine", "versions", "repeats", "seconds"}
    assert quality_bounds.sample(record).searches[1]["error"] == 9.0
    assert record["bounds"]["macs"] == 900_000


def edit(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["bounds"].update(error=20.0), "bound of error: expected 12.73"),
        (lambda record: record["bounds"].pop("macs"), "bound of macs: expected 900000"),
        (edit("trainings", trained(12.0)), "trainings: list should have at least 2"),
        (lambda record: record["searches"]["0"].pop("failed"), "expected 'failed' in every result"),
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


def test_leads_are_those_of_trainings_with_the_same_seed() -> None:
    found = quality_runs.trainings(comparison([11.0, 12.5], []), SHIPPED)
    assert found == [
        {"error": 11.0, "hand_made": 13.0, "lead": 2.0},
        {"error": 12.5, "hand_made": 14.0, "lead": 1.5},
    ]


def test_a_training_that_failed_is_no_smaller_mean() -> None:
    with pytest.raises(RunError, match="winner: expected 2 trainings, got 1: nan: it did"):
        quality_runs.trainings(comparison([11.0], ["nan: it did"]), SHIPPED)
    with pytest.raises(RunError, match="no such network"):
        quality_runs.trainings(comparison([11.0, 12.0], []), replace(SHIPPED, hand_made="none"))


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
            write_journal(folder, ("ok", ""))
            best = {"architecture": WINNER, "data": "d", "backbone": "b"}
            best["experiment"] = {"objective": {"max_macs": 99}}
            (folder / "best.json").write_text(json.dumps(best))
            text = json.dumps(comparison([11.0, 12.0], []))
            (folder / "retrained" / "comparison.json").write_text(text)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", execute)
    found = quality_runs.measure(SHIPPED, 0, 3, tmp_path, workers=None)
    assert (found.winner, found.data, found.limits) == (WINNER, "d", {"lead": 0, "macs": 99})
    assert found.values(2) == {
        **{"error": 11.5, "hand_made": 13.5, "lead": 2.0},
        **{"macs": 10, "failed": 0},
    }
    run, cache = tmp_path / "quickstart-0", f"features.cache={tmp_path / 'cache'}"
    search = ["search", "experiments/quickstart.yaml", cache, "--run-dir", str(run)]
    retrain = ["retrain", str(run / "best.json"), "--repeats", "3", "--no-refit"]
    retrain.append("standard_baselines=false")
    assert ran == [(["-m", "evonas", *search], "1"), (["-m", "evonas", *retrain], "1")]
    assert "quality: evonas search experiments/quickstart.yaml" in capsys.readouterr().out
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RunError, match="evonas search: expected exit status 0, got 3"):
        quality_runs.measure(SHIPPED, 0, 3, tmp_path, workers=None)


def test_the_exit_status_tells(
    bounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["quality.py", "--bounds", str(bounds), "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(quality, "SHIPPED", [SHIPPED])
    monkeypatch.setattr(quality, "measure", lambda *args: outcome(99.0))
    with pytest.raises(SystemExit) as ended:
        quality.main()
    (line,) = str(ended.value).splitlines()
    assert line.startswith("quality: quickstart: test error")
    assert json.loads((tmp_path / "out.json").read_text())["quickstart"]["wrong"]
    monkeypatch.setattr(quality, "measure", lambda *args: OUTCOMES[0])
    quality.main()
    assert json.loads((tmp_path / "out.json").read_text())["quickstart"]["wrong"] == []
    assert "Quality of quickstart" in capsys.readouterr().out


def test_a_record_takes_more_retrainings_of_the_shipped_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure(shipped: ExportedNetwork, seed: int, repeats: int, *rest: Any) -> Outcome:
        asked.append((seed, repeats))
        return OUTCOMES[0]

    path = tmp_path / "bounds.json"
    words = ["--record", "--bounds", str(path), "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["quality.py", *words])
    monkeypatch.setattr(quality, "SHIPPED", [SHIPPED])
    monkeypatch.setattr(quality, "measure", measure)
    quality.main()
    assert asked == [(0, 10), (10, 3), (20, 3), (30, 3), (40, 3)]
    assert quality_bounds.read(path, "quickstart")["searches"].keys() == {
        "0",
        "10",
        "20",
        "30",
        "40",
    }


def test_the_record_in_the_repository_is_whole() -> None:
    for shipped in quality.SHIPPED:
        record = quality_bounds.read(BENCHMARKS / "quality_bounds.json", shipped.name)
        assert record["bounds"]["lead"] > 0, "the winner has to lead"
