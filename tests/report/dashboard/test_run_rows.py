"""Rows and views of runs: state, time left, workers, and the error of the best so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folder import run_folder, trials

from evonas.report.dashboard.run_view import progress, sections
from evonas.report.dashboard.runs_folder import RunsFolder
from evonas.report.page.run_data import Run
from evonas.runs.run_store import RunStore

STARTED = 1_800_000_000.0


def running(folder: Path, seconds: float, content: dict[str, Any], **experiment: Any) -> Any:
    """The row of a run that has 10 trials of 2 s and runs since some seconds."""
    run_folder(folder / "run", trials(10)[:10], budget=30, **experiment)
    (folder / "run/best.json").unlink()
    with RunStore(folder / "run", resume=True) as store:
        store.write("progress.json", {"started": STARTED, "stage": "search", **content})
        runs = RunsFolder(folder, lambda: STARTED + seconds)
        (row,) = runs.overview()["runs"]
        return row


def test_a_finished_run(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    with RunStore(folder, resume=True) as store:
        store.log("started with 0 trained networks")
    (row,) = RunsFolder(tmp_path).overview()["runs"]
    run = Run.read(folder)
    best = run.finalists[0]
    assert row["error"] == f"{best.metrics()['mae']:.3f} ±{best.spread()['mae']:.3f}"
    assert (row["unit"], row["cost_unit"]) == ("degrees", "multiply-adds")
    assert row["cost"] == f"{best.trial.macs / 1e6:.2g} M"
    assert (row["state"], row["share"], row["left"]) == ("finished", 1.0, "")
    assert (row["workers"], row["busy"], row["spent"]) == ("2", "75 % busy", "3 min 22 s")
    assert len(row["started"]) == len("2026-01-01 00:00")
    assert row["command"] == f"evonas retrain {folder}"


def test_a_running_run_has_the_time_left_of_the_live_view(tmp_path: Path) -> None:
    known = {"trained": 0, "seconds": 0.0, "workers": 1, "further": 5}
    row = running(tmp_path, 40.0, known)
    done = int(row["done"].split()[0])
    assert (row["state"], row["done"]) == ("running", f"{done} of 30")
    # 40 s for all of them by the clock, 2 s each by the trainings: see ``Tally.left``
    each = 2.0 + (40 / done - 2.0) * done / (done + 4)
    assert row["left"] == f"about {int(each * (30 - done + 5)) // 60} min " + row["left"][-9:]
    assert row["spent"] == "40 s"
    assert row["share"] == done / 30
    assert row["busy"] == f"{min(100, round(100 * 2 * done / (3 * 10)))} % busy"
    assert "--resume" in row["command"]


def test_a_resumed_run_and_minutes(tmp_path: Path) -> None:
    known = {"trained": 4, "seconds": 100.0, "workers": 1, "further": 0}
    row = running(tmp_path, 20.0, known, minutes=5.0)
    assert (row["spent"], row["left"]) == ("2 min 00 s", "about 3 min 00 s left")
    assert row["share"] == pytest.approx(120 / 300)


def test_a_run_whose_stage_is_known_or_which_has_no_trial_yet(tmp_path: Path) -> None:
    row = running(tmp_path, 5.0, {"stage": "finals"})
    assert row["words"] == "running: finals"
    with RunStore(tmp_path / "new"):
        found = RunsFolder(tmp_path)
        new = next(row for row in found.overview()["runs"] if row["key"] == "new")
        assert new["words"] == "running: features and first training"
        assert found.view(["new"])["problems"] == ["new: no network has been trained yet."]


def test_the_chart_holds_the_error_of_the_network_with_the_lowest_fitness_so_far(
    tmp_path: Path,
) -> None:
    rows = trials(20)
    run = Run.read(run_folder(tmp_path / "run", rows))
    chart = progress([run])
    assert chart is not None
    points, best = chart.series
    assert len(points.x) == sum(one.trained and one.fitness is not None for one in rows)
    lowest = min((one for one in run.trained if one.fitness is not None), key=lambda t: t.value)
    assert best.y[-1] == best.y[-2] == lowest.metrics["mae"]
    assert best.x[-1] == max(points.x)
    assert list(best.x) == sorted(best.x)


def test_several_runs_have_one_line_each(tmp_path: Path) -> None:
    runs = [Run.read(run_folder(tmp_path / name, trials(seed=n))) for n, name in enumerate("ab")]
    parts = {part["key"]: part for part in sections(runs)}
    chart = parts["progress"]["charts"][0]
    assert [trace["name"] for trace in chart["data"]] == ["a", "b"]
    assert len({trace["line"]["color"] for trace in chart["data"]}) == 2
    assert [row[0] for row in parts["outcome"]["tables"][0]["rows"]]
    assert sections([]) == []
