"""Key points: discovery, mirror and crop rules, heat maps and their decoding, OKS and AP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from point_targets import EYES, named, rendered, rows

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.tasks.common.object_keypoint_similarity import COCO_SIGMAS, Detection, Truth, evaluate
from evonas.tasks.key_points import KeyPoints

FILE = Path(__file__).parents[3] / "shared/data/coco_samples/coco/test_coco.json"


class Labelled(Dataset):
    """Labels without pictures."""

    def __init__(self, **labels: Any) -> None:
        given = {name.replace("__", "."): values for name, values in labels.items()}
        self.labels = {name: np.asarray(values, np.float32) for name, values in given.items()}
        self.groups = np.arange(len(next(iter(self.labels.values())))).astype(str)

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def test_points_are_found_in_the_labels() -> None:
    labels = {**named(*EYES), "yaw": (), "lone.x": (), "box.left": (), "area": ()}
    task = KeyPoints(labels)
    assert (task.points, task.n_outputs, task.dense) == (EYES, 3, True)
    assert KeyPoints(labels, points=("right_eye", "left_eye")).points == EYES[1:]
    assert registry.create("task", "key_points", {"points": ["nose"]}, labels).points == ("nose",)


@pytest.mark.parametrize(
    ("labels", "points"),
    [({}, None), ({"yaw": ()}, None), (named("nose"), ("ear",)), (named("nose"), ())],
)
def test_points_that_are_not_labelled_are_refused(labels: Any, points: Any) -> None:
    with pytest.raises(
        InputError, match=r"^task\.points: expected some of the labelled key points"
    ):
        KeyPoints(labels, points=points)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_eye", "right_eye"), [("left_eye", "right_eye")]),
        (("r_hip", "head", "l_hip"), [("r_hip", "l_hip")]),
        (("knee_left", "knee_right"), [("knee_left", "knee_right")]),
        (("left_eye_left", "right_eye_right"), [("left_eye_left", "right_eye_right")]),
        (("leftmost", "rim", "lip"), []),
    ],
)
def test_pairs_are_read_from_names(names: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    assert list(KeyPoints(named(*names)).pairs) == pairs


def test_a_side_alone_needs_its_partner_or_named_pairs() -> None:
    with pytest.raises(InputError, match="'left_eye' needs 'right_eye' for mirrored images"):
        KeyPoints(named(*EYES), points=("left_eye",))
    assert KeyPoints(named(*EYES), points=("left_eye",), pairs=()).pairs == ()
    odd = KeyPoints(named("a", "b"), pairs=(("a", "b"),))
    once = odd.flip_targets(rows([[[0.25, 0, 1], [0.5, 0, 2]]]))
    assert once[0, :6].tolist() == [0.5, 0, 2, 0.75, 0, 1]


@pytest.mark.parametrize("pairs", [(("a", "c"),), (("a", "a"),), (("a", "b"), ("b", "a"))])
def test_pairs_join_two_points_once(pairs: Any) -> None:
    with pytest.raises(InputError, match=r"^task\.pairs: expected pairs of a, b"):
        KeyPoints(named("a", "b"), pairs=pairs)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 1.0, float("nan"), float("inf")])
def test_sigma_is_a_share_of_the_map(sigma: float) -> None:
    with pytest.raises(InputError, match=r"^task\.sigma"):
        KeyPoints(named("a"), sigma=sigma)


def test_sigmas_of_the_oks_are_cocos_by_name() -> None:
    task = KeyPoints(named("left_hip", "right_hip", "chin"), sigmas={"right_hip": 0.5})
    assert task.sigmas == (0.107, 0.5, 0.05)
    for wrong in ({"ear": 0.1}, {"chin": 0.0}, {"chin": float("inf")}, {"chin": float("nan")}):
        with pytest.raises(InputError, match=r"^task\.sigmas"):
            KeyPoints(named("chin"), sigmas=wrong)


def test_targets_with_and_without_boxes() -> None:
    point = {"a__x": [0.1, 0.2], "a__y": [0.3, 0.4]}
    task = KeyPoints(named("a"))
    bare = task.targets(Labelled(**point, area=[5.0, 5.0]))
    assert bare.dtype == np.float32
    np.testing.assert_allclose(bare[1], [0.2, 0.4, 2, 0, 0, 1, 0, 1], rtol=1e-6)
    box = {"box__left": [10, 20], "box__top": [30, 40], "box__side": [50, 60]}
    full = Labelled(**point, a__v=[0, 1], **box, area=[900, -1], image=[7, 8])
    expected = [[0.1, 0.3, 0, 10, 30, 50, 900, 7], [0.2, 0.4, 1, 20, 40, 60, 0, 8]]
    np.testing.assert_allclose(task.targets(full), expected, rtol=1e-6)
    box["box__side"][1] = 0
    with pytest.raises(InputError, match=r"'box.side' above 0, got 0.0 for image 1"):
        task.targets(Labelled(**point, **box))


def test_mirrored_points_change_sides_and_names() -> None:
    task = KeyPoints(named(*EYES))
    before = rows([[[0.5, 0.6, 2], [0.25, 0.1, 1], [0.875, 0.2, 0]]], (10, 20, 30), 400, 5)
    once = task.flip_targets(before)
    np.testing.assert_array_equal(
        once, rows([[[0.5, 0.6, 2], [0.125, 0.2, 0], [0.75, 0.1, 1]]], (10, 20, 30), 400, 5)
    )
    np.testing.assert_array_equal(task.flip_targets(once), before)


def test_moved_points_are_told_in_sides_of_the_new_crop() -> None:
    task = KeyPoints(named("a"))
    corner, side = np.array([[0.25, -0.5]], np.float32), np.array([0.5], np.float32)
    before = rows([[[0.5, 0.25, 2]]], (1, 2, 3), 4, 5)
    moved = rows([[[0.5, 1.5, 2]]], (1, 2, 3), 4, 5)
    np.testing.assert_array_equal(task.crop_targets(before, corner, side), moved)
    np.testing.assert_array_equal(before, rows([[[0.5, 0.25, 2]]], (1, 2, 3), 4, 5))


@pytest.mark.parametrize("name", ["jitter1", "jitter2_flip"])
def test_a_dot_of_a_view_is_where_its_target_says(name: str) -> None:
    """Against the pictures: a white dot, jittered and mirrored, is found by its centroid."""
    view, task = View.parse(name), KeyPoints(named("a"))
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[84:96, 124:136] = 255
    seen = view.apply(picture, 0, 200, margin=0.2).astype(float).mean(2)
    weight = seen - np.median(seen)
    y, x = (np.indices(seen.shape) + 0.5).reshape(2, -1) @ weight.ravel() / weight.sum() / 200
    plain = rows([[[(130 / 200 - 0.2) / 0.6, (90 / 200 - 0.2) / 0.6, 2]]])
    target = task.crop_targets(plain, *view.crops(1))
    target = task.flip_targets(target) if view.flip else target
    np.testing.assert_allclose(target[0, :2], [x, y], atol=0.004)


@pytest.mark.parametrize(("h", "w", "sigma"), [(64, 48, 1 / 32), (16, 16, 0.1), (8, 12, 1 / 32)])
def test_maps_of_zeros_have_a_loss_of_one_and_the_gaussians_none(
    h: int, w: int, sigma: float
) -> None:
    task = KeyPoints(named("a", "b"), sigma=sigma)
    points = [[[0.5, 0.45, 2], [0.55, 0.5, 1]]]
    targets = torch.from_numpy(rows(points))
    assert float(task.loss(torch.zeros(1, 2, h, w), targets)) == pytest.approx(1.0, abs=0.01)
    perfect = torch.from_numpy(rendered(task, points, h, w)).float()
    assert float(task.loss(perfect, targets)) < 1e-10


def test_the_gaussian_has_two_cells_of_64_and_never_less_than_one() -> None:
    task = KeyPoints(named("a"))
    for side, cells in ((64, 2.0), (128, 4.0), (16, 1.0), (8, 1.0)):
        middle = (side // 2 + 0.5) / side
        gaussian = torch.exp(-0.5 * ((torch.arange(side) - side // 2) / cells) ** 2)
        target = torch.from_numpy(rows([[[middle, middle, 2]]]))
        assert float(task.loss(torch.outer(gaussian, gaussian)[None, None], target)) < 1e-6


def test_points_without_label_or_outside_the_crop_are_not_learnt() -> None:
    task = KeyPoints(named("a", "b", "c", "d", "e", "f"))
    outside = [[1.01, 0.5, 2], [-0.01, 0.5, 2], [0.5, 1.01, 1], [0.5, -0.01, 1]]
    points = [[[0.5, 0.5, 2], [0.5, 0.5, 0], *outside]]
    outputs = torch.randn(1, 6, 16, 16, requires_grad=True)
    loss = task.loss(outputs, torch.from_numpy(rows(points)))
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum((2, 3)).gt(0).tolist() == [[True] + [False] * 5]
    alone = KeyPoints(named("a")).loss(outputs[:, :1], torch.from_numpy(rows([points[0][:1]])))
    torch.testing.assert_close(alone, loss)
    nothing = task.loss(outputs, torch.from_numpy(rows(np.zeros((1, 6, 3)))))
    assert float(nothing.detach()) == 0.0


share = st.floats(0.0, 1.0)


@settings(max_examples=400)
@given(x=share, y=share, h=st.integers(2, 70), w=st.integers(2, 70), sigma=st.floats(0.01, 0.15))
def test_a_gaussian_is_read_off_within_a_twentieth_of_a_cell(
    x: float, y: float, h: int, w: int, sigma: float
) -> None:
    """Anywhere in the map, its border included."""
    task = KeyPoints(named("a"), sigma=sigma)
    found = task.predictions(rendered(task, [[[x, y]]], h, w).astype(np.float32))
    assert found.dtype == np.float32
    assert found.shape == (1, 3)
    assert abs(found[0, 0] - x) * w < 0.05
    assert abs(found[0, 1] - y) * h < 0.05
    assert 0.7 < found[0, 2] <= 1.0


@settings(max_examples=100)
@given(x=st.floats(0.2, 0.8), y=st.floats(0.2, 0.8), wider=st.floats(1.0, 1.8))
def test_a_blurred_peak_inside_is_read_off_as_well(x: float, y: float, wider: float) -> None:
    """The curvature is that of the map, not the one of the Gaussian that was asked for."""
    blurred = KeyPoints(named("a"), sigma=wider / 32)
    maps = 0.3 * rendered(blurred, [[[x, y]]], 64, 48).astype(np.float32)
    found = KeyPoints(named("a")).predictions(maps)[0]
    assert abs(found[0] - x) * 48 < 0.05
    assert abs(found[1] - y) * 64 < 0.05
    assert found[2] == pytest.approx(0.3, rel=0.15)


def test_a_tilted_peak_is_read_off_with_its_cross_term() -> None:
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    for _ in range(20):
        cx, cy = 16.5 + rng.uniform(-0.2, 0.2, 2)
        u, v = (x - cx) / 2, (y - cy) / 2
        maps = np.exp(-0.6 * (u * u + u * v + v * v)).astype(np.float32)[None, None]
        found = KeyPoints(named("a")).predictions(maps)[0]
        np.testing.assert_allclose(found[:2] * 32, [cx, cy], atol=0.02)


def test_maps_that_no_gaussian_made_are_read_without_complaint() -> None:
    """What an untrained network gives; warnings are errors here."""
    task, rng = KeyPoints(named("a", "b")), np.random.default_rng(0)
    for h, w in ((1, 1), (1, 5), (4, 1), (7, 9)):
        noise = rng.normal(0, 1, (3, 2, h, w))
        for maps in (0 * noise, 0 * noise - 1, noise, 1e-30 * noise, 1e30 * noise):
            found = task.predictions(maps.astype(np.float32)).reshape(3, 2, 3)
            assert np.isfinite(found).all()
            assert ((found[..., :2] >= 0) & (found[..., :2] <= 1)).all()
    assert task.predictions(np.ones((1, 2, 1, 1), np.float32)).tolist() == [[0.5, 0.5, 1] * 2]


def test_the_oks_by_hand() -> None:
    """Off by 2 sigma sqrt(area): exp(-1/2); one point right, one without label."""
    task = KeyPoints(named("a", "b", "c"))
    targets = rows([[[0.5, 0.5, 2], [0.2, 0.2, 1], [0.9, 0.9, 0]]], (0, 0, 200), 100**2)
    off = 2 * 0.05 * 100 / 200
    found = task.metrics(np.array([[0.5 + off, 0.5, 1, 0.2, 0.2, 1, 0, 0, 1]], "f4"), targets)
    assert found["oks"] == pytest.approx(100 * (1 + np.exp(-0.5)) / 2, rel=1e-5)
    assert found["error"] == pytest.approx(100 - found["oks"])
    assert found["nme"] == pytest.approx(100 * off / 2, rel=1e-5)
    assert set(found) == {"error", "oks", "nme"}
    assert "error" not in task.higher_is_better
    assert "oks" in task.higher_is_better


def test_without_area_a_fifth_of_the_crop_stands_for_it() -> None:
    task = KeyPoints(named("a"))
    off = 2 * 0.05 * np.sqrt(0.2)
    guess = np.array([[0.5, 0.5 - off, 1]], np.float32)
    for box in ((0, 0, 1), (30, 40, 500)):
        found = task.metrics(guess, rows([[[0.5, 0.5, 2]]], box))
        assert found["oks"] == pytest.approx(100 * np.exp(-0.5), rel=1e-5)


def test_images_without_a_labelled_point_are_not_judged() -> None:
    task = KeyPoints(named("a"))
    targets = rows([[[0.5, 0.5, 2]], [[0.5, 0.5, 0]]])
    guess = np.array([[0.5, 0.5, 1], [0.9, 0.9, 1]], np.float32)
    assert task.metrics(guess, targets)["error"] == pytest.approx(0.0)
    with pytest.raises(InputError, match="expected a labelled point among a, got none in 1"):
        task.metrics(guess[1:], targets[1:])


def test_details_without_areas_have_no_average_precision() -> None:
    task = KeyPoints(named("a", "b"))
    targets = rows([[[0.5, 0.5, 2], [0.1, 0.1, 0]]])
    found = task.details(np.array([[0.6, 0.5, 1, 0, 0, 1]], np.float32), targets)
    assert set(found) == {"error", "oks", "nme", "nme_a"}
    assert found["nme_a"] == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.04, 0.08])
def test_details_give_cocos_average_precision_in_photo_pixels(noise: float) -> None:
    if not FILE.is_file():
        pytest.skip(f"the real annotations {FILE} are not there")
    people = json.loads(FILE.read_text(encoding="utf-8"))["annotations"]
    people = [one for one in people if one["num_keypoints"]]
    rng = np.random.default_rng(3)
    labels: dict[str, list[float]] = {}
    truths, detections, predictions = [], [], []
    for one in people:
        points = np.array(one["keypoints"], float).reshape(-1, 3)
        left, top, *size = one["bbox"]
        side = 1.25 * max(size)
        corner = np.array([left, top]) + np.array(size) / 2 - side / 2
        score = rng.random(17)
        found = points[:, :2] + rng.normal(0, noise, (17, 2)) * np.sqrt(one["area"])
        box = (left, top, size[0], size[1])
        truths.append(Truth(one["image_id"], points, one["area"], box))
        detections.append(Detection(one["image_id"], found, score.mean()))
        predictions.append(np.column_stack([(found - corner) / side, score]).ravel())
        row = {"box.left": corner[0], "box.top": corner[1], "box.side": side}
        row |= {"area": one["area"], "image": one["image_id"]}
        for name, (x, y, v) in zip(COCO_SIGMAS, points, strict=True):
            row |= {f"{name}.x": (x - corner[0]) / side, f"{name}.y": (y - corner[1]) / side}
            row[f"{name}.v"] = v
        for key, value in row.items():
            labels.setdefault(key, []).append(value)
    data = Labelled(**labels)
    task = KeyPoints(data.labels)  # type: ignore[arg-type]
    details = task.details(np.array(predictions, np.float32), task.targets(data))
    expected = evaluate(truths, detections, task.sigmas)
    for name in ("AP", "AP50", "AP75", "AR"):
        assert details[name] == pytest.approx(100 * expected[name], abs=1e-6), name
    assert details["AP"] > 99.9 if noise == 0 else details["AP"] < 100
    assert sum(name.startswith("nme_") for name in details) == 17


def test_the_constant_climbs_from_the_median_to_the_best_oks() -> None:
    task, rng = KeyPoints(named("a", "b", "c")), np.random.default_rng(0)
    points = np.full((300, 3, 3), 2.0)
    points[:, 0, :2] = rng.normal([0.3, 0.6], 0.03, (300, 2))
    points[:, 1, :2] = rng.gamma(2.0, 0.05, (300, 2))  # the mode is left of the median
    points[:, 1, 2] = rng.integers(0, 3, 300)
    points[:, 2, 2] = 0
    targets = rows(points)
    guess = task.constant_baseline(targets)
    assert guess.shape == targets.shape[1:]
    np.testing.assert_allclose(guess[:2], [0.3, 0.6], atol=0.01)
    assert guess[6:8].tolist() == [0.5, 0.5]
    median = np.zeros_like(guess)
    median[:6] = np.median(points[:, :2], axis=0).ravel()
    seen = points[:, 1, 2] > 0
    median[3:5] = np.median(points[seen, 1, :2], axis=0)

    def oks(row: Array) -> float:
        return task.metrics(np.broadcast_to(row, targets.shape), targets)["oks"]

    assert oks(guess) > oks(median)
    steps = [(i, step) for i in (0, 1, 3, 4) for step in (-0.01, 0.01)]
    assert all(
        oks(guess + step * np.eye(len(guess), dtype="f4")[i]) < oks(guess) for i, step in steps
    )
