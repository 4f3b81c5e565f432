"""What the soak counts, on small journals that were made for it; the soak itself takes an hour."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import soak_figures


def soak(folder: Path, begun: list[str], hit: set[str], **start: int) -> Any:
    """A soak of two starts; when the second began, ``a`` was done and ``b`` in flight."""
    run = folder / "run"
    run.mkdir()
    lines = [{"digest": name, "repeat": 0} for name in "abc"]
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [json.dumps([name, 0, 0, 7]) + "\n" for name in begun]
    (folder / "trainings.txt").write_text("".join(rows))
    first = {"known": 0, "trainings": 0, "servers": 0}
    second = {"known": 1, "trainings": 2, "servers": 0} | start
    return SimpleNamespace(run=run, hit=hit, starts=[first, second], workers=2)


def test_what_was_in_flight_and_what_was_hit_is_rightly_begun_again(tmp_path: Path) -> None:
    assert soak_figures.again(soak(tmp_path, ["a", "b", "b", "c", "c"], {"c.0.0"})) == 0


def test_a_done_training_that_is_begun_again_is_counted(tmp_path: Path) -> None:
    assert soak_figures.again(soak(tmp_path, ["a", "b", "a", "b", "c"], set())) == 1


def test_a_training_that_is_begun_again_without_a_reason_is_counted(tmp_path: Path) -> None:
    assert soak_figures.again(soak(tmp_path, ["a", "b", "b", "c", "c", "c"], {"c.0.0"})) == 1


def test_a_server_that_is_killed_is_a_reason(tmp_path: Path) -> None:
    begun = ["a", "b", "b", "c", "c", "b"]
    assert soak_figures.again(soak(tmp_path, begun, set(), servers=1)) == 0


def test_quarters_leave_out_what_is_growing_up(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, soak_figures.COLUMNS, restval=0)
        writer.writeheader()
        for number in range(11):
            told = {"starts": 1, "workers": 2, "driver_rss": 1e6 * number, "processes": 20}
            writer.writerow({"seconds": 10 * number, **told})
    found = soak_figures.quarters(path)
    assert found["samples"] == 11
    assert found["of grown processes"] == 8  # from 30 s on
    assert found["driver_rss (MB)"] == "3 to 4, 9 to 10"
    assert found["processes"] == "20 to 20, 20 to 20"
