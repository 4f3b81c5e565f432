"""A folder for each class: layouts, groups, splits, and what is said about mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.data.class_folders import ClassFolders
from evonas.errors import UnreadableImage

PLAIN = [f"{name}/{i}.png" for name in ("sad", "happy", "calm") for i in range(8)]
SPLIT = [f"{side}/{name}/{i}.png" for side in ("train", "val") for name in "ab" for i in range(3)]


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".notes"))


def write(root: Path, files: Iterable[str] = PLAIN) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (len(name), 90, 40)).save(root / name, "PNG")
    return root


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: create("data", "class_folders", {"root": str(root), **options}))


def test_classes_are_the_folders_by_name(tmp_path: Path) -> None:
    more = ["sad/PHOTO.JPEG", ".git/x.png", "__MACOSX/x.png", "sad/.hidden.png"]
    write(tmp_path, [*PLAIN, *more])
    (tmp_path / "sad" / "notes.txt").write_text("no image")
    data = ClassFolders(str(tmp_path), label="mood")
    assert data.schema() == {"mood": ("calm", "happy", "sad")}
    assert np.bincount(data.labels["mood"].astype(int)).tolist() == [8, 8, 9]
    assert data.describe(0) == "calm/0.png"
    assert data.describe(24) == "sad/PHOTO.JPEG"
    assert data.margin == 0
    assert "may be on both sides" in data.protocol
    counts = [np.bincount(data.labels["mood"][w].astype(int)) for w in data.splits.values()]
    assert np.array(counts).tolist() == [[6, 6, 6], [2, 2, 3]]  # each class has its share


def test_an_image_is_the_whole_photo_on_a_black_square(tmp_path: Path) -> None:
    Image.new("RGB", (80, 40), (255, 255, 255)).save(write(tmp_path) / "calm" / "0.png")
    image = ClassFolders(str(tmp_path), size=80).image(0)
    assert image.shape == (80, 80, 3)
    assert (image[24:56] == 255).all()
    assert (image[np.r_[:16, 64:80]] == 0).all()
    assert ClassFolders(str(tmp_path)).image(1).shape == (192, 192, 3)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_folders_of_splits_are_followed(tmp_path: Path, name: str) -> None:
    files = [file.replace("val/", f"{name}/") for file in SPLIT]
    data = ClassFolders(str(write(tmp_path, [*files, "test/a/0.png", "test/b/0.png"])))
    assert list(data.splits) == ["train", "validation", "test"]
    for side, where in data.splits.items():
        folder = name if side == "validation" else side
        assert {data.describe(i).split("/")[0] for i in where.tolist()} == {folder}
    assert data.labels["class"].tolist() == [0, 0, 0, 1, 1, 1] * 2 + [0, 1]
    assert len(np.unique(data.groups)) == len(data)
    assert data.protocol.startswith("split as given by the folder;")
    assert "remove the option" in refusal(tmp_path, shares={"train": 0.5, "validation": 0.5})


def test_training_images_are_shared_where_none_validate(tmp_path: Path) -> None:
    files = [f"{side}/{name}/{i}.png" for side in ("train", "test") for name in "ab" for i in "123"]
    data = ClassFolders(str(write(tmp_path, files)), shares={"train": 0.6, "validation": 0.4})
    assert {len(where) for where in data.splits.values()} == {4, 2, 6}
    assert data.splits["test"].tolist() == list(range(6, 12))
    assert "its training images split at random" in data.protocol


def test_a_set_may_be_for_testing_only(tmp_path: Path) -> None:
    data = ClassFolders(str(write(tmp_path, ["test/a/0.png", "test/b/0.png"])))
    assert {side: where.tolist() for side, where in data.splits.items()} == {"test": [0, 1]}


def test_a_vehicle_may_be_a_train(tmp_path: Path) -> None:
    """``test`` alone beside classes is a class; ``train`` beside them is asked about."""
    data = ClassFolders(
        str(write(tmp_path, [f"{n}/{i}.png" for n in ("test", "c") for i in "123"]))
    )
    assert data.classes == {"class": ("c", "test")}
    assert "got 'c' beside the split" in refusal(write(tmp_path, ["train/0.png"]))


@pytest.mark.parametrize("seed", range(5))
def test_a_person_never_stands_on_two_sides(tmp_path: Path, seed: int) -> None:
    write(tmp_path, [f"{name}/{p:02d}_{i}.png" for name in "ab" for p in range(9) for i in "12"])
    data = ClassFolders(str(tmp_path), group_pattern=r"^(\d+)_", seed=seed)
    assert data.groups[:3].tolist() == ["00", "00", "01"]
    owners = [set(data.groups[where].tolist()) for where in data.splits.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 9
    assert "all images of one person on one side" in data.protocol


def test_a_person_in_two_splits_is_named(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, SPLIT), group_pattern="(.)")
    assert "group '0' is in both train and validation" in said


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first = ClassFolders(str(write(tmp_path / "one"))).fingerprint
    assert ClassFolders(str(write(tmp_path / "two"))).fingerprint == first
    assert ClassFolders(str(tmp_path / "one"), seed=5).fingerprint == first
    assert ClassFolders(str(tmp_path / "one"), size=64).fingerprint != first
    (tmp_path / "two" / "sad" / "0.png").rename(tmp_path / "two" / "calm" / "8.png")
    assert ClassFolders(str(tmp_path / "two")).fingerprint != first
    Image.new("RGB", (9, 6)).save(tmp_path / "one" / "sad" / "3.png")
    assert ClassFolders(str(tmp_path / "one")).fingerprint != first


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "expected two or more folders, one for each class, got none"),
        (["a/0.png"], "one for each class, got 'a'"),
        (["train/a/0.png", "val/a/0.png"], "one for each class, got 'a'"),
        ([*SPLIT, "validation/a/0.png"], "got 'val' and 'validation': keep one"),
        ([*SPLIT, "train/c/0.png"], "got 'c' in train only"),
        ([*SPLIT, "val/c/0.png"], "got 'c' in validation only"),
        ([*SPLIT, "val/c/0.png", "test/c/0.png"], "got 'c' in validation and test only"),
        (["a/0.png", "b/0.png", "c/0.png"], "expected each class in train and another split"),
        ([*PLAIN, "odd/deeper/0.png"], "odd: expected images (.bmp"),
    ],
)
def test_folders_that_are_no_classes_are_named(tmp_path: Path, files: list[str], said: str) -> None:
    told = refusal(write(tmp_path, files))
    assert said in told
    assert told.startswith(str(tmp_path))


def test_an_empty_class_and_a_missing_root_are_named(tmp_path: Path) -> None:
    (write(tmp_path) / "tired").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'tired'}: expected images")
    said = refusal(tmp_path / "nowhere")
    assert "nowhere: cannot be read (No such file or directory): see data.root" in said
    assert "cannot be read (Not a directory)" in refusal(tmp_path / "sad" / "0.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_pattern": "("}, "expected a regular expression, got '('"),
        ({"group_pattern": "x"}, "expected one group (...), got 0 in 'x'"),
        ({"group_pattern": "(x)(y)"}, "got 2"),
        (
            {"group_pattern": "^(x)"},
            "expected a match of '^(x)' in each file name, got '0' (calm/0.png)",
        ),
        ({"group_pattern": "(x?)"}, "in each file name, got '0'"),
        ({"size": 5000}, "data.size: expected 8 to 2048 pixels"),
        ({"shares": {"train": -1.0, "validation": 2.0}}, "with the sum 1"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    assert said in refusal(write(tmp_path), **options)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (write(tmp_path) / "calm" / "1.png").write_bytes(b"no picture")
    data = ClassFolders(str(tmp_path))
    with pytest.raises(UnreadableImage, match=r"1\.png: cannot be decoded"):
        data.image(1)
