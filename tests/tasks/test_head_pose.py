"""Head pose: errors and their ranges, the mirror rule, the Huber loss, real labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from evonas.core.rotations import angles as angles_of
from evonas.core.rotations import matrices
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.errors import InputError
from evonas.tasks.head_pose import HeadPose

ANGLES = ("yaw", "pitch", "roll")
ALL = dict.fromkeys(ANGLES, ())


def row(*values: float) -> NDArray[np.float32]:
    return np.array([values], np.float32)


def geodesic(task: HeadPose, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return task.metrics(one, other)["geodesic"]


@pytest.mark.parametrize("degrees", [0.5, 10, 60, 120])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_angle_alone_is_its_geodesic(axis: int, degrees: float) -> None:
    one = np.zeros((1, 3), np.float32)
    one[0, axis] = degrees
    assert geodesic(HeadPose(ALL), one, np.zeros((1, 3), np.float32)) == pytest.approx(
        degrees, abs=1e-4
    )


def test_in_profile_pitch_and_roll_exchange_without_geodesic_error() -> None:
    """Gimbal lock: at yaw 90 pitch and roll turn about the same axis, one against the other."""
    metrics = HeadPose(ALL).metrics(row(90, 20, 0), row(90, 0, -20))
    assert metrics["geodesic"] == pytest.approx(0.0, abs=1e-3)
    assert metrics["mae"] == pytest.approx(40 / 3, abs=1e-4)
    assert HeadPose(ALL).metrics(row(90, 20, 0), row(90, 0, 20))["geodesic"] > 39


def test_errors_are_plain_means_of_absolute_differences() -> None:
    metrics = HeadPose(ALL).metrics(
        np.array([[10, 0, 0], [-10, 4, 1]], np.float32), np.zeros((2, 3), np.float32)
    )
    assert metrics["mae_yaw"] == 10.0
    assert metrics["mae_pitch"] == 2.0
    assert metrics["mae_roll"] == 0.5
    assert metrics["mae"] == pytest.approx(12.5 / 3)
    assert HeadPose(ALL).metrics(row(179, 0, 0), row(-179, 0, 0))["mae_yaw"] == 358.0


def test_an_angle_without_label_counts_as_zero() -> None:
    two = HeadPose(("yaw", "pitch"))
    assert geodesic(two, row(10, 0), row(0, 0)) == pytest.approx(10.0, abs=1e-4)
    assert set(two.metrics(row(1, 2), row(3, 4))) == {"mae", "mae_yaw", "mae_pitch", "geodesic"}


def test_the_mirror_changes_the_sign_of_yaw_and_roll() -> None:
    assert HeadPose(ALL).flip_targets(row(10, 20, 30)).tolist() == [[-10, 20, -30]]
    assert HeadPose(("pitch", "yaw")).flip_targets(row(10, 20)).tolist() == [[-10, 20]]
    assert HeadPose(ALL, ["roll"]).flip_targets(row(5)).tolist() == [[-5]]


def test_the_mirror_rule_is_that_of_the_rotation() -> None:
    """Mirroring the image is conjugation with diag(-1, 1, 1)."""
    flip = np.diag([-1.0, 1.0, 1.0])
    pose = row(25, -15, 40)
    expected = flip @ matrices(pose)[0] @ flip
    found = matrices(HeadPose(ALL).flip_targets(pose))[0]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        # One unit is 45 degrees; delta = 5 degrees = 1/9 unit.
        (0.0, 0.0),
        (3 / 45, 0.5 * (3 / 45) ** 2),
        (5 / 45, 0.5 * (5 / 45) ** 2),
        (-20 / 45, (5 / 45) * (20 / 45 - 0.5 * 5 / 45)),
    ],
)
def test_the_huber_loss_by_hand(output: float, expected: float) -> None:
    task = HeadPose(("yaw",))
    outputs, targets = torch.tensor([[output + 1.0]]), torch.tensor([[45.0]])
    assert float(task.loss(outputs, targets)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_delta_is_an_option_in_degrees() -> None:
    outputs, targets = torch.zeros(1, 1), torch.tensor([[20.0]])
    wide = HeadPose(("yaw",), delta=30.0).loss(outputs, targets)
    assert float(wide) == pytest.approx(0.5 * (20 / 45) ** 2, rel=1e-5)


def test_one_unit_of_output_is_45_degrees() -> None:
    assert HeadPose(("yaw",)).predictions(np.array([[1.0], [-2.0]], np.float32)).tolist() == [
        [45.0],
        [-90.0],
    ]


def test_angles_are_chosen_in_the_order_yaw_pitch_roll() -> None:
    assert HeadPose(("roll", "smile", "yaw")).angles == ("yaw", "roll")
    assert HeadPose(ALL, ["roll", "pitch"]).angles == ("pitch", "roll")
    faces = SyntheticFaces(identities=4, images_per_identity=2, train=0.5, validation=0.5)
    targets = HeadPose(faces.schema(), ["roll", "yaw"]).targets(faces)
    np.testing.assert_array_equal(targets[:, 1], faces.labels["roll"])


@pytest.mark.parametrize(
    ("labels", "angles"),
    [
        (("smile",), None),
        ((), None),
        (("yaw", "pitch"), ["roll"]),
        (ALL, ["yawn"]),
        (ALL, []),
    ],
)
def test_what_is_not_labelled_cannot_be_learnt(
    labels: tuple[str, ...], angles: list[str] | None
) -> None:
    with pytest.raises(InputError, match=r"^task\.angles: expected some of"):
        HeadPose(labels, angles)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_delta_must_be_a_positive_number(delta: float) -> None:
    with pytest.raises(InputError, match=r"^task\.delta"):
        HeadPose(ALL, delta=delta)


# What a test reports


def test_a_pure_yaw_moves_two_of_three_axes() -> None:
    details = HeadPose(ALL).details(row(10, 0, 0), row(0, 0, 0))
    assert details["maev"] == pytest.approx(20 / 3, abs=1e-4)
    assert details["geodesic"] == pytest.approx(10, abs=1e-4)
    rolled = HeadPose(ALL).details(row(40, 20, 0), row(40, 20, -30))
    assert rolled["maev"] == pytest.approx(20, abs=1e-4)


def test_the_error_of_axes_is_the_arccos_of_their_products() -> None:
    a, b = np.random.default_rng(0).uniform(-80, 80, (2, 50, 3)).astype(np.float32)
    products = np.einsum("nij,nij->nj", matrices(a), matrices(b))
    expected = np.degrees(np.arccos(np.clip(products, -1, 1))).mean()
    assert HeadPose(ALL).details(a, b)["maev"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(179, -179, 2), (-170, 170, 20), (90, -90, 180), (10, 5, 5), (400, 0, 40), (0, 180, 180)],
)
def test_the_wrapped_error_goes_round_the_circle_but_half_a_turn_counts(
    one: float, other: float, expected: float
) -> None:
    details = HeadPose(ALL).details(row(0, 0, one), row(0, 0, other))
    assert details["wrapped_mae_roll"] == pytest.approx(expected, abs=1e-4)
    assert details["wrapped_mae"] == pytest.approx(expected / 3, abs=1e-4)
    assert details["mae_roll"] == pytest.approx(abs(one - other), abs=1e-4)


def test_errors_stand_in_the_range_of_the_true_yaw() -> None:
    truth = np.array(
        [[0, 0, 0], [-29.9, 0, 0], [30, 0, 0], [-60, 0, 0], [90, 0, 0], [-90, 0, 0]], np.float32
    )
    wrong = truth.copy()
    wrong[:, 1] += [3, 9, 6, 12, 0, 0]
    details = HeadPose(ALL).details(wrong, truth)
    assert [details[f"n|yaw {span}"] for span in ("0-30", "30-60", "60-90")] == [2, 1, 3]
    assert details["mae|yaw 0-30"] == pytest.approx(2.0, abs=1e-5)
    assert details["mae|yaw 30-60"] == pytest.approx(2.0, abs=1e-5)
    assert details["mae|yaw 60-90"] == pytest.approx(4 / 3, abs=1e-5)
    assert details["geodesic|yaw 0-30"] == pytest.approx(6.0, abs=1e-4)
    assert details["wrapped_mae|yaw 60-90"] == pytest.approx(4 / 3, abs=1e-5)
    assert {key for key in details if ">90" in key} == set()
    two = [HeadPose(ALL).details(wrong[[i]], truth[[i]])["maev"] for i in (0, 1)]
    assert details["maev|yaw 0-30"] == pytest.approx(np.mean(two), rel=1e-6)


def test_a_range_without_images_is_left_out_and_one_beyond_profile_is_added() -> None:
    details = HeadPose(ALL).details(row(95, 0, 0), row(91, 0, 0))
    spans = {key.split("|")[1] for key in details if "|" in key}
    assert spans == {"yaw >90"}
    assert details["n|yaw >90"] == 1.0
    assert details["mae|yaw >90"] == pytest.approx(4 / 3, abs=1e-5)


def test_without_yaw_there_are_no_ranges() -> None:
    details = HeadPose(ALL, ["pitch", "roll"]).details(row(1, 2), row(3, 4))
    assert set(details) == {
        "mae",
        "mae_pitch",
        "mae_roll",
        "geodesic",
        "wrapped_mae",
        "wrapped_mae_pitch",
        "wrapped_mae_roll",
        "maev",
    }


# Real labels


@pytest.fixture(scope="module")
def real_labels(aflw2000_root: Path) -> NDArray[np.float32]:
    """AFLW2000-3D without the images beyond 99 degrees, the usual rule."""
    with (aflw2000_root / "aflw2000_all_labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([[float(r[f"{a}_deg"]) for a in ANGLES] for r in rows], np.float32)
    kept = labels[(np.abs(labels) <= 99).all(1)]
    assert (len(labels), len(kept)) == (2000, 1969)
    return kept


def test_the_constant_on_real_labels_is_the_published_floor(
    real_labels: NDArray[np.float32],
) -> None:
    task = HeadPose(ALL)
    constant = np.broadcast_to(task.constant_baseline(real_labels), real_labels.shape)
    details = task.details(constant, real_labels)
    assert details["mae"] == pytest.approx(17.36, abs=0.005)
    assert details["mae_yaw"] == pytest.approx(26.1, abs=0.05)
    assert details["mae_pitch"] == pytest.approx(12.5, abs=0.05)
    assert details["mae_roll"] == pytest.approx(13.5, abs=0.05)
    counts = {key: value for key, value in details.items() if key.startswith("n|")}
    assert counts == {"n|yaw 0-30": 1311, "n|yaw 30-60": 380, "n|yaw 60-90": 278}
    for name in ("mae", "wrapped_mae", "geodesic", "maev"):
        parts = sum(details[f"{name}|{key[2:]}"] * n for key, n in counts.items())
        assert parts / 1969 == pytest.approx(details[name], rel=1e-9)
    zero = task.metrics(np.zeros_like(real_labels), real_labels)
    assert zero["mae"] == pytest.approx(17.88, abs=0.005)


def test_five_degrees_of_rotation_on_real_labels_are_less_in_euler_angles(
    real_labels: NDArray[np.float32],
) -> None:
    """A pure 5 degree error about a random axis: 3.29 in all, 2.70 up to 60 degrees of yaw."""
    axes = np.random.default_rng(0).normal(size=real_labels.shape)
    axes *= np.radians(5) / np.linalg.norm(axes, axis=1, keepdims=True)
    moved = angles_of(Rotation.from_rotvec(axes).as_matrix() @ matrices(real_labels))
    details = HeadPose(ALL).details(moved.astype(np.float32), real_labels)
    for span in ("", "|yaw 0-30", "|yaw 30-60", "|yaw 60-90"):
        assert details[f"geodesic{span}"] == pytest.approx(5.0, abs=1e-3)
    assert details["mae"] == pytest.approx(3.29, abs=0.15)
    assert details["mae|yaw 60-90"] == pytest.approx(6.88, abs=0.8)
    usual = np.abs(real_labels[:, 0]) < 60
    metrics = HeadPose(ALL).metrics(moved[usual].astype(np.float32), real_labels[usual])
    assert metrics["mae"] == pytest.approx(2.70, abs=0.1)
    # Two of three axes move by about 5, each by less the nearer it is to the one turned about.
    assert 3.5 < details["maev"] < 4.2
