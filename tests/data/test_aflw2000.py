"""AFLW2000: the real images, the published crops, and what is said about damaged files."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_files import write_aflw2000, write_mat, write_pair
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create, summary
from evonas.data.aflw2000 import AFLW2000
from evonas.data.images.cropping import Widening, central_square, fsanet_box, hopenet_box
from evonas.data.images.image_io import widened
from evonas.errors import InputError, UnreadableImage


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was read once is remembered in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def real(aflw2000_root: Path) -> AFLW2000:
    return AFLW2000(str(aflw2000_root))


def test_the_labels_of_the_real_images_are_those_of_the_table(
    real: AFLW2000, aflw2000_root: Path
) -> None:
    with (aflw2000_root / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [real.describe(i) for i in range(len(real))] == [row["file"] for row in rows]
    for name in ("yaw", "pitch", "roll"):
        assert real.labels[name].dtype == np.float32
        listed = [float(row[f"{name}_deg"]) for row in rows]
        np.testing.assert_allclose(real.labels[name], listed, atol=6e-4)


def test_it_is_for_testing_alone(real: AFLW2000) -> None:
    assert set(real.splits) == {"test"}
    np.testing.assert_array_equal(real.splits["test"], np.arange(16))
    assert real.groups.tolist() == [Path(real.describe(i)).stem for i in range(16)]
    assert real.leaky == ""
    assert "AFLW2000-3D, 16 of 16 images" in real.protocol
    with pytest.raises(InputError, match="expected a train split"):
        real.sides()


def test_the_crop_of_a_real_image_is_the_one_computed_by_hand(
    real: AFLW2000, aflw2000_root: Path
) -> None:
    """k = 0.2: x_min -= 2k w, y_min -= 2k h, x_max += 2k w', y_max += .6k h', then int()."""
    whole = AFLW2000(str(aflw2000_root), landmarks="pt3d_68", size=200)
    # image00050: x 125.605..335.910, y 181.474..376.839, so w = 210.305 and h = 195.365:
    # left 41.48, top 103.33; w' = 294.43 and h' = 273.51, so right 453.68, bottom 409.66;
    # the rectangle (41, 103, 453, 409) is 412 x 306, its central square starts at 41 + 53.
    assert whole._standard_crop(0, 450, 450) == (94.0, 103.0, 400.0, 409.0)
    photo = Image.open(aflw2000_root / "image00050.jpg")
    standard = np.asarray(photo.crop((94, 103, 400, 409)).resize((140, 140), 3)).astype(int)
    inner = whole.image(0)[30:170, 30:170].astype(int)
    assert np.abs(standard - inner).mean() < 1.5
    assert whole.fingerprint != real.fingerprint


def test_no_real_box_begins_at_a_hidden_landmark(real: AFLW2000) -> None:
    """12 of the 16 files have (-1, -1) in pt2d, where all faces are in the middle of 450 x 450."""
    assert (real._boxes[:, :2] > 90).all()
    assert (real._boxes[:, 2:] < 380).all()


def test_hopenet_edges_move_one_after_the_other() -> None:
    box = (100.0, 200.0, 200.0, 300.0)
    # 300W-LP, k = 0.3: left 100 - 18 = 82, top 200 - 60 = 140, then w' = 118 and h' = 160:
    # right 200 + 21.24, bottom 300 + 28.8; decimals are cut off.
    assert hopenet_box(box, Widening(0.18, 0.6, 0.18, 0.18)) == (82, 140, 221, 328)
    assert central_square((82, 140, 221, 328)) == (82, 164.5, 221, 303.5)


def test_fsanet_adds_the_same_at_each_edge_and_stops_at_the_photo() -> None:
    assert fsanet_box((100.9, 200.2, 200.0, 300.0), 450, 450) == (60, 160, 240, 340)
    assert fsanet_box((10.0, 5.0, 110.0, 205.0), 120, 450) == (0, 0, 119, 285)


def test_fsanet_stretches_its_rectangle(aflw2000_root: Path) -> None:
    data = AFLW2000(str(aflw2000_root), crop="fsanet", landmarks="pt3d_68", size=100)
    # int() of the box of image00050 is (125, 181, 335, 376): 210 x 195.
    assert data._standard_crop(0, 450, 450) == (41, 103, 419, 449)
    left, top, right, bottom = widened((41.0, 103.0, 419.0, 449.0), 0.15)
    assert (right - left) / (bottom - top) == pytest.approx(378 / 346)
    image = data.image(0)
    assert image.shape == (100, 100, 3)
    assert not image[-10:].any()  # below the photo
    assert image[20:80, 20:80].std() > 20


def test_an_image_is_square_and_repeats_itself(real: AFLW2000) -> None:
    for i in range(16):
        image = real.image(i)
        assert image.shape == (224, 224, 3)
        assert image.dtype == np.uint8
        assert image[56:168, 56:168].std() > 10
        np.testing.assert_array_equal(image, real.image(i))


def test_written_files_are_read_back(tmp_path: Path) -> None:
    faces = write_aflw2000(tmp_path, photos=5)
    data = AFLW2000(str(tmp_path))
    for name in ("yaw", "pitch", "roll"):
        np.testing.assert_allclose(data.labels[name], faces.labels[name], atol=1e-4)
    assert data.groups.tolist() == [f"image{i:05d}" for i in range(2, 7)]


def test_images_beyond_the_rule_are_named(tmp_path: Path) -> None:
    write_aflw2000(tmp_path, photos=4)
    photo = np.full((450, 450, 3), 90, np.uint8)
    points = {"pt2d": np.array([[100.0, 200.0], [100.0, 200.0]])}
    write_pair(tmp_path / "image00009", photo, np.array([0.0, 99.5, 0.0]), points)
    write_pair(tmp_path / "image00010", photo, np.array([0.0, 0.0, -500.0]), points)
    data = AFLW2000(str(tmp_path))
    assert len(data) == 4
    assert data.dropped == {"an angle beyond 99 degrees": ("image00009.jpg", "image00010.jpg")}
    assert "4 of 6 images" in data.protocol


def test_other_landmarks_serve_where_one_kind_gives_no_box(tmp_path: Path) -> None:
    write_aflw2000(tmp_path, photos=2)
    points = np.array([[100.0, 220.0], [110.0, 210.0], [0.0, 0.0]])
    values: dict[str, Any] = {"Pose_Para": np.zeros((1, 7)), "pt3d_68": points}
    write_mat(tmp_path / "image00002.mat", {**values, "pt2d": np.full((2, 21), -1.0)})
    assert AFLW2000(str(tmp_path))._boxes[0].tolist() == [100, 110, 220, 210]
    write_mat(tmp_path / "image00003.mat", {"Pose_Para": np.zeros((1, 7))})
    assert refusal(tmp_path).startswith(f"{tmp_path / 'image00003.mat'}: expected landmarks")


def test_the_fingerprint_follows_the_content_alone(tmp_path: Path) -> None:
    write_aflw2000(tmp_path / "a", photos=3)
    first = AFLW2000(str(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert AFLW2000(str(tmp_path / "b")).fingerprint == first.fingerprint
    assert AFLW2000(str(tmp_path / "b"), size=64).fingerprint != first.fingerprint
    assert AFLW2000(str(tmp_path / "b"), crop="fsanet").fingerprint != first.fingerprint
    photo = tmp_path / "b" / "image00003.jpg"
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert AFLW2000(str(tmp_path / "b")).fingerprint != first.fingerprint


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: AFLW2000(str(root), **options))


def test_a_missing_mat_file_is_named(tmp_path: Path) -> None:
    write_aflw2000(tmp_path, photos=2)
    (tmp_path / "image00003.mat").unlink()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'image00003.mat'}: expected a .mat file")


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: expected image00002.jpg")
    assert "data.root" in refusal(tmp_path / "nowhere")


def test_unknown_options_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert "did you mean 'hopenet'?" in refusal(tmp_path, crop="hopnet")
    assert "did you mean 'pt2d'?" in refusal(tmp_path, landmarks="pt2")
    write_aflw2000(tmp_path, photos=2)
    assert "data.size: expected 16 to 1024" in refusal(tmp_path, size=4)
    with pytest.raises(InputError, match=r"data\.crop: input should be 'hopenet' or 'fsanet'"):
        create("data", "aflw2000", {"root": str(tmp_path), "crop": "dlib"})
    assert len(create("data", "aflw2000", {"root": str(tmp_path)})) == 2
    assert summary("data", "aflw2000").startswith("AFLW2000-3D: 2000 real faces")


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes | None) -> None:
    write_aflw2000(tmp_path, photos=2)
    photo = tmp_path / "image00003.jpg"
    photo.write_bytes(photo.read_bytes()[:300] if content is None else content)
    data = AFLW2000(str(tmp_path))
    with pytest.raises(UnreadableImage, match=r"image00003\.jpg: cannot be decoded"):
        data.image(1)
    assert data.image(0).shape == (224, 224, 3)


def test_a_box_outside_the_photo_is_named(tmp_path: Path) -> None:
    points = {"pt2d": np.array([[900.0, 990.0], [100.0, 200.0]])}
    write_pair(tmp_path / "image00002", np.zeros((450, 450, 3), np.uint8), np.zeros(3), points)
    with pytest.raises(UnreadableImage, match="the face box is outside the photo"):
        AFLW2000(str(tmp_path), crop="fsanet").image(0)
