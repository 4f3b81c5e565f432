"""PCKh: by hand, what is left out, and on the real joints of Leeds Sports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.leeds_sports import JOINTS, LeedsSports
from evonas.errors import InputError
from evonas.tasks.key_points import KeyPoints

POINTS = ("neck", "head_top", "knee")
ROOT = Path(__file__).parents[4] / "shared" / "data" / "lsp_extended_400"


def named(*points: str) -> dict[str, tuple[str, ...]]:
    return {f"{point}.{part}": () for point in points for part in "xyv"}


def rows(points: Any, side: float = 1.0, area: float = 0.0) -> Array:
    """Targets of (n, K, 3) points, each in a photo of its own."""
    flat = np.asarray(points, np.float32).reshape(len(points), -1)
    rest = [[0, 0, side, area, number] for number in range(len(points))]
    return np.concatenate([flat, np.array(rest, np.float32)], axis=1)


def moved(targets: Array, k: int, steps: Any) -> Array:
    """Predictions that are the truth of K points, but for a step (n, K, 2)."""
    points = targets[:, : 3 * k].reshape(len(targets), k, 3).copy()
    points[..., :2] += np.asarray(steps, np.float32)
    return points.reshape(len(points), -1)


def of_pckh(found: Any) -> dict[str, float]:
    return {name: value for name, value in found.items() if name.lower().startswith("pckh")}


def test_pckh_by_hand() -> None:
    """Heads of 0.1 and, aslant (3-4-5), of 0.05, so that points may be off by 0.05 and 0.025.

    Of the first image neck and knee are right (off by 0.04 and 0.046), of the second neck
    and head_top (0.02 and 0.022): 4 of 6.
    """
    targets = rows(
        [
            [[0.5, 0.3, 2], [0.5, 0.2, 2], [0.4, 0.9, 1]],
            [[0.5, 0.3, 2], [0.53, 0.26, 1], [0.4, 0.9, 2]],
        ]
    )
    steps = [[[0.04, 0], [0, 0.06], [0.03, 0.035]], [[0, 0.02], [0.01, -0.02], [0.03, 0]]]
    found = KeyPoints(named(*POINTS)).details(moved(targets, 3, steps), targets)
    assert of_pckh(found) == pytest.approx(
        {"PCKh": 100 * 4 / 6, "pckh_neck": 100, "pckh_head_top": 50, "pckh_knee": 50}
    )


def test_exactly_half_a_head_is_right() -> None:
    targets = rows([[[0.5, 0.5, 2], [0.5, 0.25, 2], [0.25, 0.75, 2]]])
    task = KeyPoints(named(*POINTS))
    for step, right in ((0.125, 100), (0.1251, 200 / 3)):
        found = task.details(moved(targets, 3, [[[0, 0], [0, 0], [step, 0]]]), targets)
        assert found["PCKh"] == pytest.approx(right)


def test_it_does_not_depend_on_the_side_of_the_crop_or_the_area() -> None:
    points = [[[0.5, 0.3, 2], [0.5, 0.2, 2], [0.4, 0.9, 1]]]
    steps = [[[0.04, 0], [0, 0.06], [0.03, 0.035]]]
    task, small, large = KeyPoints(named(*POINTS)), rows(points), rows(points, 300.0, 5000.0)
    first, second = (task.details(moved(t, 3, steps), t) for t in (small, large))
    assert of_pckh(first) == of_pckh(second)
    assert "AP" in second
    assert "AP" not in first


def test_images_without_a_head_segment_and_points_without_a_label_are_left_out() -> None:
    """Only the first image has both ends; its knee is not labelled, and all others are wrong."""
    right = [[0.5, 0.3, 2], [0.5, 0.2, 2], [0.4, 0.9, 0]]
    wrong = [
        [[0.5, 0.3, 0], [0.5, 0.2, 2], [0.4, 0.9, 2]],
        [[0.5, 0.3, 2], [0.5, 0.2, 0], [0.4, 0.9, 2]],
        [[0.5, 0.3, 2], [0.5, 0.3, 2], [0.4, 0.9, 2]],
    ]
    targets, task = rows([right, *wrong]), KeyPoints(named(*POINTS))
    steps = np.full((4, 3, 2), 0.3)
    steps[0, :2] = 0
    guess = moved(targets, 3, steps)
    everywhere = {"PCKh": 100.0, "pckh_neck": 100.0, "pckh_head_top": 100.0}
    assert of_pckh(task.details(guess, targets)) == everywhere
    assert of_pckh(task.details(guess[1:], targets[1:])) == {}
    assert of_pckh(task.details(targets[3:], targets[3:])) == {}, "a head without length"


def test_the_head_is_an_option_and_neck_and_head_top_its_default() -> None:
    assert KeyPoints(named(*POINTS)).head == ("neck", "head_top")
    for labels, points in (
        (named("neck", "chin"), None),
        (named("nose"), None),
        (named(*POINTS), ("neck", "knee")),
    ):
        task = KeyPoints(labels, points=points)
        assert task.head is None
        assert not any("pckh" in name.lower() for name in task.higher_is_better)
        targets = rows(np.full((2, len(task.points), 3), 0.5))
        assert of_pckh(task.details(targets, targets)) == {}
    own = registry.create("task", "key_points", {"head": ["chin", "crown"]}, named("chin", "crown"))
    assert own.head == ("chin", "crown")
    assert {"PCKh", "pckh_chin", "pckh_crown", "oks", "AP"} <= own.higher_is_better
    assert "PCKh" not in KeyPoints.higher_is_better, "one task's points are not another's"


@pytest.mark.parametrize("head", [("neck", "neck"), ("neck", "hat"), ("hat", "neck")])
def test_a_head_has_two_ends_that_are_learnt(head: tuple[str, str]) -> None:
    with pytest.raises(
        InputError, match=r"^task\.head: expected the two ends of the head, of neck"
    ):
        KeyPoints(named(*POINTS), head=head)


@pytest.fixture(scope="module")
def joints(tmp_path_factory: pytest.TempPathFactory) -> LeedsSports:
    if not ROOT.is_dir():
        pytest.skip(f"the real data {ROOT} is not there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        return LeedsSports(str(ROOT))


@pytest.mark.parametrize(("heads", "right"), [(0.0, 100.0), (0.49, 100.0), (0.51, 0.0)])
def test_on_real_joints_half_a_head_divides_right_from_wrong(
    joints: LeedsSports, heads: float, right: float
) -> None:
    task = KeyPoints(joints.schema())
    targets = task.targets(joints)
    points = targets[:, : 3 * len(JOINTS)].reshape(len(joints), -1, 3).astype(np.float64)
    neck, top = (points[:, JOINTS.index(name)] for name in ("neck", "head_top"))
    whole = (neck[:, 2] > 0) & (top[:, 2] > 0)
    assert 300 < whole.sum() < 400, "some have no head segment"
    length = np.linalg.norm(neck[:, :2] - top[:, :2], axis=1)
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, points.shape[:2])
    way = np.stack([np.cos(angle), np.sin(angle)], -1)
    guess = moved(targets, len(JOINTS), heads * length[:, None, None] * way)
    guess[~whole] = 5.0  # far away, and not looked at
    found = of_pckh(task.details(guess, targets))
    assert found == dict.fromkeys(["PCKh", *(f"pckh_{joint}" for joint in JOINTS)], right)
