"""The synthetic faces: determinism, conventions, landmarks, splits, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from refusals import refusal_of
from scipy.spatial.transform import Rotation

from evonas.data.rendered_faces import scenes as _scenes
from evonas.data.rendered_faces.head_mesh import EXPRESSION_RANGES, IDENTITY_RANGES, Grid
from evonas.data.rendered_faces.renderer import ZOOM, Person, Scene, render, rotation_matrix
from evonas.data.synthetic_faces import LANDMARK_NAMES, SyntheticFaces, contact_sheet
from evonas.tasks.key_points import KeyPoints

SIZE = 64
POSES = [(0, 0, 0), (40, 0, 0), (0, 30, 0), (0, 0, 25), (-60, 20, -15), (30, -40, 30)]


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return SyntheticFaces(identities=6, images_per_identity=5, train=0.5, validation=0.34, seed=3)


@pytest.fixture(scope="module")
def symmetric() -> Person:
    """A person who is their own mirror image, with long hair and a beard."""
    values = {name: (low + high) / 2 for name, (low, high) in IDENTITY_RANGES.items()}
    values |= {"asymmetry": 0.0, "hair_part": 0.0, "hair_length": 1.2, "beard": 0.8}
    return Person(Grid(), values)


def plain_scene(pose: tuple[float, float, float], **changes: object) -> Scene:
    still = dict.fromkeys(EXPRESSION_RANGES, 0.0)
    background = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    return replace(Scene(*pose, expression=still, background=background), **changes)


def test_images_do_not_depend_on_order_or_batching(faces: SyntheticFaces) -> None:
    batch = faces.images(0, len(faces))
    fresh = SyntheticFaces(identities=6, images_per_identity=5, train=0.5, validation=0.34, seed=3)
    for index in [29, 0, 14, 7, 28, 0]:
        np.testing.assert_array_equal(fresh.image(index), batch[index])
    assert batch.shape == (30, SIZE, SIZE, 3)
    assert batch.dtype == np.uint8
    assert len(np.unique(batch.reshape(30, -1), axis=0)) == 30


def test_an_identity_does_not_depend_on_how_many_there_are(faces: SyntheticFaces) -> None:
    more = SyntheticFaces(identities=9, images_per_identity=5, seed=3)
    np.testing.assert_array_equal(more.image(12), faces.image(12))
    assert more.fingerprint != faces.fingerprint


def test_seed_and_options_change_the_fingerprint() -> None:
    made = [
        SyntheticFaces(identities=8, images_per_identity=2, **options).fingerprint
        for options in ({}, {"seed": 1}, {"size": 48}, {"occluded": 0.1}, {"train": 0.6})
    ]
    assert len(set(made)) == len(made)
    assert made[0] == SyntheticFaces(identities=8, images_per_identity=2).fingerprint


def test_what_there_was_before_landmark_labels_is_what_it_was() -> None:
    """Caches, journals and results are found by this fingerprint."""
    assert SyntheticFaces().fingerprint == "375f4a6a48cef83a1bea27deb8d23f86"


def test_landmarks_are_labels_in_sides_of_the_image(faces: SyntheticFaces) -> None:
    options = {"identities": 6, "images_per_identity": 5, "train": 0.5, "validation": 0.34}
    more = SyntheticFaces(**options, seed=3, landmarks=True)
    names = [f"{name}.{part}" for name in LANDMARK_NAMES for part in "xy"]
    assert list(more.labels) == [*faces.labels, *names]
    for name, values in faces.labels.items():
        np.testing.assert_array_equal(more.labels[name], values)
    for k, name in enumerate(LANDMARK_NAMES):
        for axis, part in enumerate("xy"):
            values = more.labels[f"{name}.{part}"]
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values * SIZE, faces.landmarks[:, k, axis])
    assert more.margin == 0.0, "the image is the standard crop"
    assert more.fingerprint != faces.fingerprint, "its labels differ"
    np.testing.assert_array_equal(more.image(7), faces.image(7))
    tall = SyntheticFaces(**options, seed=3, size=96, landmarks=True)
    np.testing.assert_allclose(tall.labels["chin.x"] * 96, tall.landmarks[:, 7, 0], rtol=1e-6)


def test_the_names_of_landmarks_tell_which_change_places(symmetric: Person) -> None:
    """Against the renderer's own mirror: a face that is its own mirror image, in two scenes."""
    task = KeyPoints({f"{name}.{part}": () for name in LANDMARK_NAMES for part in "xy"})
    assert task.points == LANDMARK_NAMES
    assert task.pairs == (
        ("left_eye_outer", "right_eye_outer"),
        ("left_eye_inner", "right_eye_inner"),
        ("mouth_left", "mouth_right"),
        ("left_ear", "right_ear"),
    )
    for pose in POSES:
        scene = plain_scene(pose, shift=(0.04, 0.02))
        plain, mirror = (
            np.column_stack([symmetric.project(s) / SIZE, np.full(10, 2)]).reshape(1, -1)
            for s in (scene, scene.mirrored())
        )
        np.testing.assert_allclose(task.flip_targets(plain.astype("f4")), mirror, atol=1e-4)


def test_labels(faces: SyntheticFaces) -> None:
    for name, limit in (("yaw", 75), ("pitch", 50), ("roll", 35)):
        values = faces.labels[name]
        assert values.dtype == np.float32
        assert values.shape == (30,)
        assert np.abs(values).max() <= limit
        assert np.ptp(values) > 0.5 * limit
    scene = faces.scene(11)
    for name in ("yaw", "pitch", "roll"):
        assert getattr(scene, name) == faces.labels[name][11]
    for name in EXPRESSION_RANGES:
        assert scene.expression[name] == faces.labels[name][11]
    np.testing.assert_array_equal(faces.labels["identity"], faces.identities)
    assert faces.margin == 0.0


def test_splits_are_disjoint_in_identity(faces: SyntheticFaces) -> None:
    people = [set(faces.groups[indices]) for indices in faces.splits.values()]
    assert [len(p) for p in people] == [3, 2, 1]
    assert len(set.union(*people)) == sum(map(len, people)) == 6
    assert sorted(np.concatenate(list(faces.splits.values()))) == list(range(30))


def test_rotation_is_the_scipy_one() -> None:
    rng = np.random.default_rng(0)
    for yaw, pitch, roll in rng.uniform(-80, 80, (50, 3)):
        expected = Rotation.from_euler("XYZ", [pitch, -yaw, roll], degrees=True).as_matrix()
        np.testing.assert_allclose(rotation_matrix(yaw, pitch, roll), expected, atol=1e-12)


def test_signs_of_the_angles_are_those_of_the_drawn_axes(symmetric: Person) -> None:
    """HopeNet's draw_axis: the axis out of the face is (-sin yaw, -cos yaw sin pitch)."""
    tip = LANDMARK_NAMES.index("nose_tip")
    ears = [LANDMARK_NAMES.index("left_ear"), LANDMARK_NAMES.index("right_ear")]
    for yaw, pitch in [(50, 0), (-50, 0), (0, 40), (0, -40)]:
        marks = symmetric.project(plain_scene((yaw, pitch, 0)))
        direction = marks[tip] - marks[ears].mean(axis=0)
        if yaw:
            assert np.sign(direction[0]) == -np.sign(yaw)
        else:
            level = symmetric.project(plain_scene((0, 0, 0)))
            still = level[tip] - level[ears].mean(axis=0)
            assert np.sign(direction[1] - still[1]) == -np.sign(pitch)
    marks = symmetric.project(plain_scene((0, 0, 20)))
    across = marks[ears[1]] - marks[ears[0]]
    np.testing.assert_allclose(np.degrees(np.arctan2(across[1], across[0])), 20, atol=1e-3)


def test_landmarks_are_the_rotated_head(symmetric: Person) -> None:
    solid = symmetric.landmarks(dict.fromkeys(EXPRESSION_RANGES, 0.0))
    for yaw, pitch, roll in POSES:
        scene = plain_scene((yaw, pitch, roll), shift=(0.05, -0.03), scale=0.95)
        turn = Rotation.from_euler("XYZ", [pitch, -yaw, roll], degrees=True)
        expected = turn.apply(solid)[:, :2] * ZOOM * 0.95 * SIZE + [0.55 * SIZE, 0.47 * SIZE]
        np.testing.assert_allclose(symmetric.project(scene), expected, atol=1e-3)


def test_landmarks_fall_on_the_face(symmetric: Person) -> None:
    """The nose tip, the chin and one eye are where the picture is not background."""
    for pose in POSES:
        scene = plain_scene(pose, background=np.ones((SIZE, SIZE, 3), np.float32))
        image, marks = render(symmetric, scene), symmetric.project(scene)
        for name in ("nose_tip", "chin", "mouth_left", "left_eye_inner"):
            x, y = marks[LANDMARK_NAMES.index(name)]
            patch = image[max(0, int(y) - 1) : int(y) + 2, max(0, int(x) - 1) : int(x) + 2]
            assert patch.min() < 250, (pose, name)


def test_eyes_are_where_the_landmarks_say(symmetric: Person) -> None:
    scene = plain_scene((0, 0, 0))
    shut = replace(scene, expression={**scene.expression, "eyes_closed": 1.0})
    changed = np.abs(render(symmetric, scene).astype(int) - render(symmetric, shut)).sum(axis=2)
    rows, columns = np.nonzero(changed > 30)
    marks = symmetric.project(scene)[:4]
    assert columns.min() >= marks[:, 0].min() - 2
    assert columns.max() <= marks[:, 0].max() + 2
    assert np.abs(rows + 0.5 - marks[:, 1].mean()).max() < 5


def mirror_error(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.abs(first[:, ::-1].astype(int) - second.astype(int)).mean())


@pytest.mark.parametrize("pose", POSES)
def test_mirroring_negates_yaw_and_roll(symmetric: Person, pose: tuple[float, ...]) -> None:
    yaw, pitch, roll = pose
    rng = np.random.default_rng(1)
    scene = plain_scene(
        (yaw, pitch, roll),
        background=rng.random((SIZE, SIZE, 3), dtype=np.float32),
        light=(0.5, -0.4, 0.77),
        gaze=(0.2, 0.1),
        shift=(0.04, 0.02),
        glasses=((0.1, 0.1, 0.1), False),
        overlays=(_scenes._bar(rng, SIZE),),
        blur=0.1,
    )
    twin = scene.mirrored()
    assert (twin.yaw, twin.pitch, twin.roll) == (-yaw, pitch, -roll)
    assert mirror_error(render(symmetric, scene), render(symmetric, twin)) < 0.5
    marks, other = symmetric.project(scene), symmetric.project(twin)
    swap = [3, 2, 1, 0, 4, 6, 5, 7, 9, 8]
    np.testing.assert_allclose(marks * [-1, 1] + [SIZE, 0], other[swap], atol=1e-2)
    if yaw or roll:  # the test can fail: the unmirrored pose is clearly another picture
        wrong = replace(twin, yaw=yaw, roll=roll)
        assert mirror_error(render(symmetric, scene), render(symmetric, wrong)) > 3


def test_people_differ_more_than_grain() -> None:
    """Two people in the same scene are not the same picture."""
    rng, grid = np.random.default_rng(5), Grid()
    people = [Person(grid, _scenes.draw_identity(rng)) for _ in range(6)]
    images = [render(person, plain_scene((20, 0, 0))).astype(int) for person in people]
    gaps = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(gaps) > 4


def test_every_occluder_is_drawn(faces: SyntheticFaces) -> None:
    everything = SyntheticFaces(
        identities=2, images_per_identity=30, train=0.5, validation=0.5, occluded=1.0
    )
    scenes = [everything.scene(index) for index in range(60)]
    assert all(s.glasses or s.mask or s.overlays for s in scenes)
    assert any(s.glasses for s in scenes)
    assert any(s.mask for s in scenes)
    clear = SyntheticFaces(
        identities=2, images_per_identity=5, train=0.5, validation=0.5, occluded=0.0
    )
    assert not any(s.glasses or s.mask or s.overlays for s in map(clear.scene, range(10)))


@pytest.mark.parametrize("size", [32, 96])
def test_other_sizes(size: int) -> None:
    made = SyntheticFaces(identities=2, images_per_identity=1, size=size, train=0.5, validation=0.5)
    assert made.image(0).shape == (size, size, 3)
    assert made.landmarks.shape == (2, len(LANDMARK_NAMES), 2)
    assert (made.landmarks > 0).mean() > 0.9
    assert made.landmarks.max() < 1.1 * size


@pytest.mark.parametrize(
    "options",
    [
        {"identities": 1},
        {"images_per_identity": 0},
        {"size": 16},
        {"size": 64.0},
        {"seed": -1},
        {"train": 1.5},
        {"train": 0.8, "validation": 0.3},
        {"train": 0.0},
        {"occluded": "much"},
        {"validation": float("nan")},
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, object]) -> None:
    refusal_of(lambda: SyntheticFaces(**options))  # type: ignore[arg-type]


def test_an_index_outside_is_refused(faces: SyntheticFaces) -> None:
    with pytest.raises(IndexError, match="expected 0"):
        faces.image(30)


def test_contact_sheet(tmp_path) -> None:  # type: ignore[no-untyped-def]
    contact_sheet(tmp_path / "sheet.png", count=6, columns=4)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
