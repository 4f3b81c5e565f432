"""A table beside images: types, groups, boxes, splits, and what is said about mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.data.image_table import ImageTable
from evonas.data.images.key_point_crops import MARGIN
from evonas.data.readers.csv_table import number
from evonas.errors import InputError, UnreadableImage

HEAD = "file,age,mood,person"
ROWS = ["a.png,31,happy,1", "b.png,4.5,sad,1", "c.png,-7,happy,2", "d.png,8,calm,3"]


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))


def write(root: Path, head: str = HEAD, rows: list[str] = ROWS, glue: str = "\n") -> Path:
    root.mkdir(exist_ok=True)
    for name in re.findall(r"\w+\.png", " ".join(rows)):
        Image.new("RGB", (80, 60), (9, 90, 40)).save(root / name)
    (root / "labels.csv").write_bytes((glue.join([head, *rows]) + glue).encode())
    return root


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: create("data", "image_table", {"root": str(root), **options}))


def test_real_angles_are_read_as_they_are(aflw2000_root: Path) -> None:
    data = ImageTable(root := str(aflw2000_root))
    assert list(data.labels) == ["pitch_deg", "yaw_deg", "roll_deg"]
    assert [v[2] for v in data.labels.values()] == pytest.approx([6.995, -54.685, -14.579])
    assert len(data) == 16
    assert [len(data.splits[side]) for side in ("train", "validation")] == [11, 5]
    assert data.margin == MARGIN
    assert data.image(2).shape == (192, 192, 3)
    assert data.describe(2) == "image00251.jpg"
    assert "may be on both sides" in data.protocol
    named = create("data", "image_table", {"root": root, "targets": {"yaw": "yaw_deg"}})
    assert list(named.labels) == ["yaw"]


def test_cells_of_targets_may_be_empty_for_tasks_that_allow_it(tmp_path: Path) -> None:
    rows = ["a.png,31,happy,1", "b.png,,sad,1", "c.png,-7,,2", "d.png,8,calm,3", "e.png,,sad,4"]
    data = ImageTable(str(write(tmp_path, rows=rows)))
    np.testing.assert_array_equal(data.labels["age"], [31, np.nan, -7, 8, np.nan])
    np.testing.assert_array_equal(data.labels["mood"], [1, 2, np.nan, 0, 2])
    assert data.classes["mood"] == ("calm", "happy", "sad")
    place = f"{tmp_path / 'labels.csv'}, line"
    remedy = "is empty: fill it in or remove the row"
    assert data.missing == {"age": f"{place} 3: age {remedy}", "mood": f"{place} 4: mood {remedy}"}
    for name, options in (("regression", {"labels": ["age"]}), ("classification", {})):
        task = create("task", name, options, data.schema())
        with pytest.raises(InputError, match=f"^{re.escape(data.missing[task.labels[0]])}$"):
            task.refuse_missing(data)
    create("task", "several", {"tasks": ["age", "mood"]}, data.schema()).refuse_missing(data)
    full = ImageTable(str(write(tmp_path / "full")))
    assert full.missing == {}
    create("task", "regression", {"labels": ["age"]}, full.schema()).refuse_missing(full)


def test_declared_classes_and_mistakes_beside_empty_cells(tmp_path: Path) -> None:
    rows = ["a.png,,happy,1", "b.png,4.5,,1", "c.png,-7,happy,2", "d.png,x,sad,3"]
    root = write(tmp_path, rows=rows)
    wanted = "line 5: age is 'x', where 2 of 3 rows have a finite number"
    assert wanted in refusal(root)
    assert "line 5: mood is 'sad', expected a declared class" in refusal(
        root, targets=["mood"], classes={"mood": ["happy", "calm"]}
    )
    data = create(
        "data",
        "image_table",
        {"root": str(root), "targets": ["mood"], "classes": {"mood": ["sad", "happy"]}},
    )
    np.testing.assert_array_equal(data.labels["mood"], [1, np.nan, 1, 0])
    none = ["a.png,,happy,1", "b.png,,sad,1", "c.png,,happy,2"]
    assert "line 2: age is empty" in refusal(write(tmp_path / "none", rows=none))


@pytest.mark.parametrize("glue", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_types_follow_from_the_values(tmp_path: Path, glue: str, delimiter: str, mark: str) -> None:
    rows = [row.replace(",", delimiter) for row in ROWS]
    data = ImageTable(str(write(tmp_path, mark + HEAD.replace(",", delimiter), rows, glue)))
    assert data.schema() == {"age": (), "mood": ("calm", "happy", "sad")}
    assert data.labels["age"].tolist() == [31, 4.5, -7, 8]
    assert data.labels["mood"].tolist() == [1, 2, 1, 0]
    assert data.groups.tolist() == ["1", "1", "2", "3"]
    assert ImageTable(str(tmp_path), targets=("person",)).groups[0] == "a.png"  # no group then


def test_declared_classes_keep_their_order_and_may_be_numbers(tmp_path: Path) -> None:
    root = str(write(tmp_path, "file,sex", ["a.png,1", "b.png,0", "c.png,1"]))
    data = ImageTable(root, classes={"sex": ["1", "0", "2"]})
    assert data.schema() == {"sex": ("1", "0", "2")}
    assert data.labels["sex"].tolist() == [0, 1, 0]


def test_a_split_column_is_followed(tmp_path: Path) -> None:
    rows = ["a.png,1,Train", "b.png,2,val", "c.png,3,test", "d.png,4,train"]
    data = ImageTable(str(write(tmp_path, "file,age,split", rows)))
    assert [where.tolist() for where in data.splits.values()] == [[0, 3], [1], [2]]
    assert "split as given by column 'split'" in data.protocol
    torn = ["a.png,1,x,train", "b.png,2,x,validation"]
    assert "'x' is in both" in refusal(write(tmp_path / "torn", "file,age,group,split", torn))
    assert "remove the option" in refusal(tmp_path, shares={"train": 0.5, "validation": 0.5})


def test_training_images_are_shared_where_none_validate(tmp_path: Path) -> None:
    rows = [f"i{i}.png,{i},{'test' if i > 7 else 'train'}" for i in range(10)]
    data = ImageTable(str(write(tmp_path, "file,age,split", rows)))
    assert data.splits["test"].tolist() == [8, 9]
    both = {*data.splits["train"].tolist(), *data.splits["validation"].tolist()}
    assert both == set(range(8))
    assert "expected train and validation" in refusal(tmp_path, shares={"train": 0.8, "test": 0.2})


@pytest.mark.parametrize("seed", range(5))
def test_a_group_never_stands_on_two_sides(tmp_path: Path, seed: int) -> None:
    rows = [f"i{i}.png,{i},{i % 7}" for i in range(30)]
    root, shares = str(write(tmp_path, "file,age,who", rows)), {"train": 0.7, "test": 0.3}
    data = ImageTable(root, targets=("age",), group="who", shares=shares, seed=seed)
    owners = [set(data.groups[where].tolist()) for where in data.splits.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 7


def test_a_photo_with_two_faces_stays_on_one_side(tmp_path: Path) -> None:
    rows = ["a.png,1,0,0,9,9", "a.png,2,9,9,30,30", "b.png,3,0,0,9,9"]
    data = ImageTable(str(write(tmp_path, "file,age,x0,y0,x1,y1", rows)))
    assert data.groups.tolist() == ["a.png", "a.png", "b.png"]
    assert [data.describe(i) for i in range(3)] == ["a.png (line 2)", "a.png (line 3)", "b.png"]


@pytest.mark.parametrize("names", ["left,top,right,bottom", "x0,y0,x1,y1", "l,t,r,b"])
def test_a_dot_lies_where_the_box_says(tmp_path: Path, names: str) -> None:
    """The box 20..100 by 30..90 is 80 wide: with context 1.5 the crop is 0..120 by 0..120."""
    photo = np.zeros((150, 200, 3), np.uint8)
    photo[58:62, 88:92] = 255  # its middle is at (90, 60)
    write(tmp_path, f"file,age,{names}", ["a.png,1,20,30,100,90", "b.png,1,20,30,100,90"])
    Image.fromarray(photo).save(tmp_path / "a.png")
    box: Any = tuple(names.split(",")) if names == "l,t,r,b" else None
    data = ImageTable(str(tmp_path), box=box, context=1.5, size=240)
    assert list(data.labels) == ["age"]
    weight = data.image(0)[..., 0].astype(float)
    at = [(weight.sum(axis) @ (np.arange(240) + 0.5)) / weight.sum() / 240 for axis in (0, 1)]
    inner = (np.array(at) - MARGIN) / (1 - 2 * MARGIN)  # in sides of the standard crop
    np.testing.assert_allclose(inner, [90 / 120, 60 / 120], atol=0.004)


def test_a_whole_photo_is_upright_on_a_black_square(tmp_path: Path) -> None:
    """A camera that lay on its side: stored 80 x 40, to be seen 40 x 80."""
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by 90 degrees clockwise
    Image.new("RGB", (80, 40), (255, 255, 255)).save(write(tmp_path) / "a.png", exif=turned)
    data = ImageTable(str(tmp_path), size=80)
    image = data.image(0)
    assert (image[:, 24:56] == 255).all()
    assert (image[:, np.r_[:16, 64:80]] == 0).all()


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first = ImageTable(str(write(tmp_path / "one"))).fingerprint
    assert ImageTable(str(write(tmp_path / "two"))).fingerprint == first
    assert ImageTable(str(tmp_path / "one"), seed=3).fingerprint == first
    assert ImageTable(str(tmp_path / "one"), size=64).fingerprint != first
    write(tmp_path / "two", rows=[ROWS[0].replace("31", "32"), *ROWS[1:]])
    assert ImageTable(str(tmp_path / "two")).fingerprint != first
    Image.new("RGB", (81, 60), (9, 90, 40)).save(tmp_path / "one" / "b.png")
    assert ImageTable(str(tmp_path / "one")).fingerprint != first


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        (HEAD, "e.png,old,sad,1", "line 6: age is 'old', where 4 of 5 rows have a finite number"),
        (HEAD, "e.png,nan,sad,1", "line 6: age is 'nan', where 4 of 5"),
        (HEAD, "e.png,1e99,sad,1", "line 6: age is '1e99'"),
        (HEAD, ",3,sad,1", "line 6: file is empty"),
        (HEAD, "a.png,3,sad,", "line 6: person is empty"),
        (HEAD, "e.png,3,sad", "line 6: expected 4 cells as in the header, got 3"),
        (HEAD, "e.png,3,sad,1,2", "got 5"),
        (HEAD, 'e.png,3,"sad,1', "expected CSV"),
        (HEAD, "../e.png,3,sad,1", "got '../e.png'"),
        (HEAD, "/e.png,3,sad,1", "got '/e.png'"),
        (HEAD, "x" * 300 + ",3,sad,1", "1 of 5 files are not in"),
        ("file,age,age,person", "", "expected unique columns, got 'age' twice"),
        ("file,age,,person", "", "column 3 has no name"),
        ("flie,age,mood,person", "", "'file' is missing: did you mean 'flie'?"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path: Path, head: str, row: str, said: str) -> None:
    (write(tmp_path) / "labels.csv").write_text("\n".join([head, *ROWS, row]))
    told = refusal(tmp_path)
    assert told.startswith(str(tmp_path / "labels.csv"))
    assert said in told


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("x0,y0,x1,y1", "5,5,5,9", "line 2: the box [5.0, 5.0, 5.0, 9.0] has no area"),
        ("left,top,right,bottom", "5,up,9,9", "line 2: top is 'up', expected a finite number"),
        ("left,top,right,bottom", "5,inf,9,9", "top is 'inf'"),
        ("left,top,right,bottom,x0,y0,x1,y1", "1,1,9,9,1,1,9,9", "expected one box"),
        ("split", "trian", "line 2: split is 'trian', expected a split: did you mean 'train'?"),
    ],
)
def test_an_odd_box_or_split_is_named(tmp_path: Path, head: str, row: str, said: str) -> None:
    assert said in refusal(write(tmp_path, f"file,age,{head}", [f"a.png,1,{row}"]))


def test_missing_files_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    write(tmp_path, "file,age", [f"i{i}.png,{i}" for i in range(6)])
    for i in range(1, 6):
        (tmp_path / f"i{i}.png").unlink()
    said = refusal(tmp_path)
    assert f"5 of 6 files are not in {tmp_path}: 'i1.png', 'i2.png', 'i3.png', ...:" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"file,age\n", "expected rows below the header"),
        ("file,größe\n".encode("latin-1"), "not UTF-8 (byte 7)"),
        (b"file\na.png\n", "expected a column to learn, got only file"),
        (b"file;age\na.png;1,5\n", "write decimals with a point"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (write(tmp_path) / "labels.csv").write_bytes(content)
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "other.csv"}, "other.csv: cannot be read (No such file"),
        ({"images": "photos"}, "4 of 4 files are not in"),
        ({"targets": ["agee"]}, "'agee' is missing: did you mean 'age'?"),
        ({"group": "who"}, "the column 'who' is missing"),
        (
            {"classes": {"mod": ["a", "b"]}},
            "expected names of targets, got 'mod': did you mean 'mood'?",
        ),
        ({"classes": {"mood": ["a", "a"]}}, "expected two or more different names"),
        (
            {"classes": {"mood": ["hapy", "sad"]}},
            "line 2: mood is 'happy', expected a declared class: did",
        ),
        ({"shares": {"train": 0.5, "validation": 0.6}}, "with the sum 1"),
        ({"shares": {"trian": 1.0}}, "unknown split 'trian': did you mean 'train'?"),
        ({"size": 2}, "data.size: expected 8 to 2048 pixels, got 2"),
        ({"context": float("nan")}, "data.context: expected"),
        ({"box": ["x0", "y0", "x1"]}, "data.box"),
    ],
)
def test_an_odd_option_is_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    assert said in refusal(write(tmp_path), **options)


def test_an_image_is_opened_only_when_asked_for(tmp_path: Path) -> None:
    rows = ["a.png,1,900,900,910,910", "b.png,1,-1e9,0,1e9,9", "c.png,1,0,0,9,9"]
    (write(tmp_path, "file,age,x0,y0,x1,y1", rows) / "c.png").write_bytes(b"no picture")
    data = ImageTable(str(tmp_path))
    for index, said in enumerate(["is outside", "larger than 10 photos", "cannot be decoded"]):
        with pytest.raises(UnreadableImage, match=said):
            data.image(index)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_survive_and_names_are_none(value: float) -> None:
    assert number(repr(value)) == value
    assert number("1_000") is None


def test_key_points_are_in_sides_of_the_standard_crop(tmp_path: Path) -> None:
    """Of a photo of 80 x 60 that is the square of 80 around it, from 10 above it."""
    head = "file,nx,ny,cx,cy,cv,left,top,right,bottom"
    rows = [
        f"{name}.png,40,30,8,14,{seen},20,10,60,50"
        for name, seen in zip("abcd", "2102", strict=True)
    ]
    points = {"nose": ["nx", "ny"], "chin": ["cx", "cy", "cv"]}
    root = str(write(tmp_path, head, rows))
    boxed = ImageTable(root, points=points)
    assert boxed.labels["nose.x"] == pytest.approx([0.5] * 4)
    # the point that is not labelled is at the centre
    assert boxed.labels["chin.x"] == pytest.approx([-0.3, -0.3, 0.5, -0.3])
    assert boxed.labels["chin.y"] == pytest.approx([0.1, 0.1, 0.5, 0.1])
    assert boxed.labels["chin.v"].tolist() == [2, 1, 0, 2]
    assert boxed.labels["area"].tolist() == [1600] * 4
    (tmp_path / "labels.csv").write_text(
        "\n".join(line.rsplit(",", 4)[0] for line in [head, *rows]), "utf-8"
    )
    whole = ImageTable(root, points=points)
    assert whole.labels["chin.x"][0] == pytest.approx(8 / 80)
    assert whole.labels["chin.y"][0] == pytest.approx((14 + 10) / 80)
    assert "data.points: expected columns of x and y" in refusal(tmp_path, points={"nose": ["nx"]})
