"""The MATLAB files beside the photos: labels, and what is said about damaged ones."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_files import write_mat
from refusals import refusal_of

from evonas.data.readers.face_crops import beyond, landmark_box
from evonas.data.readers.mat_labels import read_all, read_mat
from evonas.errors import InputError

POINTS = np.array([[10.0, 30.0, -1.0], [40.0, 80.0, -1.0]])


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was read once is remembered in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def rows(aflw2000_root: Path) -> list[dict[str, str]]:
    """Labels and landmark boxes of the real files, as somebody else wrote them down."""
    with (aflw2000_root / "labels.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_real_angles_are_those_of_the_table(
    aflw2000_root: Path, rows: list[dict[str, str]]
) -> None:
    assert len(rows) == 16
    for row in rows:
        found = read_mat((aflw2000_root / row["file"]).with_suffix(".mat"))
        listed = [float(row[f"{name}_deg"]) for name in ("yaw", "pitch", "roll")]
        np.testing.assert_allclose(found.angles, listed, atol=6e-4)


def test_the_real_landmark_box_is_that_of_the_table(
    aflw2000_root: Path, rows: list[dict[str, str]]
) -> None:
    for row in rows:
        found = read_mat((aflw2000_root / row["file"]).with_suffix(".mat"))
        box = landmark_box(found.points["pt3d_68"], inside=True)
        assert box is not None
        np.testing.assert_allclose(
            box, [float(row[k]) for k in ("x0", "y0", "x1", "y1")], atol=0.06
        )


def test_a_hidden_landmark_is_no_corner_of_the_box() -> None:
    assert landmark_box(POINTS, inside=True) == (10, 40, 30, 80)
    assert landmark_box(POINTS, inside=False) == (-1, -1, 30, 80)


@pytest.mark.parametrize(
    "points",
    [
        np.empty((2, 0)),
        np.full((2, 21), -1.0),
        np.array([[5.0], [5.0]]),
        np.array([[5.0, 6.0], [5.0, 90.0]]),
        np.array([[5.0, np.nan], [5.0, 90.0]]),
        np.array([[5.0, 1e9], [5.0, 90.0]]),
    ],
)
def test_landmarks_without_extent_give_no_box(points: Any) -> None:
    assert landmark_box(points, inside=True) is None


def test_the_rule_keeps_1969_of_the_2000_real_labels(aflw2000_root: Path) -> None:
    with (aflw2000_root / "aflw2000_all_labels.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    angles = np.array([[float(row[f"{k}_deg"]) for k in ("yaw", "pitch", "roll")] for row in table])
    assert angles.shape == (2000, 3)
    assert int((~beyond(angles)).sum()) == 1969


def test_the_rule_is_beyond_99_degrees_on_either_side() -> None:
    angles = np.array([[99.0, 0, 0], [99.01, 0, 0], [0, -99.01, 0], [0, 0, 99.01], [-99, -99, 99]])
    assert beyond(angles).tolist() == [False, True, True, True, False]


def pose(pitch: float, yaw: float, roll: float) -> dict[str, Any]:
    """Return the values of a file with these angles in radians."""
    return {"Pose_Para": np.array([[pitch, yaw, roll, 0, 0, 0, 1]]), "pt2d": POINTS}


def test_the_order_in_the_file_is_pitch_yaw_roll_in_radians(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", pose(0.1, 0.2, 0.3))
    found = read_mat(tmp_path / "a.mat")
    np.testing.assert_allclose(found.angles, np.degrees([0.2, 0.1, 0.3]), rtol=1e-12)
    np.testing.assert_array_equal(found.points["pt2d"], POINTS)
    assert "pt3d_68" not in found.points


def test_many_files_are_read_once_until_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [tmp_path / f"{name}.jpg" for name in "abc"]
    for i, photo in enumerate(photos):
        write_mat(photo.with_suffix(".mat"), pose(0.1 * i, 0.2, 0.3))
    write_mat(tmp_path / "b.mat", {"Pose_Para": np.zeros((1, 7)), "pt3d_68": np.ones((3, 5))})
    angles, points = read_all(photos, ("pt2d", "pt3d_68"))
    np.testing.assert_allclose(angles[:, 1], np.degrees([0.0, 0.0, 0.2]))
    shapes = [[group.shape for group in groups] for groups in points]
    assert shapes == [[(2, 3), (2, 0)], [(2, 0), (2, 5)], [(2, 3), (2, 0)]]
    np.testing.assert_array_equal(points[2][0], POINTS)
    with monkeypatch.context() as patch:
        patch.setattr("evonas.data.readers.mat_labels.read_mat", None)
        again, _ = read_all(photos, ("pt2d", "pt3d_68"))
    np.testing.assert_array_equal(again, angles)
    write_mat(tmp_path / "c.mat", pose(0.5, 0.25, 0.3))
    changed, _ = read_all(photos, ("pt2d", "pt3d_68"))
    np.testing.assert_allclose(changed[2], np.degrees([0.25, 0.5, 0.3]))


def refusal(path: Path) -> str:
    said = refusal_of(lambda: read_mat(path))
    assert said.startswith(f"{path}: ")
    assert "restore the file or remove" in said
    return said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "missing" in refusal(tmp_path / "a.mat")
    with pytest.raises(InputError, match=r"a\.mat: expected a \.mat file"):
        read_all([tmp_path / "a.jpg"], ("pt2d",))


@pytest.mark.parametrize("content", [b"", b"no matrix", b"\x89HDF\r\n\x1a\n" * 40, b"x" * 500])
def test_what_is_no_matlab_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    assert "expected a MATLAB file" in refusal(tmp_path / "a.mat")


def test_a_file_cut_anywhere_is_refused_or_read_rightly(
    aflw2000_root: Path, tmp_path: Path
) -> None:
    whole = (aflw2000_root / "image00050.mat").read_bytes()
    angles = read_mat(aflw2000_root / "image00050.mat").angles
    path = tmp_path / "a.mat"
    refused = 0
    for end in range(0, len(whole), 61):
        path.write_bytes(whole[:end])
        try:
            found = read_mat(path)
        except InputError:
            assert "MATLAB file" in refusal(path) or "the key 'Pose_Para'" in refusal(path)
            refused += 1
        else:  # the cut was behind the pose
            np.testing.assert_array_equal(found.angles, angles)
    assert refused > 40


def test_a_missing_key_is_answered_with_the_keys_that_are_there(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", {"pt2d": POINTS, "Pose": np.zeros((1, 7))})
    said = refusal(tmp_path / "a.mat")
    assert "expected the key 'Pose_Para'" in said
    assert "got Color_Para, Exp_Para, Illum_Para, Pose, Shape_Para, Tex_Para, pt2d" in said


@pytest.mark.parametrize(
    "value", [np.zeros((7, 1)), np.zeros((1, 2)), np.zeros((2, 7)), "text", np.array([{"a": 1}])]
)
def test_a_pose_of_another_shape_is_named(tmp_path: Path, value: Any) -> None:
    write_mat(tmp_path / "a.mat", {"Pose_Para": value})
    assert "expected Pose_Para as (1, 7) numbers, got" in refusal(tmp_path / "a.mat")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_angle_that_is_not_finite_is_named(tmp_path: Path, value: float, place: int) -> None:
    angles = [0.1, 0.2, 0.3]
    angles[place] = value
    write_mat(tmp_path / "a.mat", pose(*angles))
    assert "expected finite angles in Pose_Para" in refusal(tmp_path / "a.mat")


def test_landmarks_of_another_shape_are_named(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", {**pose(0, 0, 0), "pt2d": np.zeros((21, 2))})
    assert "expected pt2d as (2, k) or (3, k) numbers, got float64 (21, 2)" in refusal(
        tmp_path / "a.mat"
    )
