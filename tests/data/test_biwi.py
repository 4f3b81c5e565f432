"""BIWI: poses in the published files, crops, and the splits of both protocols."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_files import CAMERA_K, heads, write_biwi
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.core.rotations import angles, from_biwi, matrices
from evonas.data.biwi import Biwi
from evonas.data.readers.biwi_files import read_camera, read_pose
from evonas.errors import InputError, UnreadableImage

HEAD = "file,left,top,right,bottom"


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was read once is remembered in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 24 videos, two frames each."""
    folder = tmp_path_factory.mktemp("biwi")
    write_biwi(folder, videos=24, frames=2)
    return folder


@pytest.fixture
def small(root: Path, tmp_path: Path) -> Path:
    """A copy of two videos that a test may damage."""
    for video in ("01", "02"):
        shutil.copytree(root / video, tmp_path / "small" / video)
    return tmp_path / "small"


@pytest.mark.slow
def test_labels_are_those_of_the_rendered_heads(root: Path, tmp_path: Path) -> None:
    data = Biwi(str(root))
    faces = write_biwi(tmp_path, videos=24, frames=2)
    assert len(data) == 48
    assert data.describe(3) == "02/frame_00004_rgb.png"
    for name in ("yaw", "pitch", "roll"):
        np.testing.assert_allclose(data.labels[name], faces.labels[name], atol=1e-3)
    assert Biwi(str(tmp_path)).fingerprint == data.fingerprint


@given(st.tuples(st.floats(-85, 85), st.floats(-89, 89), st.floats(-89, 89)))
def test_a_pose_file_gives_the_published_angles(turn: tuple[float, float, float]) -> None:
    """R = file': roll -atan2(R10, R00), yaw -atan2(-R20, |R21, R22|), pitch atan2(R21, R22)."""
    mirror = np.diag([1.0, 1.0, -1.0])
    stored = mirror @ matrices([turn])[0] @ mirror
    r = stored.T
    published = (
        -np.arctan2(-r[2, 0], np.hypot(r[2, 1], r[2, 2])),
        np.arctan2(r[2, 1], r[2, 2]),
        -np.arctan2(r[1, 0], r[0, 0]),
    )
    ours = angles(from_biwi(stored[None]))[0]
    np.testing.assert_allclose(ours, np.degrees(published), atol=1e-9)
    np.testing.assert_allclose(ours, turn, atol=1e-9)


def test_the_square_is_around_the_head_and_of_its_size(root: Path) -> None:
    """240 mm at z mm are f * 240 / z pixels around the projection of the centre."""
    data = Biwi(str(root))
    for i in range(0, len(data), 5):
        photo = root / data.describe(i)
        camera = read_camera(photo.parent / "rgb.cal")
        centre = read_pose(Path(str(photo).replace("rgb.png", "pose.txt")))[3]
        x, y, z = camera.r @ centre + camera.t
        u, v, half = 517.679 * x / z + 320, 517.679 * y / z + 240.5, 517.679 * 120 / z
        expected = (u - half, v - half, u + half, v + half)
        assert data._standard_crop(i, 640, 480) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(camera.k, CAMERA_K)


def test_an_image_shows_the_head_that_was_drawn(root: Path) -> None:
    """The generator draws a square of 253 mm; 240 mm of it around the landmarks are the crop."""
    data, faces = Biwi(str(root), size=100), heads(24, 2, 2)
    for i in range(0, len(data), 7):
        marks = faces.landmarks[i]
        middle, half = (marks.min(axis=0) + marks.max(axis=0)) / 2, 160 * 120 / 253
        padded = np.pad(faces.image(i), ((160, 160), (160, 160), (0, 0)), mode="edge")
        left, top = (middle - half + 160).tolist()
        drawn = Image.fromarray(padded).resize(
            (70, 70), Image.Resampling.BICUBIC, box=(left, top, left + 2 * half, top + 2 * half)
        )
        image = data.image(i)
        assert image.shape == (100, 100, 3)
        assert np.abs(image[15:85, 15:85].astype(int) - np.asarray(drawn)).mean() < 8


def test_the_protocol_says_that_its_crop_is_no_published_one(root: Path, small: Path) -> None:
    data = Biwi(str(root))
    assert "48 of 48 frames" in data.protocol
    assert "240 mm around the annotated head centre, which is not the crop of" in data.protocol
    assert "nominal" not in data.protocol
    (small / "02" / "rgb.cal").unlink()
    assert "nominal camera for videos 02" in Biwi(str(small)).protocol


def test_all_frames_test_and_videos_are_groups(root: Path) -> None:
    data = Biwi(str(root))
    assert set(data.splits) == {"test"}
    assert len(data.splits["test"]) == 48
    assert sorted(set(data.groups.tolist())) == [f"{i:02d}" for i in range(1, 25)]


def test_sixteen_videos_train_and_validate_and_eight_test(root: Path) -> None:
    data = Biwi(str(root), split="videos_16_8")
    videos = {side: set(data.groups[rows].tolist()) for side, rows in data.splits.items()}
    assert {side: len(found) for side, found in videos.items()} == {
        "train": 13,
        "validation": 3,
        "test": 8,
    }
    assert videos["validation"] == {"06", "14", "24"}
    assert len(set.union(*videos.values())) == 24
    for first, second in (("02", "21"), ("03", "15"), ("05", "18"), ("07", "22")):
        assert len([side for side, found in videos.items() if {first, second} & found]) == 1
    assert data.leaky == ""
    assert "8 test (02, 05, 08, 12, 16, 18, 20, 21), 16 others" in data.protocol
    assert "06, 14, 24 validate" in data.protocol


def test_a_person_on_two_sides_is_said(root: Path) -> None:
    data = Biwi(str(root), split="videos_16_8", test=(2, 8), validation=(3,))
    assert data.leaky == (
        "videos of one person are on two sides: 02 (test) and 21 (train), "
        "03 (validation) and 15 (train)"
    )


def boxes(path: Path, rows: list[str], head: str = HEAD) -> str:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_detected_boxes_give_the_published_crops(small: Path, tmp_path: Path) -> None:
    table = boxes(
        tmp_path / "faces.csv",
        ["01/frame_00003_rgb.png,200,100,300,220", "02/frame_00004_rgb.png,10,10,90,90.5"],
    )
    data = Biwi(str(small), boxes=table, crop="hopenet")
    # k = 0.35: left 200 - 21 = 179, top 100 - 42 = 58, then w' = 121 and h' = 162: right
    # 300 + 25.41, bottom 220 + 34.02; of (179, 58, 325, 254) the square of 146 is central.
    assert data._standard_crop(0, 640, 480) == (179, 83, 325, 229)
    assert data.dropped == {
        "no face box": ("01/frame_00004_rgb.png", "02/frame_00003_rgb.png"),
    }
    assert "BIWI, 2 of 4 frames" in data.protocol
    assert "HopeNet crop (k = 0.35) around boxes of faces.csv" in data.protocol
    fsanet = Biwi(str(small), boxes=table, crop="fsanet")
    assert fsanet._standard_crop(0, 640, 480) == (160, 52, 340, 268)
    assert fsanet._standard_crop(1, 640, 480) == (0, 0, 122, 122)
    assert fsanet.image(1).shape == (224, 224, 3)
    assert fsanet.fingerprint != data.fingerprint


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: Biwi(str(root), **options))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["01/frame_00003_rgb.png,1,2,x,4"], "line 2: expected left < right"),
        (["01/frame_00003_rgb.png,1,2,nan,4"], "line 2: expected left < right"),
        (["01/frame_00003_rgb.png,9,2,1,4"], "line 2: expected left < right"),
        (
            ["frame_00003_rgb.png,1,2,9,9"],
            "line 2: expected each frame",
        ),
        (
            ["01/frame_00003_rgb.png,1,2,9,9"] * 2,
            "line 3: expected each frame",
        ),
    ],
)
def test_a_bad_box_is_named_with_its_line(
    small: Path, tmp_path: Path, rows: list[str], said: str
) -> None:
    table = boxes(tmp_path / "faces.csv", rows)
    assert f"{table}, {said}" in refusal(small, boxes=table, crop="fsanet")


def test_boxes_and_crops_go_together(small: Path, tmp_path: Path) -> None:
    assert "data.boxes: expected a CSV" in refusal(small, crop="hopenet")
    table = boxes(tmp_path / "faces.csv", [], head="file,x0,y0,x1,y1")
    assert "data.boxes: expected a CSV" in refusal(small, boxes=table)
    assert "expected the columns file, left" in refusal(small, boxes=table, crop="fsanet")
    assert "cannot be read" in refusal(small, boxes=str(tmp_path / "no.csv"), crop="fsanet")
    assert "did you mean 'hopenet'?" in refusal(small, crop="hopnet")
    with pytest.raises(InputError, match=r"data\.crop: input should be"):
        create("data", "biwi", {"root": str(small), "crop": "dlib"})


@pytest.mark.parametrize("word", ["nan", "inf", "-1e9"])
def test_a_camera_of_no_sense_is_named(small: Path, word: str) -> None:
    path = small / "01" / "rgb.cal"
    path.write_text(" ".join([word, *path.read_text().split(" ")[1:]]))
    assert f"{path}: expected numbers of at most 10000 pixels or mm" in refusal(small)


def test_videos_that_do_not_fit_are_named(small: Path, root: Path) -> None:
    assert "data.test: expected some of the videos" in refusal(small, split="videos_16_8")
    assert "not in data.test, got 06" in refusal(root, split="videos_16_8", test=(6, 7))
    assert "unknown data.split 'x'" in refusal(root, split="x")
    assert "data.head_mm: expected 50 to 1000" in refusal(root, head_mm=0)
    assert "expected 01/frame_00003_rgb.png" in refusal(root / "01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected 4 rows of 3 numbers"),
        ("1 0 0\n0 1 0\n0 0 1\n", "expected 4 rows of 3 numbers"),
        ("1 0 0\n0 1 0\n0 0\n\n1 2 900\n", "expected 4 rows of 3 numbers"),
        ("1 0 0\n0 1 0\n0 0 one\n\n1 2 900\n", "cannot be read"),
        ("1 0 0\n0 1 0\n0 0 é\n\n1 2 900\n", "cannot be read"),
        ("1 0 0\n0 1 0\n0 0 nan\n\n1 2 900\n", "expected a rotation matrix"),
        ("1 0 0\n0 1 0\n0 0 -1\n\n1 2 900\n", "expected a rotation matrix"),
        ("1 0 0\n0 2 0\n0 0 1\n\n1 2 900\n", "expected a rotation matrix"),
        ("1 0 0\n0 1 0\n0 0 1\n\n1 inf 900\n", "and finite numbers, got"),
        ("1 0 0\n0 1 0\n0 0 1\n\n1 2 -900\n", "expected the head 200..10000 mm before"),
    ],
)
def test_a_malformed_pose_file_is_named(small: Path, text: str, said: str) -> None:
    (small / "01" / "frame_00004_pose.txt").write_text(text, encoding="utf-8")
    message = refusal(small)
    assert message.startswith(f"{small / '01' / 'frame_00004_'}")
    assert said in message


def test_files_that_are_missing_or_damaged_are_named(small: Path) -> None:
    data = Biwi(str(small))
    picture, pose = (small / "02" / f"frame_00003_{end}" for end in ("rgb.png", "pose.txt"))
    picture.write_bytes(picture.read_bytes()[:400])
    other = Biwi(str(small))
    assert other.fingerprint != data.fingerprint
    with pytest.raises(UnreadableImage, match=r"frame_00003_rgb\.png: cannot be decoded"):
        other.image(2)
    (small / "01" / "rgb.cal").write_text("1 0 0\n", encoding="ascii")
    assert refusal(small).startswith(f"{small / '01' / 'rgb.cal'}: expected K")
    pose.unlink()
    assert refusal(small).startswith(f"{pose}: expected a pose file")
