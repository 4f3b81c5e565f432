"""The page of what users get: rows, their table, and the commands' changes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import task_quality
from task_quality import COLUMNS, RANDOM, TASKS, JudgedTask, Row

from evonas.core import experiment as config

ROW = Row(
    *("2026-01-02", "abc1234", "a machine", "quickstart", "shipped", 1, 3, 8.125, 0.25, "block2"),
    *(1_464_000, 7_804_608, 0.315, 0.382, 9.5, 22.75, 22.83, 165.0, 90.0, 0.933, 7.75, 7.5),
)


def test_rows_are_read_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_quality, "TABLE", tmp_path / "quality.csv")
    for _ in range(2):
        task_quality.append(ROW)
    assert task_quality.read(tmp_path / "quality.csv") == [asdict(ROW)] * 2


def test_a_row_of_the_page_has_a_cell_for_each_column() -> None:
    found = task_quality.cells(asdict(ROW))
    assert len(found) == len(COLUMNS)
    assert found[3:7] == ["**8.12** ±0.25 degrees (3)", "7.75", "7.50", "9.50"]
    assert found[7:10] == ["22.75", "22.83", "block2"]
    assert found[10:15] == ["1.46 / 7.8", "0.32 / 0.38", "2.8", "1.5", "93 %"]
    last = task_quality.page([asdict(ROW)]).splitlines()[-1]
    assert last.startswith("| quickstart | shipped | 1")
    assert task_quality.cells({**asdict(ROW), "hand_made": float("nan")})[6] == "-"


def test_means_over_folds_are_of_the_searches_of_one_commit() -> None:
    own = {**asdict(ROW), "task": "pointing04", "refitted": 7.0, "tuned": 6.5}
    rows = [
        {**own, "variant": f"shipped, persons {judges} judge", "error": error, "macs_total": macs}
        for judges, error, macs in (("10-12", 5.0, 10**8), ("7-9", 6.0, 2 * 10**8))
    ]
    line = task_quality.over_folds([asdict(ROW), *rows])[-1]
    assert line.startswith("| pointing04 | shipped | 1 | 2 | 5.50 | 7.00 | 6.50 | 9.50 |")
    assert line.endswith("| 200.0 / 0.38 |")
    assert task_quality.over_folds([asdict(ROW)]) == []
    assert task_quality.over_folds(rows[:1]) == []  # one fold is no mean


def test_the_picture_shows_each_task_and_variant(tmp_path: Path) -> None:
    rows = [asdict(ROW), {**asdict(ROW), "variant": "random", "error": 10.0}]
    task_quality.draw(rows, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 5000


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_changes_fit_the_shipped_experiments(task: JudgedTask) -> None:
    name = f"experiments/own_faces/{task.name}.yaml" if task.name == "own_faces" else task.name
    for words in task.folds.values():
        experiment = config.load(name, [*words, *RANDOM, "seed=2"])
        assert (experiment.optimizer.name, experiment.initial_designs) == ("random", False)
