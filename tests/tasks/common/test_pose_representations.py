"""Bins and rotations: hand-written oracles, edges, and gradients where formulas break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from evonas.core import registry, rotations
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.common.pose_representations import AngleBins, Rotation6D, distance
from evonas.tasks.head_pose import HeadPose

ALL = {"yaw": (), "pitch": (), "roll": ()}


class Poses(Dataset):
    def __init__(self, yaw: list[float]) -> None:
        self.labels = {"yaw": np.array(yaw, np.float32), "pitch": np.zeros(len(yaw), np.float32)}
        self.groups = np.array([str(i) for i in range(len(yaw))])

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


# Bins


@pytest.mark.parametrize(
    ("angle", "index"),
    [
        (-99.0, 0),
        (-96.0001, 0),
        (-96.0, 1),
        (-1e-6, 32),
        (0.0, 33),
        (2.9999, 33),
        (95.9999, 64),
        (96.0, 65),
        (98.99, 65),
    ],
)
def test_the_bins_are_those_of_digitize(angle: float, index: int) -> None:
    assert np.digitize(angle, range(-99, 102, 3)) - 1 == index
    assert AngleBins.bins(torch.tensor([[angle]])).tolist() == [[index]]


@given(st.floats(-99, 99, exclude_max=True, width=32))
def test_the_bins_of_any_angle_are_those_of_digitize(angle: float) -> None:
    expected = int(np.digitize(angle, range(-99, 102, 3))) - 1
    assert AngleBins.bins(torch.tensor([[angle]])).item() == expected


@pytest.mark.parametrize("index", [0, 1, 32, 33, 65])
def test_the_expectation_of_a_sure_bin_is_its_left_edge(index: int) -> None:
    logits = np.full((1, 66), -1e4, np.float32)
    logits[0, index] = 1e4
    task = HeadPose({"yaw": ()}, output="bins")
    assert task.predictions(logits).tolist() == [[3.0 * index - 99.0]]
    even = task.predictions(np.zeros((1, 66), np.float32))
    assert even[0, 0] == pytest.approx(-1.5, abs=1e-4)


def published(outputs: NDArray[np.float64], degrees: NDArray[np.float64], alpha: float) -> float:
    """HopeNet's loss, spelt out."""
    total = 0.0
    for k in range(degrees.shape[1]):
        logits = outputs[:, 66 * k : 66 * (k + 1)]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        bins = np.digitize(degrees[:, k], range(-99, 102, 3)) - 1
        entropy = -np.log(shares[np.arange(len(bins)), bins]).mean()
        expected = (shares * np.arange(66)).sum(1) * 3 - 99
        total += entropy + alpha * ((expected - degrees[:, k]) ** 2).mean()
    return total


@pytest.mark.parametrize("alpha", [1.0, 2.0, 0.001])
def test_the_loss_of_bins_is_the_published_one(alpha: float) -> None:
    rng = np.random.default_rng(0)
    outputs, degrees = rng.normal(0, 2, (7, 198)), rng.uniform(-99, 98.9, (7, 3))
    task = HeadPose(ALL, output="bins", alpha=alpha)
    assert task.n_outputs == 198
    found = task.loss(torch.from_numpy(outputs), torch.from_numpy(degrees))
    assert float(found) == pytest.approx(published(outputs, degrees, alpha), rel=1e-6)
    single = task.loss(torch.from_numpy(outputs).float(), torch.from_numpy(degrees).float())
    assert float(single) == pytest.approx(published(outputs, degrees, alpha), rel=1e-4)


def test_the_bins_of_an_angle_stand_side_by_side() -> None:
    outputs = np.full((1, 132), -1e4, np.float32)
    outputs[0, 40] = outputs[0, 66 + 20] = 1e4
    task = HeadPose(ALL, ["yaw", "pitch"], output="bins")
    assert task.predictions(outputs).tolist() == [[21.0, -39.0]]


@pytest.mark.parametrize("angle", [99.0, 120.0, -99.01, -180.0])
def test_an_angle_without_bin_is_refused_by_name(angle: float) -> None:
    task = HeadPose({"yaw": (), "pitch": ()}, output="bins")
    expected = rf"^task\.output=bins: [^\n]*yaw {angle:g} for image 1, 2 such images in total"
    with pytest.raises(InputError, match=expected):
        task.targets(Poses([0.0, angle, 5.0, 150.0]))
    for other in ("angles", "rotation6d"):
        assert len(HeadPose(ALL, ["yaw"], other).targets(Poses([angle]))) == 1


def test_the_outermost_bins_are_taken_and_so_are_their_mirror_images() -> None:
    task = HeadPose({"yaw": ()}, output="bins")
    targets = task.targets(Poses([-99.0, 98.99]))
    mirrored = task.flip_targets(targets)
    assert mirrored[0, 0] == 99.0
    loss = task.loss(torch.zeros(2, 66), torch.from_numpy(mirrored))
    assert bool(torch.isfinite(loss))
    assert AngleBins.bins(torch.from_numpy(mirrored)).tolist() == [[65], [0]]


def test_bins_can_be_learnt_between_their_edges() -> None:
    targets = torch.tensor([[-40.0], [0.5], [1.5], [77.25]])
    task = HeadPose({"yaw": ()}, output="bins", alpha=2.0)
    outputs = torch.zeros(4, 66, requires_grad=True)
    optimizer = torch.optim.Adam([outputs], 0.1)
    for _ in range(500):
        optimizer.zero_grad()
        task.loss(outputs, targets).backward()
        optimizer.step()
    np.testing.assert_allclose(task.predictions(outputs.detach().numpy()), targets, atol=0.2)


# Rotations


@given(yaw=st.floats(-89, 89), pitch=st.floats(-170, 170), roll=st.floats(-170, 170))
def test_the_target_is_the_one_convention(yaw: float, pitch: float, roll: float) -> None:
    pose = np.array([[yaw, pitch, roll]])
    found = Rotation6D([0, 1, 2]).target(torch.from_numpy(pose))
    np.testing.assert_allclose(found, rotations.matrices(pose), atol=1e-12)


def test_an_angle_without_label_is_zero_in_the_target() -> None:
    found = Rotation6D([0, 1]).target(torch.tensor([[30.0, -20.0]], dtype=torch.float64))
    np.testing.assert_allclose(found, rotations.matrices([[30.0, -20.0, 0.0]]), atol=1e-12)
    only = Rotation6D([2]).target(torch.tensor([[30.0]], dtype=torch.float64))
    np.testing.assert_allclose(only, rotations.matrices([[0.0, 0.0, 30.0]]), atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_any_six_numbers_are_a_rotation_by_gram_and_schmidt(seed: int) -> None:
    six = np.random.default_rng(seed).normal(0, 1, (10, 6))
    found = Rotation6D.rotation(torch.from_numpy(six)).numpy()
    np.testing.assert_allclose(
        found @ np.swapaxes(found, 1, 2), np.broadcast_to(np.eye(3), (10, 3, 3)), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-6)
    a1, a2 = six[:, :3] + [1, 0, 0], six[:, 3:] + [0, 1, 0]
    b1 = a1 / np.linalg.norm(a1, axis=1, keepdims=True)
    b2 = a2 - (b1 * a2).sum(1, keepdims=True) * b1
    b2 /= np.linalg.norm(b2, axis=1, keepdims=True)
    expected = np.stack([b1, b2, np.cross(b1, b2)], -1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_new_network_looks_straight_ahead() -> None:
    task = HeadPose(ALL, output="rotation6d")
    assert task.n_outputs == 6
    assert task.predictions(np.zeros((1, 6), np.float32)).tolist() == [[0.0, 0.0, 0.0]]
    outputs = torch.zeros(2, 6, requires_grad=True)
    task.loss(outputs, torch.tensor([[30.0, 10.0, 5.0], [-30.0, 0.0, 0.0]])).backward()
    assert outputs.grad is not None
    assert bool((outputs.grad.abs().amax(1) > 0.1).all())


def six_of(poses: NDArray[np.float64]) -> NDArray[np.float32]:
    found = rotations.matrices(poses)
    return np.concatenate([found[:, :, 0] - [1, 0, 0], found[:, :, 1] - [0, 1, 0]], 1).astype(
        np.float32
    )


def test_the_predictions_are_the_labelled_angles_of_the_rotation() -> None:
    poses = np.random.default_rng(0).uniform(-80, 80, (20, 3))
    task = HeadPose(ALL, output="rotation6d")
    found = task.predictions(six_of(poses))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, poses, atol=1e-3)
    # The length of the first vector, and the second's part along it, do not matter.
    six = six_of(poses) + np.float32([1, 0, 0, 0, 1, 0])
    six[:, 3:] = 3 * six[:, 3:] + 0.7 * six[:, :3]
    six[:, :3] *= 2
    again = task.predictions(six - np.float32([1, 0, 0, 0, 1, 0]))
    np.testing.assert_allclose(again, poses, atol=1e-3)


def test_without_a_label_of_roll_pitch_is_known_in_profile() -> None:
    """A rotation 2 degrees off a profile: read with roll, pitch would be anything."""
    poses = np.array([[90.0, 40.0, 0.0], [-90.0, -60.0, 0.0], [30.0, 80.0, 0.0]])
    off = rotations.matrices(np.array([[1.0, 1.0, 2.0]] * 3)) @ rotations.matrices(poses)
    six = np.concatenate([off[:, :, 0] - [1, 0, 0], off[:, :, 1] - [0, 1, 0]], 1)
    two = HeadPose({"yaw": (), "pitch": ()}, output="rotation6d").predictions(
        six.astype(np.float32)
    )
    np.testing.assert_allclose(two, poses[:, :2], atol=4)
    three = HeadPose(ALL, output="rotation6d").predictions(six.astype(np.float32))
    assert np.abs(three[:2, 1] - poses[:2, 1]).max() > 10


def test_unmirrored_outputs_are_the_mirrored_rotation() -> None:
    """S R S with S = diag(-1, 1, 1); six arbitrary numbers, and the labelled angles."""
    task, mirror = HeadPose(ALL, output="rotation6d"), np.diag([-1.0, 1.0, 1.0])
    six = np.random.default_rng(4).normal(0, 2, (200, 6)).astype(np.float32)
    back = task.unflip_outputs(six)
    plain, other = (
        Rotation6D.rotation(torch.from_numpy(o.astype("f8"))).numpy() for o in (six, back)
    )
    np.testing.assert_allclose(other, mirror @ plain @ mirror, atol=1e-9)
    np.testing.assert_allclose(
        task.predictions(back), task.flip_targets(task.predictions(six)), atol=1e-3
    )


def test_bins_have_no_flip_test_since_their_left_edges_are_no_mirror_images() -> None:
    task = HeadPose(ALL, output="bins")
    with pytest.raises(InputError, match=r"task\.output=bins: has no flip test"):
        task.unflip_outputs(np.zeros((0, task.n_outputs), np.float32))
    logits = torch.randn(5, 1, 66)
    expected = -3 - AngleBins.expectation(logits)
    torch.testing.assert_close(AngleBins.expectation(logits.flip(2)), expected)


def test_the_loss_is_the_geodesic_in_radians() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.uniform(-80, 80, (2, 30, 3))
    task = HeadPose(ALL, output="rotation6d")
    loss = float(task.loss(torch.from_numpy(six_of(one)), torch.from_numpy(other).float()))
    expected = rotations.geodesic(rotations.matrices(one), rotations.matrices(other)).mean()
    assert np.degrees(loss) == pytest.approx(expected, rel=1e-5)
    metrics = task.metrics(task.predictions(six_of(one)), other.astype(np.float32))
    assert metrics["geodesic"] == pytest.approx(np.degrees(loss), rel=1e-4)


@pytest.mark.parametrize("degrees", [0.001, 0.1, 1, 45, 90, 135, 179, 179.9, 180])
def test_the_distance_is_right_from_0_to_180(degrees: float) -> None:
    turned = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0, 0.8])).as_matrix()
    found = distance(torch.from_numpy(turned)[None], torch.eye(3, dtype=torch.float64)[None])
    assert np.degrees(float(found)) == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [0.0, 1e-5, 90.0, 179.999, 180.0])
@pytest.mark.parametrize("axis", [1, 2])
def test_gradients_are_finite_and_bounded_at_no_error_and_at_180_degrees(
    axis: int, degrees: float, dtype: torch.dtype
) -> None:
    outputs = torch.zeros(1, 6, dtype=dtype, requires_grad=True)
    targets = torch.zeros(1, 3, dtype=dtype)
    targets[0, axis] = degrees
    loss = HeadPose(ALL, output="rotation6d").loss(outputs, targets)
    assert np.degrees(float(loss.detach())) == pytest.approx(degrees, abs=1e-3)
    loss.backward()
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())
    assert float(outputs.grad.norm()) < 2.0


@pytest.mark.parametrize(
    "six", [[-1, 0, 0, 0, -1, 0], [-1, 0, 0, 0, 0, 0], [0, 0, 0, 1, -1, 0], [0, 0, 0, 0, -1, 0]]
)
def test_vectors_without_direction_give_finite_numbers(six: list[float]) -> None:
    task = HeadPose(ALL, output="rotation6d")
    outputs = torch.tensor([six], dtype=torch.float32, requires_grad=True)
    loss = task.loss(outputs, torch.tensor([[20.0, 10.0, 0.0]]))
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())
    assert np.isfinite(task.predictions(outputs.detach().numpy())).all()


def test_beyond_profile_angles_err_where_the_rotation_does_not() -> None:
    """Yaw comes back within [-90, 90], with pitch and roll turned over."""
    pose = np.array([[95.0, 3.0, -2.0]])
    task = HeadPose(ALL, output="rotation6d")
    found = task.predictions(six_of(pose))
    np.testing.assert_allclose(found, [[85.0, -177.0, 178.0]], atol=1e-2)
    metrics = task.metrics(found, pose.astype(np.float32))
    assert metrics["geodesic"] < 0.01
    assert metrics["mae"] > 100


@pytest.mark.parametrize("output", ["angles", "bins", "distribution", "rotation6d"])
def test_every_output_learns_from_a_linear_layer(output: str) -> None:
    """Yaw and pitch are linear in the input: a few hundred steps must find them."""
    torch.manual_seed(0)
    inputs = torch.randn(200, 4)
    targets = torch.stack([20 * inputs[:, 0], 15 * inputs[:, 1]], 1).clamp(-80, 80)
    schema = {"yaw": (), "pitch": ()}
    task = registry.create("task", "head_pose", {"output": output}, schema)
    layer = torch.nn.Linear(4, task.n_outputs)
    torch.nn.init.normal_(layer.weight, std=0.01)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        task.loss(layer(inputs), targets).backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        found = task.predictions(layer(inputs).numpy())
    constant = np.broadcast_to(task.constant_baseline(targets.numpy()), targets.shape)
    floor = task.metrics(constant, targets.numpy())["mae"]
    assert task.metrics(found, targets.numpy())["mae"] < 0.25 * floor


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_must_be_a_positive_number(alpha: float) -> None:
    with pytest.raises(InputError, match=r"^task\.alpha: [^\n]+$"):
        HeadPose(ALL, output="bins", alpha=alpha)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(InputError, match=r"^task\.output: [^\n]+'quaternion'$"):
        registry.create("task", "head_pose", {"output": "quaternion"}, ALL)
