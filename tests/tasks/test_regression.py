"""Regression: the scale from the training set, losses, errors and R2, the mirror."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.regression import Regression

SCHEMA: dict[str, tuple[str, ...]] = {
    "yaw": (),
    "age": (),
    "emotion": ("neutral", "happy"),
    "nose.x": (),
    "nose.y": (),
    "nose.v": (),
    "box.left": (),
    "box.side": (),
    "image": (),
    "area": (),
    "identity": (),
}


class Ages(Dataset):
    def __init__(self, **labels: list[float]) -> None:
        self.labels = {name: np.array(values, np.float32) for name, values in labels.items()}
        self.groups = np.array([str(i) for i in range(len(next(iter(labels.values()))))])

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def made(**options: Any) -> Regression:
    options = {"labels": ["age"], **options}
    task: Regression = registry.create("task", "regression", options, SCHEMA)
    return task


def column(*values: float) -> Array:
    return np.array(values, np.float32)[:, None]


def test_all_quantities_are_learnt_but_points_boxes_and_bookkeeping() -> None:
    assert Regression(SCHEMA).labels == ("yaw", "age")
    assert made().labels == ("age",)
    task = made(labels=["age", "yaw"])
    assert task.labels == ("age", "yaw")
    targets = task.targets(Ages(yaw=[1, 2], age=[30, 40]))
    assert targets.tolist() == [[30, 1], [40, 2]]
    assert targets.dtype == np.float32
    assert Regression(SCHEMA, ("area",)).labels == ("area",)


def test_the_scale_is_that_of_the_training_targets() -> None:
    targets = np.array([[20, 1000], [30, 3000], [70, 2000]], np.float32)
    draft = made(labels=["age", "yaw"])
    settled = draft.fit_options(targets)
    assert settled["centre"] == pytest.approx([40, 2000])
    assert settled["scale"] == pytest.approx(np.std(targets, axis=0).tolist())
    task = made(labels=["age", "yaw"], **json.loads(json.dumps(settled)))
    assert task.fit_options(targets) == {}
    standard = task.predictions(np.array([[0, 0], [1, -1]], np.float32))
    spread = targets.std(0)
    np.testing.assert_allclose(
        standard, [[40, 2000], [40 + spread[0], 2000 - spread[1]]], rtol=1e-6
    )
    assert standard.dtype == np.float32
    perfect = ((targets - targets.mean(0)) / spread).astype(np.float32)
    np.testing.assert_allclose(task.predictions(perfect), targets, rtol=1e-5)
    assert float(task.loss(torch.from_numpy(perfect), torch.from_numpy(targets))) < 1e-9
    assert made(centre=[5.0]).fit_options(column(1, 3)) == {"scale": [1.0]}
    assert made(scale=[2.0]).fit_options(column(7, 7)) == {"centre": [7.0]}


def test_a_label_that_does_not_vary_is_refused() -> None:
    targets = np.array([[20, 5], [30, 5]], np.float32)
    expected = r"^task\.labels: [^\n]*'yaw' with 5 for each of 2 training images: [^\n]+$"
    with pytest.raises(InputError, match=expected):
        made(labels=["age", "yaw"]).fit_options(targets)


def test_without_a_scale_nothing_is_learnt() -> None:
    with pytest.raises(InputError, match=r"^task\.centre and task\.scale: [^\n]+$"):
        made().loss(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(InputError, match=r"^task\.centre and task\.scale: [^\n]+$"):
        made(centre=[1.0]).predictions(np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Centre 40, scale 10: differences of 0.5 and -3 standard deviations.
        ({"loss": "l1"}, (0.5 + 3) / 2),
        ({"loss": "l2"}, (0.25 + 9) / 2),
        ({"loss": "huber"}, (0.125 + 2.5) / 2),
        ({"loss": "huber", "delta": 0.2}, (0.2 * 0.4 + 0.2 * 2.9) / 2),
        ({"loss": "huber", "delta": 5.0}, (0.125 + 4.5) / 2),
    ],
)
def test_the_losses_by_hand(options: dict[str, Any], expected: float) -> None:
    task = made(centre=[40.0], scale=[10.0], **options)
    outputs, targets = torch.tensor([[1.5], [-2.0]]), torch.tensor([[50.0], [50.0]])
    assert float(task.loss(outputs, targets)) == pytest.approx(expected)


def test_errors_by_hand() -> None:
    task = made(labels=["age", "yaw"])
    truth = np.array([[20, 0], [40, 10], [60, 20]], np.float32)
    guess = np.array([[23, 0], [36, 10], [60, 20]], np.float32)
    metrics = task.metrics(guess, truth)
    assert set(metrics) == {"mae", "rmse", "mae_age", "mae_yaw", "r2"}
    assert metrics["mae_age"] == pytest.approx(7 / 3)
    assert metrics["mae_yaw"] == 0.0
    assert metrics["mae"] == pytest.approx(7 / 6)
    assert metrics["rmse"] == pytest.approx(np.sqrt(25 / 3) / 2)
    details = task.details(guess, truth)
    assert details["r2_age"] == pytest.approx(1 - 25 / 800)
    assert details["r2_yaw"] == 1.0
    assert details["r2"] == pytest.approx(1 - 25 / 1600)
    assert details["rmse_age"] == pytest.approx(np.sqrt(25 / 3))
    assert {"r2", "r2_age", "r2_yaw"} == task.higher_is_better


@pytest.fixture(scope="module")
def oracle() -> Any:
    """scikit-learn's metrics; a second of import, so that evonas itself does without."""
    return pytest.importorskip("sklearn.metrics")


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 30))
def test_scikit_learn_finds_the_same(oracle: Any, seed: int, n: int) -> None:
    truth, guess = np.random.default_rng(seed).normal(50, 10, (2, n, 2)).astype(np.float32)
    details = made(labels=["age", "yaw"]).details(guess, truth)
    wide = truth.astype(np.float64), guess.astype(np.float64)
    assert details["r2"] == pytest.approx(oracle.r2_score(*wide))
    each = oracle.r2_score(*wide, multioutput="raw_values")
    assert [details["r2_age"], details["r2_yaw"]] == pytest.approx(each.tolist())
    assert details["mae"] == pytest.approx(oracle.mean_absolute_error(*wide))
    assert details["rmse"] == pytest.approx(oracle.root_mean_squared_error(*wide))


def test_where_nothing_varies_there_is_no_r2() -> None:
    task = made(labels=["age", "yaw"])
    truth = np.array([[0.1, 0], [0.1, 10], [0.1, 20]], np.float32)
    details = task.details(truth + 1, truth)
    assert "r2_age" not in details
    assert details["r2"] == details["r2_yaw"] == pytest.approx(1 - 3 / 200)
    alone = task.details(truth[:1] + 1, truth[:1])
    assert not {"r2", "r2_age", "r2_yaw"} & set(alone)
    assert all(np.isfinite(value) for value in alone.values())


def test_predicting_the_mean_has_an_r2_of_zero() -> None:
    truth = column(1, 2, 6)
    assert made().metrics(column(3, 3, 3), truth)["r2"] == pytest.approx(0.0)


def test_the_constant_is_the_median() -> None:
    assert made().constant_baseline(column(1, 2, 60)).tolist() == [2.0]


def test_the_mirror_changes_the_sign_of_what_is_odd() -> None:
    rows = np.array([[30, 20]], np.float32)
    assert made(labels=["age", "yaw"]).flip_targets(rows).tolist() == [[30, -20]]
    assert made(labels=["age", "yaw"], odd=["age"]).flip_targets(rows).tolist() == [[-30, 20]]
    assert made(labels=["age", "yaw"], odd=[]).flip_targets(rows).tolist() == [[30, 20]]


def test_the_unit_is_the_users() -> None:
    assert made(unit="years").unit == "years"
    assert made().unit == ""


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"labels": ["emotion"]}, "labels"),
        ({"labels": ["nose.x"]}, "labels"),
        ({"labels": ["box.left"]}, "labels"),
        ({"labels": ["aeg"]}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": ["age", "age"]}, "labels"),
        ({"delta": 0.0}, "delta"),
        ({"delta": float("nan")}, "delta"),
        ({"loss": "hinge"}, "loss"),
        ({"centre": [1.0, 2.0]}, "centre"),
        ({"centre": [float("nan")]}, "centre"),
        ({"scale": [0.0]}, "scale"),
        ({"scale": [-1.0]}, "scale"),
        ({"odd": ["yaw"]}, "odd"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=rf"^task\.{key}: [^\n]+, got [^\n]+$"):
        made(**options)


def test_a_data_set_without_quantities_is_refused() -> None:
    with pytest.raises(InputError, match=r"^task\.labels: [^\n]*got none[^\n]*$"):
        Regression({"emotion": ("neutral", "happy"), "nose.x": ()})


def test_the_outputs_of_what_is_odd_are_mirrored_about_zero_and_not_about_the_centre() -> None:
    """A yaw of 15 = 10 + 0.5 * 10 becomes -15 = 10 - 2.5 * 10; the age stays."""
    task = made(labels=["age", "yaw"], centre=[40, 10], scale=[5, 10])
    assert task.unflip_outputs(np.array([[1, 0.5]], np.float32)).tolist() == [[1, -2.5]]
    with pytest.raises(InputError, match="fit_options"):
        made(labels=["yaw"]).unflip_outputs(np.zeros((0, 1), np.float32))
