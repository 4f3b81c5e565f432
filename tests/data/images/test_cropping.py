"""A rule of cropping gives the image that the data set's reader gives."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evonas.data.base import Dataset
from evonas.data.class_folders import ClassFolders
from evonas.data.image_table import ImageTable
from evonas.data.images.cropping import Framing, Widening
from evonas.data.pointing04 import Pointing04
from evonas.data.readers.face_crops import FaceCrops
from evonas.errors import InputError, UnreadableImage

BOXES = [(20.0, 10.0, 70.0, 80.0), (-5.5, 4.0, 30.0, 50.25), (40.0, 30.0, 119.0, 89.0)]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three photos of noise, one of which its camera held on its side."""
    found = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3)).astype(np.uint8)
        photo = Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        found.append(tmp_path / f"{number}.png")
        photo.save(found[-1], exif=exif)
    return found


def kept(framing: Framing | None) -> Framing:
    """The rule after its way through a file."""
    assert framing is not None
    again = Framing.from_dict(json.loads(json.dumps(framing.to_dict())))
    assert again == framing
    return again


def same(dataset: Dataset, photos: list[Path], boxes: list[Any]) -> None:
    for index, (photo, box) in enumerate(zip(photos, boxes, strict=True)):
        found, whole, inner = kept(dataset.framing).image(photo, box)
        np.testing.assert_array_equal(found, dataset.image(index))
        assert inner[2] - inner[0] > 0
        assert whole.size == ((90, 120) if box is None and index == 1 else (120, 90))


@pytest.mark.parametrize("boxed", [False, True])
def test_a_table_of_photos(photos: list[Path], tmp_path: Path, boxed: bool) -> None:
    heads = ["file", "age", *(("left", "top", "right", "bottom") if boxed else ())]
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(heads)
        for number, (photo, box) in enumerate(zip(photos, BOXES, strict=True)):
            writer.writerow([photo.name, number, *(box if boxed else ())])
    dataset = ImageTable(str(tmp_path), context=1.2, size=64)
    same(dataset, photos, list(BOXES) if boxed else [None] * 3)


def test_folders_of_classes(photos: list[Path], tmp_path: Path) -> None:
    moved = []
    for number, photo in enumerate(photos):
        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            target = tmp_path / "set" / name / f"{number}.png"
            target.write_bytes(photo.read_bytes())
            moved += [target] if name == "a" else []
    same(ClassFolders(str(tmp_path / "set"), size=48), moved, [None] * 3)


@pytest.mark.parametrize("kind", ["hopenet", "fsanet", "ready"])
def test_the_crops_of_the_literature(photos: list[Path], tmp_path: Path, kind: str) -> None:
    class Photos(FaceCrops):
        def __init__(self) -> None:
            self._fill(
                tmp_path,
                photos,
                np.zeros((3, 3)),
                np.array(BOXES),
                "fsanet" if kind == "fsanet" else "hopenet",
                None if kind == "ready" else Widening(0.2, 0.3, 0.2, 0.1),
                56,
                {},
            )

    same(Photos(), photos, list(BOXES))


def test_real_faces(pointing04_root: Path) -> None:
    dataset = Pointing04(str(pointing04_root))
    with (pointing04_root / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for index in (0, 700, 2000):
        x, y, w, h = (float(rows[index][f"box_{part}"]) for part in ("cx", "cy", "w", "h"))
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        path = pointing04_root / "images" / rows[index]["file"]
        found = kept(dataset.framing).image(path, box)[0]
        # the corner is told by other sums, so that a pixel may be rounded the other way
        assert np.abs(found.astype(int) - dataset.image(index)).max() <= 1


def test_generated_faces_are_images_as_they_are(photos: list[Path]) -> None:
    found, photo, inner = Framing(margin=0.1).image(photos[0], None)
    assert found.shape == (90, 120, 3)
    assert photo.size == (120, 90)
    assert inner == pytest.approx((12, 9, 108, 81))


def test_a_box_that_shows_nothing_is_refused(photos: list[Path]) -> None:
    rule = Framing("square", size=32)
    for box in ((200.0, 10.0, 240.0, 50.0), (-90.0, 0.0, 0.5, 80.0)):
        with pytest.raises(UnreadableImage, match="the box is outside the photo"):
            rule.image(photos[0], box)
    with pytest.raises(UnreadableImage, match="larger than 10 photos"):
        rule.image(photos[0], (-1e6, -1e6, 1e6, 1e6))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": "round"},
        {"margin": 0.5},
        {"size": -1},
        {"context": float("nan")},
        {"widening": [1]},
    ],
)
def test_other_data_are_no_rule(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected a cropping rule"):
        Framing.from_dict(Framing().to_dict() | wrong)
    with pytest.raises(InputError, match="expected a cropping rule"):
        Framing.from_dict({})
