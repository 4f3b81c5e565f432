"""Tables and pictures of a probe, from results made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evonas.deployment.probing import plots as probe_pictures
from evonas.deployment.probing import tables as probing
from evonas.deployment.probing.characteristic_curves import Curve
from evonas.deployment.probing.linear_models import Score
from evonas.deployment.probing.linear_probe import Primary, Probed

NAN = float("nan")
FILTERS = np.array([0, 1, 1, 3, 2, 4])
ERRORS = np.array([40.0, 30, 25, 21, 22, 20])
CURVE = Curve(np.ones(6), FILTERS, ERRORS, np.arange(5)[None] < FILTERS[:, None], unconverged=2)


def one(tap: str, held_out: float, judged: float, target: str = "yaw") -> Probed:
    score = Score(held_out, 40.0, 9.0, 33.0, 90)
    test = replace(score, error=judged, constant=50.0, note="ridge")
    return Probed(tap, target, False, score, score, test, CURVE, 0.5)


def smiling(tap: str, wrong: float) -> Probed:
    score = Score(wrong, 60.0, NAN, NAN, 90, "folds over images")
    return Probed(tap, "smile", True, score, None, None, CURVE, 0.5)


@pytest.fixture
def primary() -> Primary:
    found = (one("early", 30, 20), smiling("early", 30), one("late", 10, 25), smiling("late", 54))
    return Primary("net", "f00d", ("early", "late"), found, 3.0)


def test_errors_stand_beside_the_constant_and_ranks_are_of_held_out_images(
    primary: Primary,
) -> None:
    table = probing.errors(primary, ["yaw", "smile"], 3, ["LEAKY"])
    assert list(table.columns) == ["tap", "rank", "held out", "yaw", "smile, held out"]
    assert table.rows == [
        ["early", "2", "62.5", "20.0 (9.0)", "30.0 %"],
        ["late", "1", "57.5", "25.0 (9.0)", "54.0 %"],
        ["constant", "-", "100.0", "50.0 (33.0)", "60.0 %"],
    ]
    assert "test images" in table.title
    assert "yaw: ridge" in table.notes
    assert "smile: folds over images" in table.notes
    assert table.notes[-1] == "LEAKY"


def test_how_classes_were_fitted_is_said_where_there_are_any(primary: Primary) -> None:
    (line,) = probing.classes_note([primary], "logistic")
    assert "fitted by logistic regression, where John et al. (2019) regress" in line
    (line,) = probing.classes_note([primary], "least_squares")
    assert "least squares on their indicators" in line
    assert probing.classes_note([replace(primary, found=(one("early", 1, 1),))], "logistic") == []


def test_small_units_keep_their_digits(primary: Primary) -> None:
    score = Score(0.1234, 0.2345, 0.1, 0.2, 9)
    small = replace(one("early", 1, 1), held_out=score, validation=score, test=None)
    table = probing.errors(replace(primary, taps=("early",), found=(small,)), ["yaw"], 3)
    assert table.rows[0][3] == "0.123 (0.100)"


def test_a_knee_is_told_by_filters_and_error() -> None:
    table = probing.knees([one("early", 30, 20)], [0.3, 0.1, 0], 3, "knees")
    assert table.rows == [["yaw", "early", "1 of 5, 25.0", "2 of 5, 22.0", "4 of 5, 20.0"]]
    assert "2 of 400 fits stopped short of their precision" in table.notes


def test_relations_are_of_the_tap_that_held_out_images_choose(primary: Primary) -> None:
    """Late is chosen, though early would be better on the images that judge."""
    table = probing.relations([primary], ["yaw", "smile"])
    assert table.rows == [["net", "50.0, late", "50.0, early"]]


def test_json_has_no_nan(primary: Primary) -> None:
    from evonas.core.compression_settings import ProbeSettings

    content = probing.content([primary], ProbeSettings(keep=1), {"data": "d"})
    assert (content["taps"], content["order"], content["data"]) == (
        ["late"],
        ["early", "late"],
        "d",
    )
    score = content["primaries"][0]["found"][1]["held_out"]
    assert score["mae"] is None
    assert score["relative"] == 0.5
    assert content["primaries"][0]["found"][1]["test"] is None


def test_an_envelope_has_each_number_of_filters_once_with_its_lowest_error() -> None:
    counts, errors = probe_pictures.envelope(CURVE)
    assert counts.tolist() == [1, 2, 3, 4]
    assert errors.tolist() == [25, 22, 21, 20]


def test_pictures_are_drawn(primary: Primary, tmp_path: Path) -> None:
    labels = ["yaw", "smile"]
    path = tmp_path / "curves.png"
    probe_pictures.curves(primary, labels, [0.1, 0.01], ["late"], path)
    with Image.open(path) as picture:
        wide = picture.width
    probe_pictures.curves(primary, ["yaw"], [0.1, 0.01], ["late"], path)
    with Image.open(path) as picture:
        assert picture.width < wide, "a panel a label"
    probe_pictures.relations([primary, replace(primary, name="b")], labels, tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 5000
