"""Tables of a run's page: what tests of the retrained networks gave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folder import run_folder

from evonas import write_report
from evonas.errors import InputError
from evonas.report.page import run_tables, writer
from evonas.report.page.run_data import Run

COST = {"macs": 1_500_000, "params": 10, "megabytes": 0.1}


def judged(name: str, *errors: float, **changes: Any) -> dict[str, Any]:
    """An entry of test.json."""
    repeats = [{"mae": error, "geodesic": 2 * error, "mae|yaw 0-30": 1.0} for error in errors]
    places = {"network": name, "tap": "block3", "test_set": "biwi, all", "images": 40}
    return {**places, "repeats": repeats, "head": COST, "upto": COST, "matrix": None, **changes}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was retrained, and tested on two data sets."""
    folder = run_folder(tmp_path / "run")
    (folder / "retrained").mkdir()
    results = [{"mae": 5.0, "geodesic": 9.0, "epoch": 2.0}]
    cost = {"head": COST, "backbone_up_to_tap": COST}
    entry = {"name": "winner", "architecture": {}, "tap": "block3", "weights": [], **cost}
    content = {"contenders": [{**entry, "results": results}]}
    (folder / "retrained/comparison.json").write_text(json.dumps(content), "utf-8")
    rows = [
        judged("winner", 4.0, 5.0, warning="the same persons", left_out="7 images left out"),
        judged("residual head", 6.0, over_limit=True),
        judged("winner", 7.0, test_set="aflw2000, all", images=9, flip=True),
    ]
    (folder / "retrained/test.json").write_text(json.dumps(rows), "utf-8")
    return folder


def test_each_test_set_has_a_table_with_all_networks(run: Path) -> None:
    first, second = run_tables.tested(Run.read(run))
    assert first.title == "Tested on biwi, all, 40 images, mean ± sd of 2 trainings"
    columns = ["network", "tap", "mae, degrees", "geodesic", "M multiply-adds, head"]
    assert first.columns == [*columns, "with backbone"]
    assert first.rows == [
        ["winner", "block3", "4.500 ±0.707", "9.000 ±1.414", "1.5", "3"],
        ["residual head *", "block3", "6.000", "12.000", "1.5", "3"],
    ]
    assert first.notes[:2] == ["7 images left out", "the same persons"]
    assert second.title == "Tested on aflw2000, all, 9 images, averaged with the mirrored images"
    assert "Tested on biwi" in writer.text([Run.read(run)])


def test_a_report_is_found_from_each_folder_of_its_work(run: Path) -> None:
    of_retrained = write_report(run / "retrained")
    assert of_retrained.path == run / "report.html"
    assert "Tested on biwi, all" in of_retrained.path.read_text("utf-8")
    fit = run.parent / "fit"  # as `evonas fit` leaves it
    shutil.copytree(run, fit / "search", ignore=shutil.ignore_patterns("retrained", "report.html"))
    shutil.copytree(run / "retrained", fit / "retrained")
    for folder in (fit, fit / "search", fit / "retrained"):
        assert "Tested on biwi, all" in write_report(folder).markdown
    assert (fit / "report.html").is_file()


def test_a_damaged_test_is_refused_by_its_entry(run: Path) -> None:
    (run / "retrained/test.json").write_text(json.dumps([judged("winner", 1.0), {}]), "utf-8")
    with pytest.raises(InputError, match=r"test.json: entry 1: the key 'network' is missing"):
        Run.read(run)
    (run / "retrained/test.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match=r"test.json: expected a JSON list, got dict"):
        Run.read(run)
