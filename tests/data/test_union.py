"""Several data sets as one: order, splits, groups, labels of one name, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.data.base import Dataset
from evonas.data.union import Union
from evonas.errors import InputError
from evonas.runs.training_record import TrainingRecord
from evonas.tasks.head_pose import HeadPose

FACES = {"name": "synthetic_faces", "identities": 6, "images_per_identity": 2, "train": 0.5}
FACES |= {"validation": 0.25}
SPLITS = ("train", "train", "validation", "test")


@pytest.fixture(autouse=True)
def _notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".notes"))


def table(
    root: Path, head: str = "age,mood", *rows: str, shade: int = 0, **options: Any
) -> dict[str, Any]:
    """Write four photos with labels; return the data set's options."""
    rows = rows or ("20,sad", "30,happy", "40,sad", "50,happy")
    root.mkdir()
    lines = [f"file,person,split,{head}"]
    for number, row in enumerate(rows):
        Image.new("RGB", (40, 40), (shade, 50 * number, 90)).save(root / f"{number}.png")
        lines.append(f"{number}.png,person-{number},{SPLITS[number]},{row}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return {"name": "image_table", "root": str(root), **options}


def alone(options: dict[str, Any]) -> Dataset:
    rest = {key: value for key, value in options.items() if key != "name"}
    made: Dataset = create("data", options["name"], rest)
    return made


def union(**datasets: Any) -> Union:
    made = create("data", "union", {"datasets": datasets})
    assert isinstance(made, Union)
    return made


def refusal(datasets: Any) -> str:
    return refusal_of(lambda: create("data", "union", {"datasets": datasets}).sides())


def test_images_stand_one_set_after_the_other(tmp_path: Path) -> None:
    people = table(tmp_path / "people")
    made = union(heads=FACES, people=people)
    heads, own = alone(FACES), alone(people)
    assert len(made) == len(heads) + len(own) == 16
    np.testing.assert_array_equal(made.image(3), heads.image(3))
    np.testing.assert_array_equal(made.image(13), own.image(1))
    assert made.describe(13) == f"people: {own.describe(1)}"
    for label, (mine, other) in {"yaw": (heads, own), "age": (own, heads)}.items():
        first = mine is heads
        values = made.labels[label][:12] if first else made.labels[label][12:]
        np.testing.assert_array_equal(values, mine.labels[label])
        assert np.isnan(made.labels[label]).sum() == len(other)
        assert label in made.missing
    for side, rows in made.splits.items():
        expected = [*heads.splits[side], *(own.splits[side] + 12)]
        np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(
        made.image_hashes(), np.concatenate([heads.image_hashes(), own.image_hashes()])
    )
    with pytest.raises(IndexError):
        made.image(16)


def test_groups_of_different_sets_never_collide(tmp_path: Path) -> None:
    """The same name is another person in another set, and may be in another split."""
    moved = ("validation", "train", "train", "test")
    one, two = table(tmp_path / "one"), table(tmp_path / "two", shade=9)
    file = tmp_path / "two" / "labels.csv"
    text = file.read_text("utf-8")
    for number, side in enumerate(moved):
        text = text.replace(f"person-{number},{SPLITS[number]}", f"person-{number},{side}")
    file.write_text(text, "utf-8")
    made = union(one=one, two=two)
    assert {"one/person-0", "two/person-0"} <= set(made.groups.tolist())
    assert len(np.unique(made.groups)) == 8
    assert "one/person-0" in made.groups[made.splits["train"]]
    assert "two/person-0" in made.groups[made.splits["validation"]]


def test_what_was_trained_on_is_recognised_in_each_set_alone(tmp_path: Path) -> None:
    people = table(tmp_path / "people")
    record = TrainingRecord.of(union(heads=FACES, people=people))
    for dataset in (alone(FACES), alone(people)):
        overlap = record.overlap(dataset, np.arange(len(dataset)))
        for seen, side in ((overlap.trained, "train"), (overlap.validated, "validation")):
            np.testing.assert_array_equal(np.flatnonzero(seen), dataset.splits[side])


def test_classes_in_another_order_are_the_same_classes(tmp_path: Path) -> None:
    one = table(tmp_path / "one", classes={"mood": ["sad", "happy"]})
    two = table(tmp_path / "two", shade=9)
    made = union(one=one, two=two)
    assert made.classes["mood"] == ("sad", "happy")
    assert made.labels["mood"].tolist() == [0, 1, 0, 1] * 2
    assert not made.missing


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (("1", "2", "3", "4"), r"people: expected 'mood' to be what it is in 'one' (happy, sad)"),
        (("calm", "sad", "calm", "sad"), "got calm, sad: write rename: {mood: NEW_NAME} beside"),
    ],
)
def test_a_label_with_another_meaning_is_refused_or_renamed(
    tmp_path: Path, column: tuple[str, ...], said: str
) -> None:
    one, people = table(tmp_path / "one"), table(tmp_path / "people", "mood", *column, shade=9)
    assert said in refusal({"one": one, "people": people})
    made = union(one=one, people=people | {"rename": {"mood": "level"}})
    assert np.isnan(made.labels["mood"][4:]).all()
    assert np.isfinite(made.labels["level"][4:]).all()
    assert {"mood", "level"} <= set(made.missing)


def test_key_points_of_other_sets_are_not_labelled(tmp_path: Path) -> None:
    rows = ("5,6,20", "7,8,30", "9,9,40", "10,11,50")
    points = {"points": {"nose": ["x", "y"]}, "targets": ["age"]}
    one = table(tmp_path / "one", "x,y,age", *rows, **points)
    two = table(tmp_path / "two", "x,y,age", *rows, shade=9, **points, rename={"nose": "tip"})
    made = union(one=one, two=two)
    assert made.labels["nose.v"].tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert made.labels["tip.v"].tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    assert not made.missing


def test_each_image_keeps_its_margin_and_photos_are_cropped_as_those_of_the_first(
    tmp_path: Path,
) -> None:
    rows = ("20,5,5,30,30", "30,5,5,30,30", "40,5,5,30,30", "50,5,5,30,30")
    boxed = table(tmp_path / "boxed", "age,left,top,right,bottom", *rows)
    made = union(boxed=boxed, faces=FACES)
    assert (made.margin_of(0), made.margin_of(4)) == (pytest.approx(0.15), 0.0)
    assert made.framing is not None
    assert made.framing.shape == "square"
    assert made.protocol.endswith("; new photos are cropped as those of boxed")
    assert union(faces=FACES, boxed=boxed).framing is None
    assert "cropped" not in union(faces=FACES, more=FACES | {"seed": 1}).protocol


def test_the_fingerprint_is_that_of_all(tmp_path: Path) -> None:
    people = table(tmp_path / "people")
    known = {
        union(heads=FACES, people=people).fingerprint,
        union(people=people, heads=FACES).fingerprint,
        union(heads=FACES | {"seed": 1}, people=people).fingerprint,
        union(heads=FACES, people=people | {"rename": {"age": "years"}}).fingerprint,
    }
    assert len(known) == 4
    assert union(heads=FACES, people=people).fingerprint in known


def test_a_list_names_the_sets_by_their_readers(tmp_path: Path) -> None:
    made = create("data", "union", {"datasets": [FACES, table(tmp_path / "people")]})
    assert {group.partition("/")[0] for group in made.groups} == {"synthetic_faces", "image_table"}
    assert made.protocol.startswith("synthetic_faces: synthetic_faces; image_table: ")


def test_a_single_task_learns_from_sets_that_all_have_its_labels(tmp_path: Path) -> None:
    both = union(one=FACES, two=FACES | {"seed": 1, "rename": {"smile": "grin"}})
    HeadPose(both.schema()).refuse_missing(both)
    other = union(one=FACES, two=table(tmp_path / "people"))
    with pytest.raises(InputError, match=r"label 'yaw' of every image, data set 'two' has none"):
        HeadPose(other.schema()).refuse_missing(other)


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"one": FACES}, "expected two or more data sets"),
        ([FACES, FACES], "expected each name once, got 'synthetic_faces' twice"),
        ({"a/b": FACES, "two": FACES}, "got 'a/b': rename it"),
        ({"one": FACES, "two": {"root": "x"}}, "data.datasets.two: expected a data set with its"),
        ({"one": FACES, "two": "synthetic_face"}, "two: unknown data 'synthetic_face'"),
        ({"one": FACES, "two": FACES | {"sise": 3}}, "data.datasets.two: unknown key data.sise"),
        ({"one": FACES, "two": FACES | {"size": 3}}, "data.datasets.two.size: expected a whole"),
        ({"one": FACES, "two": FACES | {"rename": "x"}}, "two.rename: expected {OLD: NEW}"),
        ({"one": FACES, "two": FACES | {"rename": {"x": "y"}}}, "two.rename: no label 'x'"),
        ({"one": FACES, "two": FACES | {"rename": {"yaw": "roll"}}}, "got 'roll' twice"),
        ({"one": FACES, "two": FACES}, "expected each photo in one data set, got one: image 0 "),
    ],
)
def test_mistakes(datasets: Any, said: str) -> None:
    assert said in refusal(datasets)
