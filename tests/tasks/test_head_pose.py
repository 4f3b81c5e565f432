"""Head pose: the rotation convention, geodesic errors, the mirror rule, the Huber loss."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from evonas.data.synthetic_faces import SyntheticFaces
from evonas.errors import InputError
from evonas.tasks.head_pose import HeadPose, rotation

ALL = ("yaw", "pitch", "roll")


def matrix(axis: str, degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def row(*values: float) -> NDArray[np.float32]:
    return np.array([values], np.float32)


angle = st.floats(-89.0, 89.0)
turn = st.floats(-179.0, 179.0)


@given(yaw=angle, pitch=turn, roll=turn)
def test_the_rotation_is_rx_pitch_ry_minus_yaw_rz_roll(
    yaw: float, pitch: float, roll: float
) -> None:
    expected = matrix("x", pitch) @ matrix("y", -yaw) @ matrix("z", roll)
    found = rotation(np.array([[yaw, pitch, roll]])).as_matrix()[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    by_scipy = Rotation.from_euler("XYZ", [pitch, -yaw, roll], degrees=True).as_matrix()
    np.testing.assert_allclose(found, by_scipy, atol=1e-12)


@given(yaw=angle, pitch=turn, roll=turn)
def test_the_angles_are_found_again_in_the_matrix(yaw: float, pitch: float, roll: float) -> None:
    r = rotation(np.array([[yaw, pitch, roll]])).as_matrix()[0]
    assert np.degrees(-np.arcsin(r[0, 2])) == pytest.approx(yaw, abs=1e-6)
    assert np.degrees(np.arctan2(-r[0, 1], r[0, 0])) == pytest.approx(roll, abs=1e-6)
    assert np.degrees(np.arctan2(-r[1, 2], r[2, 2])) == pytest.approx(pitch, abs=1e-6)


def test_positive_yaw_turns_the_face_to_the_images_left_and_positive_pitch_lifts_it() -> None:
    """x is to the image's right, y down; the nose of a frontal face is +z of this frame."""
    nose = np.array([0.0, 0.0, 1.0])
    turned = rotation(np.array([[30.0, 0.0, 0.0]])).apply(nose)[0]
    np.testing.assert_allclose(turned, [-0.5, 0.0, np.sqrt(0.75)], atol=1e-12)
    lifted = rotation(np.array([[0.0, 30.0, 0.0]])).apply(nose)[0]
    np.testing.assert_allclose(lifted, [0.0, -0.5, np.sqrt(0.75)], atol=1e-12)


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


def test_the_geodesic_is_arccos_of_the_trace() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-80, 80, (2, 50, 3)).astype(np.float32)
    ra, rb = rotation(a).as_matrix(), rotation(b).as_matrix()
    trace = np.einsum("nij,nij->n", ra, rb)
    expected = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))).mean()
    assert geodesic(HeadPose(ALL), a, b) == pytest.approx(expected, rel=1e-6)
    assert geodesic(HeadPose(ALL), b, a) == pytest.approx(expected, rel=1e-6)


def test_in_profile_yaw_and_roll_exchange_without_geodesic_error() -> None:
    """Gimbal lock: at yaw 90 pitch and roll turn about the same axis."""
    task = HeadPose(ALL)
    one, other = row(90, 20, 0), row(90, 0, -20)
    metrics = task.metrics(one, other)
    same = np.allclose(rotation(one).as_matrix(), rotation(other).as_matrix(), atol=1e-6)
    opposite = task.metrics(one, row(90, 0, 20))["geodesic"]
    assert min(metrics["geodesic"], opposite) == pytest.approx(0.0, abs=1e-3)
    assert metrics["mae"] == pytest.approx(40 / 3, abs=1e-4)
    assert same == (metrics["geodesic"] < 1e-3)


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
    assert HeadPose(ALL).mirrored(row(10, 20, 30)).tolist() == [[-10, 20, -30]]
    assert HeadPose(("pitch", "yaw")).mirrored(row(10, 20)).tolist() == [[-10, 20]]
    assert HeadPose(ALL, ["roll"]).mirrored(row(5)).tolist() == [[-5]]


def test_the_mirror_rule_is_that_of_the_rotation() -> None:
    """Mirroring the image is conjugation with diag(-1, 1, 1)."""
    flip = np.diag([-1.0, 1.0, 1.0])
    pose = row(25, -15, 40)
    expected = flip @ rotation(pose).as_matrix()[0] @ flip
    found = rotation(HeadPose(ALL).mirrored(pose)).as_matrix()[0]
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
    with pytest.raises(InputError, match=r"^task\.angles: the data set labels"):
        HeadPose(labels, angles)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_delta_must_be_a_positive_number(delta: float) -> None:
    with pytest.raises(InputError, match=r"^task\.delta"):
        HeadPose(ALL, delta=delta)


def test_the_constant_on_real_labels_is_the_published_floor(aflw2000_root: Path) -> None:
    """AFLW2000-3D: 1969 of 2000 labels within 99 degrees; the median predictor's errors."""
    with (aflw2000_root / "aflw2000_all_labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([[float(r[f"{a}_deg"]) for a in ALL] for r in rows], np.float32)
    kept = labels[(np.abs(labels) <= 99).all(1)]
    assert (len(labels), len(kept)) == (2000, 1969)
    task = HeadPose(ALL)
    metrics = task.metrics(np.broadcast_to(task.constant(kept), kept.shape), kept)
    assert metrics["mae"] == pytest.approx(17.36, abs=0.01)
    assert metrics["mae_yaw"] == pytest.approx(26.1, abs=0.06)
    assert metrics["mae_pitch"] == pytest.approx(12.5, abs=0.06)
    assert metrics["mae_roll"] == pytest.approx(13.5, abs=0.06)
    zero = task.metrics(np.zeros_like(kept), kept)
    assert zero["mae"] == pytest.approx(17.88, abs=0.01)


def test_five_degrees_of_rotation_on_real_labels_are_less_in_euler_angles(
    aflw2000_root: Path,
) -> None:
    """A pure 5 degree error about a random axis: 3.29 in Euler angles on AFLW2000."""
    with (aflw2000_root / "aflw2000_all_labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([[float(r[f"{a}_deg"]) for a in ALL] for r in rows])
    labels = labels[(np.abs(labels) <= 99).all(1)]
    axes = np.random.default_rng(0).normal(size=labels.shape)
    axes *= np.radians(5) / np.linalg.norm(axes, axis=1, keepdims=True)
    r = (Rotation.from_rotvec(axes) * rotation(labels)).as_matrix()
    moved = np.degrees(
        np.stack(
            [
                -np.arcsin(np.clip(r[:, 0, 2], -1, 1)),
                np.arctan2(-r[:, 1, 2], r[:, 2, 2]),
                np.arctan2(-r[:, 0, 1], r[:, 0, 0]),
            ],
            1,
        )
    )
    usual = np.abs(labels[:, 0]) < 60
    metrics = HeadPose(ALL).metrics(
        moved[usual].astype(np.float32), labels[usual].astype(np.float32)
    )
    assert metrics["geodesic"] == pytest.approx(5.0, abs=1e-3)
    assert metrics["mae"] == pytest.approx(2.70, abs=0.1)
