"""Pointing'04: the real files, and what is said about damaged ones."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refusal_of

from evonas.data.pointing04 import Pointing04
from evonas.errors import InputError, UnreadableImage

HEAD = "file,person,pitch_deg,yaw_deg,box_cx,box_cy,box_w,box_h"
ROWS = [
    "a.jpg,1,0,0,40,30,20,20",
    "b.jpg,1,15,-30,40,30,20,20",
    "c.jpg,2,-15,90,40,30,20,30",
    "d.jpg,10,0,0,5,30,20,20",
]


@pytest.fixture(scope="module")
def real(pointing04_root: Path) -> Pointing04:
    return Pointing04(str(pointing04_root))


def test_all_images_are_there_and_split_by_person(real: Pointing04) -> None:
    assert len(real) == 2232
    train, validation = (real.splits[side] for side in ("train", "validation"))
    assert set(real.splits) == {"train", "validation"}
    assert set(real.groups[train]) == {f"person{i:02d}" for i in range(1, 10)}
    assert set(real.groups[validation]) == {"person10", "person11", "person12"}
    both = np.concatenate([train, validation])
    np.testing.assert_array_equal(np.sort(both), np.arange(2232))
    for side in (train, validation):
        np.testing.assert_array_equal(side, np.sort(side))


def test_labels_are_the_grid_of_the_protocol(real: Pointing04) -> None:
    assert set(real.labels) == {"yaw", "pitch"}
    assert set(real.labels["yaw"].tolist()) == {15.0 * i for i in range(-6, 7)}
    assert set(real.labels["pitch"].tolist()) == {0, 15, -15, 30, -30, 60, -60, 90, -90}
    assert all(values.dtype == np.float32 for values in real.labels.values())


def test_a_label_is_that_of_the_file_name(real: Pointing04, pointing04_root: Path) -> None:
    """personPPSNN+tilt+pan.jpg is how the authors name them; our signs are in the table."""
    with (pointing04_root / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for index in (0, 500, 2231):
        assert real.describe(index) == rows[index]["file"]
        tilt = int(re.findall(r"[+-]\d+", rows[index]["file"])[0])
        assert real.labels["pitch"][index] == tilt


def test_an_image_is_a_square_crop_around_the_face(real: Pointing04) -> None:
    frontal = np.flatnonzero((real.labels["yaw"] == 0) & (real.labels["pitch"] == 0))
    for index in frontal[::6].tolist():
        image = real.image(index)
        assert image.shape == (192, 192, 3)
        assert image.dtype == np.uint8
        assert image[48:144, 48:144].std() > 10  # a face, not the empty outside
        np.testing.assert_array_equal(image, real.image(index))


def test_other_persons_may_validate(pointing04_root: Path, real: Pointing04) -> None:
    other = Pointing04(str(pointing04_root), validation=(1,))
    assert set(other.groups[other.splits["validation"]]) == {"person01"}
    assert other.fingerprint == real.fingerprint  # the same pixels: the cache is shared
    assert Pointing04(str(pointing04_root), context=1.5).fingerprint != real.fingerprint


def jpeg(colour: int = 120) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (80, 60), (colour, 90, 40)).save(stream, "JPEG")
    return stream.getvalue()


def write(root: Path, rows: list[str] = ROWS, head: str = HEAD) -> Path:
    (root / "images").mkdir(exist_ok=True)
    for row in rows:
        (root / "images" / row.split(",")[0]).write_bytes(jpeg())
    (root / "labels.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return root


def made(root: Path, validation: tuple[int, ...] = (10,)) -> Pointing04:
    return Pointing04(str(root), validation)


def refusal(root: Path, validation: tuple[int, ...] = (10,)) -> str:
    return refusal_of(lambda: made(root, validation))


def test_a_small_copy_is_read(tmp_path: Path) -> None:
    data = made(write(tmp_path))
    assert data.labels["yaw"].tolist() == [0, -30, 90, 0]
    assert data.splits["validation"].tolist() == [3]
    assert len({data.image(i).tobytes() for i in range(4)}) > 1
    assert (data.image(3)[:, 0] == 0).all()  # the crop reaches beyond the photo
    first = data.fingerprint
    assert made(tmp_path).fingerprint == first
    (tmp_path / "images" / "b.jpg").write_bytes(jpeg(10))
    assert made(tmp_path).fingerprint != first


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path / 'labels.csv'}: cannot be read")


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    (write(tmp_path) / "images" / "c.jpg").unlink()
    said = refusal(tmp_path)
    assert f"1 of 4 files are not in {tmp_path / 'images'}: 'c.jpg'" in said
    assert "labels.csv" in said


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("column", [2, 3])
def test_a_label_that_is_not_finite_is_named(tmp_path: Path, column: int, value: str) -> None:
    cells = ROWS[1].split(",")
    cells[column] = value
    said = refusal(write(tmp_path, [ROWS[0], ",".join(cells), *ROWS[2:]]))
    assert "expected finite labels" in said
    assert "b.jpg" in said
    assert {2: "'pitch'", 3: "'yaw'"}[column] in said


@pytest.mark.parametrize("column", [1, 4, 5, 6, 7])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_person_or_box_that_is_not_finite_is_named(
    tmp_path: Path, column: int, value: str
) -> None:
    cells = ROWS[1].split(",")
    cells[column] = value
    said = refusal(write(tmp_path, [ROWS[0], ",".join(cells), *ROWS[2:]]))
    assert "line 3" in said
    assert HEAD.split(",")[column] in said


@pytest.mark.parametrize(("column", "value"), [(6, "0"), (7, "-3")])
def test_a_box_without_area_is_named(tmp_path: Path, column: int, value: str) -> None:
    row = ROWS[1].split(",")
    row[column] = value
    said = refusal(write(tmp_path, [ROWS[0], ",".join(row), *ROWS[2:]]))
    assert "line 3: expected a face box with an area" in said


@pytest.mark.parametrize("column", HEAD.split(","))
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    said = refusal(write(tmp_path, head=HEAD.replace(column, "other")))
    assert f"the column {column!r} is missing" in said


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    assert "missing" in refusal(write(tmp_path, []))


@pytest.mark.parametrize("value", ["left", "", "1,2"])
def test_what_is_no_number_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    row = ROWS[2].replace(",90,", f",{value},")
    if "," in value:
        row = "c.jpg,2"  # a row that ends too early
    said = refusal(write(tmp_path, [*ROWS[:2], row, ROWS[3]]))
    assert f"{tmp_path / 'labels.csv'}, line 4: " in said
    assert "expected a number" in said


def test_an_unknown_person_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    said = refusal(write(tmp_path), (10, 99))
    assert "got 99" in said
    assert "[1, 2, 10]" in said


@pytest.mark.parametrize("validation", [(), (1, 2, 10)])
def test_an_empty_side_is_refused(tmp_path: Path, validation: tuple[int, ...]) -> None:
    assert "split is empty" in refusal(write(tmp_path), validation)


@pytest.mark.parametrize("content", [b"", b"no picture", jpeg()[:200]])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    (write(tmp_path) / "images" / "b.jpg").write_bytes(content)
    data = made(tmp_path)
    with pytest.raises(UnreadableImage, match=r"b\.jpg: cannot be decoded"):
        data.image(1)
    assert data.image(0).shape == (192, 192, 3)


def test_persons_of_the_test_split_neither_train_nor_validate(tmp_path: Path) -> None:
    root = write(tmp_path)
    whole, data = made(root), Pointing04(str(root), (10,), (2,))
    persons = {side: set(data.groups[rows]) for side, rows in data.splits.items()}
    assert persons == {
        "train": {"person01"},
        "validation": {"person10"},
        "test": {"person02"},
    }
    assert data.fingerprint == whole.fingerprint  # the images are the same, dealt otherwise
    assert set(whole.splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("test", "said"), [((10,), "outside data.validation, got 10"), ((99,), "data.test: expected")]
)
def test_a_test_split_that_does_not_fit_is_refused(
    tmp_path: Path, test: tuple[int, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Pointing04(str(write(tmp_path)), (10,), test)
