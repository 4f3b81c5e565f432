"""What a folder of photos is taken for, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from evonas.data.readers.folder_contents import FolderContents, read_folder
from evonas.errors import InputError

ROWS = 12


def write(root: Path, columns: dict[str, list[object]], name: str = "labels.csv") -> Path:
    """Write photos, and a table of them with these columns besides."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    files = [f"{row}.png" for row in range(ROWS)]
    for file in files:
        Image.new("RGB", (20, 10)).save(root / "images" / file)
    with (root / name).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", *columns])
        table.writerows(zip(files, *columns.values(), strict=True))
    return root


def repeated(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


def tasks(contents: FolderContents) -> dict[str, str]:
    return {target.name: target.task["name"] for target in contents.targets}


def test_each_kind_of_column_is_what_it_looks_like(tmp_path: Path) -> None:
    columns = {
        "Subject": repeated("a", "b", "c"),
        "age": repeated(31, 4.5, 77),
        "glasses": repeated("yes", "no"),
        "male": repeated(0, 1),
        "Yaw": repeated(-30, 10.5),
        "pitch": repeated(1, 2),
        **{"nose_x": repeated(3, 4), "nose_y": repeated(5, 4), "x_chin": repeated(7, 8)},
        "y_chin": repeated(7, 7),
        **{name: repeated(at) for at, name in enumerate(("x1", "y1", "x2", "y2"))},
        "subset": repeated("train", "val", "test"),
    }
    found = read_folder(write(tmp_path, columns))
    assert found.options == {
        **{"root": str(tmp_path), "table": "labels.csv", "file": "file", "images": "images"},
        **{"group": "Subject", "split": "subset", "box": ["x1", "y1", "x2", "y2"]},
    }
    assert found.splits == {"train", "validation", "test"}
    assert tasks(found) == {
        **{"age": "regression", "glasses": "classification", "male": "classification"},
        **{"head_pose": "head_pose", "key_points": "key_points"},
    }
    assert found.target("male").data["classes"] == {"male": ["0", "1"]}
    assert found.target("head_pose").data == {"targets": {"yaw": "Yaw", "pitch": "pitch"}}
    points = {"nose": ["nose_x", "nose_y"], "chin": ["x_chin", "y_chin"]}
    assert found.target("key_points").data["points"] == points


def test_angles_beyond_the_range_of_the_distribution_are_learnt_as_numbers(tmp_path: Path) -> None:
    found = read_folder(write(tmp_path, {"yaw": repeated(-30, 120)}))
    assert found.target("").task["output"] == "angles"
    found = read_folder(write(tmp_path, {"yaw": repeated(-30, 90)}))
    assert found.target("").task["output"] == "distribution"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([f"p{row}" for row in range(ROWS)], "12 different values in 12 rows: an id, not a class"),
        ([row + 1000 for row in range(ROWS)], "it counts from 1000 to 1011: an id"),
        (repeated("a"), "it is 'a' in every row"),
        (repeated("a", ""), "6 of 12 cells are empty"),
        (repeated("a", 3), "6 of 12 cells are numbers and the others are not"),
    ],
)
def test_a_column_that_cannot_be_learnt_says_why(
    tmp_path: Path, cells: list[object], why: str
) -> None:
    found = read_folder(write(tmp_path, {"number": cells}))
    for label in ("", "number"):
        with pytest.raises(InputError, match=why):
            found.target(label)
    # beside another column it is left out
    found = read_folder(write(tmp_path, {"number": cells, "age": repeated(1, 5)}))
    assert found.target("").name == "age"
    assert "number" in found.refused


def test_two_columns_need_a_choice(tmp_path: Path) -> None:
    found = read_folder(write(tmp_path, {"age": repeated(1, 5), "mood": repeated("a", "b")}))
    with pytest.raises(InputError, match=r"got 2 \(age, mood\): choose one with --label"):
        found.target("")
    with pytest.raises(InputError, match="did you mean 'mood'"):
        found.target("moood")
    assert found.target("mood").task["label"] == "mood"


def test_who_is_on_a_photo_may_be_a_column_of_another_name(tmp_path: Path) -> None:
    columns = {"age": repeated(1, 5), "name": repeated("a", "b", "c")}
    root = write(tmp_path, columns)
    assert read_folder(root).groups == ("name",)
    assert "persons are not known" in read_folder(root).assumed["group"]
    assert read_folder(root, group="name").options["group"] == "name"
    with pytest.raises(InputError, match="no such column"):
        read_folder(root, group="names")


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.jpg")
    found = read_folder(tmp_path)
    assert (found.reader, tasks(found)) == ("class_folders", {"class": "classification"})
    for side in ("train", "val"):
        (tmp_path / "other" / side).mkdir(parents=True)
        for name in ("cat", "dog"):
            (tmp_path / "other" / side / name).mkdir()
            Image.new("RGB", (8, 8)).save(tmp_path / "other" / side / name / "1.jpg")
    assert read_folder(tmp_path / "other").splits == {"train", "validation"}


def test_what_is_no_folder_of_labelled_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_folder(tmp_path / "nowhere")
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    with pytest.raises(InputError, match=r"got 1 photos without labels: add labels\.csv"):
        read_folder(tmp_path)
    for name in ("one.csv", "two.csv"):
        write(tmp_path, {"age": repeated(1, 5)}, name)
    with pytest.raises(InputError, match=r"got 2 \(one.csv, two.csv\): choose one with --table"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, "two.csv").options["table"] == "two.csv"
    write(tmp_path, dict.fromkeys(("x", "y", "w", "h"), repeated(1, 5)))
    with pytest.raises(InputError, match="expected boxes as left, top, right, bottom"):
        read_folder(tmp_path)
    (tmp_path / "labels.csv").write_text("name,age\na,3\nb,4\n", "utf-8")
    with pytest.raises(InputError, match="expected a column of file names"):
        read_folder(tmp_path)
