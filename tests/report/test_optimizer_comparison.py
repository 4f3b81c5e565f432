"""Strategies side by side: curves, the table's order, the picture, the verb."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from msgspec.structs import replace as changed
from PIL import Image

from evonas.core.settings import FinalsSettings, ObjectiveSettings
from evonas.estimation.objective import Objective
from evonas.report.optimizer_comparison import Curve, picture, table
from evonas.runs.run_store import Trial

Cli = Callable[..., tuple[int, str, str]]
OBJECTIVE = Objective("error", ObjectiveSettings())


def trial(index: int, status: str, fitness: float | None) -> Trial:
    return Trial(0, index, (0.5,), str(index), {}, status, fitness, 1)


def final(of: Trial, repeat: int, error: float) -> Trial:
    return changed(of, status="final", repeat=repeat, fitness=error, metrics={"error": error})


def test_a_curve_counts_distinct_trainings_and_keeps_the_best() -> None:
    told = [("ok", 5.0), ("repeat", 5.0), ("failed", None), ("infeasible", None), ("ok", 3.0)]
    trials = [trial(i, status, value) for i, (status, value) in enumerate(told)]
    curve = Curve.of("cma", 1, [*trials, trial(9, "ok", 4.0)], 2.0, OBJECTIVE)
    assert curve.best.tolist() == [5.0, 5.0, 3.0, 3.0]
    assert curve.repeats == 1
    assert (curve.at(1), curve.at(3), curve.at(50)) == (5.0, 3.0, 3.0)
    assert Curve.of("cma", 1, [trial(0, "failed", None)], 0.0, OBJECTIVE).at(1) == np.inf


def curves() -> list[Curve]:
    return [
        Curve("slow", 0, np.array([9.0, 8, 7, 6]), 0, 1.0),
        Curve("slow", 1, np.array([9.0, 8, 8, 8]), 2, 1.0),
        Curve("quick", 0, np.array([9.0, 4, 3, 3]), 0, 1.0),
        Curve("quick", 1, np.array([7.0, 4, 4, 4]), 0, 3.0),
    ]


def test_the_table_puts_the_best_at_the_full_budget_first() -> None:
    found = table(curves(), 4, "title")
    assert list(found.columns)[:4] == ["optimizer", "after 1", "after 2", "after 4"]
    assert [row[0] for row in found.rows] == ["quick", "slow"]
    assert found.rows[0][1:] == ["8.000 ±1.414", "4.000 ±0.000", "3.500 ±0.707", "4", "0", "2"]


def test_the_picture_shows_each_strategy(tmp_path: Path) -> None:
    picture(curves(), 4, "title", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (960, 600)
        colours = {tuple(pixel) for _, pixel in image.convert("RGB").getcolors(1 << 20)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours


@pytest.mark.filterwarnings("error")
def test_strategies_that_found_the_same_are_drawn_without_a_warning(tmp_path: Path) -> None:
    same = [Curve(name, 0, np.full(3, 4.0), 0, 1.0) for name in ("one", "other")]
    picture(same, 3, "title", tmp_path / "c.png")
    assert (tmp_path / "c.png").is_file()


def traded(index: int, error: float | None, macs: int) -> Trial:
    status = "failed" if error is None else "ok"
    metrics = {} if error is None else {"error": error}
    return changed(trial(index, status, error), macs=macs, metrics=metrics)


def front_curves() -> list[Curve]:
    """Logarithms of cost 1, 2, 3 and errors 1 to 5: a box of 2 x 4."""
    told = {
        "wide": [traded(0, 5.0, 10), traded(1, 3.0, 100), traded(2, 1.0, 1000)],
        "narrow": [traded(0, 3.0, 1000), traded(1, None, 10), traded(2, 2.0, 1000)],
    }
    return [Curve.of(name, 0, trials, 1.0, OBJECTIVE) for name, trials in told.items()]


def test_a_curve_holds_errors_and_logarithms_of_costs() -> None:
    wide, narrow = front_curves()
    assert wide.axes.tolist() == [[5.0, 1.0], [3.0, 2.0], [1.0, 3.0]]
    assert np.isnan(narrow.axes[:, 0]).tolist() == [False, True, False]
    three = Objective("error", ObjectiveSettings(axes=("error", "macs", "latency")))
    timed = Curve.of("x", 0, [changed(traded(0, 5.0, 10), latency=0.1)], 1.0, three)
    assert timed.axes.tolist() == [[5.0, 1.0, pytest.approx(-1.0)]]
    free = Curve.of("x", 0, [traded(0, 5.0, 0)], 1.0, OBJECTIVE)
    assert np.isfinite(free.axes).all(), "what costs nothing has no logarithm"
    assert Curve.of("x", 0, [], 0.0, three).axes.shape == (0, 3)


def test_the_hypervolume_is_a_share_of_the_box() -> None:
    # only the point in the middle is inside the box: a quarter of it; ends have no area
    wide, narrow = front_curves()
    box = (np.array([1.0, 1.0]), np.array([5.0, 3.0]))
    assert [wide.volume(n, *box) for n in (1, 2, 3)] == [0.0, 0.25, 0.25]
    assert narrow.volume(3, *box) == 0.0
    wider = (np.array([1.0, 1.0]), np.array([5.0, 5.0]))
    assert narrow.volume(3, *wider) == pytest.approx(3 * 2 / 16)
    flat = (np.array([1.0, 3.0]), np.array([5.0, 3.0]))
    assert narrow.volume(3, *flat) == pytest.approx(3 / 4), "a constant axis is no axis"


def test_the_table_has_a_column_for_the_front() -> None:
    found = table(front_curves(), 3, "title")
    assert list(found.columns)[4:] == ["hypervolume", "trained", "repeats", "seconds"]
    shares = {row[0]: row[4] for row in found.rows}
    assert shares == {"wide": "0.250", "narrow": "0.000"}
    assert any(note.startswith("hypervolume: of the front, on logarithms") for note in found.notes)


def test_the_table_has_a_column_for_winners_that_were_trained_again() -> None:
    sure = [replace(curve, winner=w) for curve, w in zip(curves(), (9, 7, 4, 4.5), strict=True)]
    found = table(sure, 4, "title")
    assert list(found.columns)[4:] == ["further seeds", "trained", "repeats", "seconds"]
    assert [row[4] for row in found.rows] == ["4.250 ±0.354", "8.000 ±1.414"]
    assert any(note.startswith("further seeds: ") for note in found.notes)


def test_a_winner_is_told_only_where_every_search_has_one() -> None:
    some = [replace(curve, winner=4.0) for curve in curves()[:3]] + curves()[3:]
    assert "further seeds" not in table(some, 4, "title").columns


def test_a_curve_knows_its_winner_by_further_seeds_alone() -> None:
    own = [trial(0, "ok", 1.0), trial(1, "ok", 2.0)]
    assert math.isnan(Curve.of("x", 0, own, 0.0, OBJECTIVE).winner)
    again = [final(own[0], n, error) for n, error in ((1, 6.0), (2, 8.0))]
    curve = Curve.of("x", 0, [*own, *again], 0.0, OBJECTIVE)
    assert curve.winner == 7.0
    assert curve.best.tolist() == [1.0, 1.0]
    assert len(curve.axes) == 2


def test_a_winner_is_one_of_those_that_take_part_in_the_finals() -> None:
    own = [trial(0, "ok", 1.0), trial(1, "ok", 2.0)]
    again = [final(own[k], 1, error) for k, error in ((0, 6.0), (1, 5.0))]
    assert Curve.of("x", 0, [*own, *again], 0.0, OBJECTIVE).winner == 5.0
    one = FinalsSettings(networks=1)
    assert Curve.of("x", 0, [*own, *again], 0.0, OBJECTIVE, one).winner == 6.0


def test_what_another_run_found_is_not_this_ones_merit() -> None:
    given = changed(trial(0, "earlier", 0.5), generation=-1)
    curve = Curve.of("x", 0, [given, trial(0, "ok", 3.0)], 0.0, OBJECTIVE)
    assert curve.best.tolist() == [3.0]
    assert len(curve.axes) == 1


def test_the_picture_has_a_panel_for_the_front(tmp_path: Path) -> None:
    picture(front_curves(), 3, "title", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (1560, 600)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    rows = [f"{a}{b}{c},{(a - 1) ** 2 + abs(b - 2) + c},{1 + a}" for a in range(3)
            for b in range(3) for c in range(3)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["arch,err,ops", *rows]), "utf-8")
    content = {
        "name": "small",
        "budget": 8,
        "optimizer": {"name": "ga", "population_size": 4},
        "table": {"file": "t.csv", "digits": "arch", "error": "err", "cost": "ops"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return tmp_path / "small.yaml"


def test_compare_runs_all_at_the_same_budget_and_goes_on_where_it_was(
    evonas: Cli, experiment: Path, tmp_path: Path
) -> None:
    words = ("compare", experiment, "--optimizers", "ga,random", "--seeds", "2", "--out", "runs")
    code, _, err = evonas(*words)
    assert code == 0, err
    text = (tmp_path / "runs" / "comparison.md").read_text("utf-8")
    assert "small: 8 distinct trainings a search" in text
    assert text.count("| ga |") == text.count("| random |") == 1
    assert (tmp_path / "runs" / "comparison.png").stat().st_size > 5000
    journals = {p: p.read_bytes() for p in (tmp_path / "runs").glob("*/journal.jsonl")}
    assert sorted(p.parent.name for p in journals) == ["ga-s0", "ga-s1", "random-s0", "random-s1"]
    assert evonas(*words)[0] == 0
    assert {p: p.read_bytes() for p in journals} == journals


def test_an_unknown_strategy_is_refused_before_anything_runs(
    evonas: Cli, experiment: Path, tmp_path: Path
) -> None:
    code, _, err = evonas("compare", experiment, "--optimizers", "ga,cmaa", "--out", "runs")
    assert (code, "did you mean 'cma'?" in err) == (2, True)
    assert not (tmp_path / "runs").exists()
