"""Decisions of the clock: lines of the journal beside the trials, and which of them hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evonas.errors import InputError
from evonas.runs.clock_decisions import ClockDecision, standing
from evonas.runs.run_store import RunStore, Trial, read_journal, read_lines


def decision(minutes: float, ask: int = 0, at: float = 5.0) -> ClockDecision:
    return ClockDecision("search", minutes, ask, trained=3, fits=1, at=at)


TRIAL = Trial(0, 0, (0.5,), "d" * 16, {"network": "n", "settings": {}}, "ok", 1.0, 10, at=2.5)


def test_a_journal_holds_both_kinds_of_lines(tmp_path: Path) -> None:
    with RunStore(tmp_path, clock=lambda: 100.0) as store:
        store.append(TRIAL)
        store.decide(decision(10.0, at=7.25))
        assert (store.count, store.decisions) == (1, [decision(10.0, at=7.25)])
    assert json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[1]) == {
        **{"clock": "search", "minutes": 10.0, "ask": 0, "trained": 3, "fits": 1, "at": 7.25}
    }
    assert read_journal(tmp_path) == [TRIAL]
    assert read_lines(tmp_path) == ([TRIAL], [decision(10.0, at=7.25)])
    with (tmp_path / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"clock": "fin')  # a write that was killed
    with RunStore(tmp_path, resume=True, clock=lambda: 3.0) as store:
        assert (store.trials(), store.decisions) == ([TRIAL], [decision(10.0, at=7.25)])
        assert store.elapsed == 7.25, "the seconds of a decision are spent as well"


def test_seconds_before_the_run_was_opened_count(tmp_path: Path) -> None:
    with RunStore(tmp_path, clock=lambda: 100.0, begun=88.0) as store:
        assert store.elapsed == 12.0


@pytest.mark.parametrize(
    "line",
    [
        '{"clock": "search"}',
        '{"clock": "lunch", "minutes": 1, "ask": 0, "trained": 0, "fits": 0, "at": 0}',
        '{"clock": "search", "minutes": 1, "ask": 0, "trained": 0, "fits": "all", "at": 0}',
        '{"clock": "search", "minutes": 1, "ask": 0, "trained": 0, "fits": 0, "at": 0, "x": 1}',
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"journal.jsonl, line 1: is no trial"):
        RunStore(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("written", "minutes", "held"),
    [
        ([], 10.0, []),
        ([(10.0, 7)], 10.0, [7]),
        ([(10.0, 7)], None, []),
        ([(10.0, 7)], 5.0, [7]),
        ([(10.0, 7)], 10.5, []),
        ([(10.0, 7), (20.0, 12)], 20.0, [12]),
        ([(10.0, 7), (20.0, 12)], 15.0, [12]),
        ([(10.0, 7), (20.0, 12)], 10.0, [12]),  # what 10 decided was overruled already
        ([(20.0, 12), (15.0, 14)], 15.0, [12, 14]),
        ([(20.0, 12), (15.0, 14)], 18.0, [12]),
    ],
)
def test_more_minutes_overrule_what_fewer_decided(
    written: list[tuple[float, int]], minutes: float | None, held: list[int]
) -> None:
    decisions = [decision(amount, ask) for amount, ask in written]
    other = ClockDecision("finals", 99.0, 0, 3, 5, 6.0)
    assert [one.ask for one in standing([other, *decisions], "search", minutes)] == held
