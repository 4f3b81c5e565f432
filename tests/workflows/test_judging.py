"""Which images judge: over all readers and options, none that training or validation used."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import face_files
import numpy as np
import pytest
from PIL import Image

from evonas.core import registry
from evonas.data.base import Dataset
from evonas.data.biwi import _SAME_PERSON
from evonas.data.leeds_sports import JOINTS
from evonas.errors import InputError
from evonas.runs.training_record import FILE, TrainingRecord
from evonas.workflows.judging import Include, judges

SIZE = (40, 32)
EVERY = range(24)
FEW = range(15)  # photos of the folders that hold only a part
INCLUDE: tuple[Include, ...] = ("unused", "validation", "trained")


def photo(number: int) -> bytes:
    """The file of a photo: noise, another one for each number."""
    stream, rng = io.BytesIO(), np.random.default_rng(number)
    noise = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def put(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(number))


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def person(number: int) -> int:
    """Three photos show one person."""
    return number // 3 + 1


def write_pointing04(root: Path, numbers: range) -> None:
    rows = []
    for number in numbers:
        put(root / "images" / f"{number}.png", number)
        pose = {"pitch_deg": 0, "yaw_deg": number}
        box = {"box_cx": 20, "box_cy": 16, "box_w": 20, "box_h": 20}
        rows.append({"file": f"{number}.png", "person": person(number), **pose, **box})
    table(root / "labels.csv", rows)


def write_tables(root: Path, numbers: range) -> None:
    rows: list[dict[str, object]] = []
    for number in reversed(numbers):  # other names in another order than elsewhere
        put(root / f"photo{number:03d}.png", number)
        rows.append({"file": f"photo{number:03d}.png", "age": number, "person": person(number)})
    table(root / "labels.csv", rows)
    table(root / "plain.csv", [{k: row[k] for k in ("file", "age")} for row in rows])
    sides = ("train", "val", "test")
    table(
        root / "sides.csv", [{**row, "split": sides[int(str(row["person"])) % 3]} for row in rows]
    )


def write_classes(root: Path, numbers: range) -> None:
    for number in numbers:
        name = f"{person(number)}_{number}.png"
        put(root / "plain" / "ab"[number % 2] / name, number)
        side = ("train", "val", "test")[number % 3]
        put(root / "sides" / side / "ab"[number // 3 % 2] / name, number)


def write_leeds(root: Path, numbers: range) -> None:
    rows = []
    for number in numbers:
        put(root / "images" / f"im{number}.png", number)
        joints = {}
        for k, joint in enumerate(JOINTS):
            joints |= {f"{joint}_x": 2 + 2 * k, f"{joint}_y": 4 + k, f"{joint}_v": 1}
        rows.append({"file": f"im{number}.png", **joints})
    table(root / "joints.csv", rows)


def write_coco(root: Path, numbers: range) -> None:
    """Two persons in each photo, that is two crops of it."""
    parts = {"train.json": numbers[::2], "val.json": numbers[1::2], "test.json": numbers[:8]}
    for name, own in parts.items():
        for number in own:
            put(root / "images" / f"{number}.png", number)
        people = [
            {
                **{"id": 2 * number + k, "image_id": number, "category_id": 1, "area": 90},
                **{"bbox": [2 + k, 3, 20, 20], "keypoints": [9, 9, 2], "num_keypoints": 1},
            }
            for number in own
            for k in (0, 1)
        ]
        size = {"width": SIZE[0], "height": SIZE[1]}
        images = [{"id": n, "file_name": f"{n}.png", **size} for n in own]
        kind = {"id": 1, "name": "person", "keypoints": ["nose"]}
        told = {"categories": [kind], "images": images, "annotations": people}
        (root / name).write_text(json.dumps(told), encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """A data set, and where its photos lie, told without the code under test."""

    reader: str
    options: dict[str, Any]
    below: str = ""

    @cached_property
    def data(self) -> Dataset:
        made: Dataset = registry.create("data", self.reader, self.options)
        return made

    @cached_property
    def photos(self) -> list[bytes]:
        """What each image is a crop of."""
        if self.reader == "synthetic_faces":
            return [self.data.image(i).tobytes() for i in range(len(self.data))]
        root = Path(self.options["root"]) / self.below
        names = [self.data.describe(i).split(" ")[0] for i in range(len(self.data))]
        return [(root / name).read_bytes() for name in names]

    @cached_property
    def people(self) -> list[str]:
        """Who each image shows, where the reader can know; the reader's name stands before."""
        groups = self.data.groups.tolist()
        if self.reader == "biwi":
            groups = [_SAME_PERSON.get(video, video) for video in groups]
        elif self.reader == "synthetic_faces":
            groups = [f"{self.options['seed']}: {group}" for group in groups]
        elif not (
            self.reader in ("pointing04", "w300lp")
            or self.options.get("group_pattern")
            or (self.reader == "image_table" and self.options.get("table") != "plain.csv")
        ):
            return [""] * len(groups)
        return [f"{self.reader} {group}" for group in groups]

    def used(self, *sides: str) -> tuple[set[bytes], set[str]]:
        """Photos and persons of some sides."""
        rows = [int(i) for side in sides for i in self.data.splits[side]]
        return {self.photos[i] for i in rows}, {self.people[i] for i in rows} - {""}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Case]]:
    """Every reader with splits, in small, each with several options and folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield list(_cases(tmp_path_factory.mktemp("data")))


def _cases(root: Path) -> Iterator[Case]:
    writers: dict[str, Callable[[Path, range], None]] = {
        **{"pointing04": write_pointing04, "image_table": write_tables},
        **{"class_folders": write_classes, "leeds_sports": write_leeds},
        "coco_keypoints": write_coco,
    }
    three = {"train": 0.4, "validation": 0.3, "test": 0.3}
    for name, numbers in (("all", EVERY), ("few", FEW)):
        for reader, write in writers.items():
            (root / name / reader).mkdir(parents=True)
            write(root / name / reader, numbers)
        at = {reader: {"root": str(root / name / reader)} for reader in writers}
        for persons in ((1,), (2, 3), (4, 5)):
            yield Case("pointing04", at["pointing04"] | {"validation": persons}, "images")
        for seed in (0, 1):
            yield Case("image_table", at["image_table"] | {"seed": seed})
            plain = {"table": "plain.csv", "shares": three, "seed": seed}
            yield Case("image_table", at["image_table"] | plain)
        yield Case("image_table", at["image_table"] | {"table": "sides.csv"})
        folders, parts = at["class_folders"]["root"], {"shares": three, "group_pattern": r"^(\d+)_"}
        yield Case("class_folders", {"root": f"{folders}/plain"})
        yield Case("class_folders", {"root": f"{folders}/plain", "seed": 1, **parts})
        yield Case("class_folders", {"root": f"{folders}/sides"})
        for shares in ({"validation": 0.2}, {"validation": 0.3, "test": 0.3}):
            yield Case("leeds_sports", at["leeds_sports"] | shares, "images")
        coco = at["coco_keypoints"]
        for seed in (0, 1):
            yield Case("coco_keypoints", coco | {"train": "train.json", "seed": seed}, "images")
        both = coco | {"train": "train.json", "validation": "val.json"}
        yield Case("coco_keypoints", both, "images")
        yield Case("coco_keypoints", coco | {"test": "test.json"}, "images")
    for name in ("w300lp", "biwi", "aflw2000"):
        (root / name).mkdir()
    face_files.write_w300lp(root / "w300lp", photos=6, poses=2)
    face_files.write_biwi(root / "biwi", videos=24, frames=1)
    face_files.write_aflw2000(root / "aflw2000", photos=3)
    wild: dict[str, Any] = {"root": str(root / "w300lp")}
    for more in ({}, {"seed": 1}, {"split": "author_70_30"}, {"subsets": ("HELEN", "HELEN_Flip")}):
        yield Case("w300lp", wild | more)
    yield Case("w300lp", wild | {"split": "leaky_90_10"})
    kinect = {"root": str(root / "biwi")}
    yield Case("biwi", kinect)
    for validation in ((6, 14, 24), (1, 3)):
        yield Case("biwi", kinect | {"split": "videos_16_8", "validation": validation})
    apart = {"split": "videos_16_8", "test": (1, 2, 15), "validation": (4, 5)}
    yield Case("biwi", kinect | apart)
    yield Case("aflw2000", {"root": str(root / "aflw2000")})
    few: dict[str, Any] = {"identities": 6, "images_per_identity": 2, "size": 32}
    for seed in (0, 1):
        yield Case("synthetic_faces", few | {"seed": seed, "train": 0.5, "validation": 0.2})
    yield Case("synthetic_faces", few | {"seed": 0, "train": 0.3, "validation": 0.7})


@pytest.mark.slow
def test_whatever_options_train_and_test_get_no_used_image_judges_unsaid(
    cases: list[Case],
) -> None:
    pairs, left_out, refused = 0, 0, 0
    for first in (case for case in cases if "train" in case.data.splits):
        record = TrainingRecord.of(first.data)
        photos, people = first.used("train", "validation")
        trained, _ = first.used("train")
        for second in cases:
            tested = "test" in second.data.splits
            offered = second.data.splits["test"] if tested else np.arange(len(second.data))
            seen = [second.photos[i] in photos for i in offered]
            near = [second.people[i] in people for i in offered]
            free = [int(i) for i, *used in zip(offered, seen, near, strict=True) if not any(used)]
            pairs += 1
            told = (first.reader, first.options, second.reader, second.options)
            if not free:
                refused += 1
                with pytest.raises(InputError, match="no image is left to judge"):
                    judges(second.data, record)
            else:
                found = judges(second.data, record)
                assert found.images.tolist() == free, told  # none too many, none too few
                assert found.warning == ""
                assert found.seen_images == sum(seen), told
                assert found.seen_images + found.seen_groups == len(offered) - len(free), told
                assert bool(found.left_out()) == (len(free) < len(offered))
                left_out += len(free) < len(offered)
            whole = judges(second.data, record, "trained")
            assert whole.images.tolist() == offered.tolist()
            assert bool(whole.warning) == (len(free) < len(offered)), told
            try:
                some = judges(second.data, record, "validation")
            except InputError:
                continue
            assert not any(second.photos[i] in trained for i in some.images), told
            assert bool(some.warning) == bool(set(some.images.tolist()) - set(free)), told
    assert pairs > 1000
    assert left_out > 50
    assert refused > 20


def test_every_reader_with_splits_is_among_the_cases(cases: list[Case]) -> None:
    # A union has the images of others: see tests/data/test_union.py.
    assert {case.reader for case in cases} == {*registry.names("data")} - {"union"}


def test_real_faces_that_trained_are_not_judged(pointing04_root: Path, tmp_path: Path) -> None:
    """(a) other validation persons in the test; (b) a root with three persons more."""
    root = {"root": str(pointing04_root)}
    data = registry.create("data", "pointing04", root)
    record = TrainingRecord.of(registry.create("data", "pointing04", {**root, "validation": (1,)}))
    with pytest.raises(InputError, match=r"used all 2232 .*--include-validation \(186 that only"):
        judges(data, record)
    some = judges(data, record, "validation")
    assert set(data.groups[some.images].tolist()) == {"person01"}
    assert some.warning.startswith("of 186 images 186 validated")
    whole = judges(data, record, "trained")
    assert whole.warning.startswith("of 2232 images 2046 were trained on, 186 validated")
    lines = (pointing04_root / "labels.csv").read_text("utf-8").splitlines()
    column = lines[0].split(",").index("person")
    few = [line for line in lines[1:] if int(line.split(",")[column]) <= 9]
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], *few]) + "\n", encoding="utf-8")
    (tmp_path / "images").symlink_to(pointing04_root / "images")
    part = {"root": str(tmp_path), "validation": (7, 8, 9)}
    found = judges(data, TrainingRecord.of(registry.create("data", "pointing04", part)))
    assert set(data.groups[found.images].tolist()) == {"person10", "person11", "person12"}
    assert found.side == "unseen images"
    assert found.left_out() == "left out: 1674 images: training or validation saw them"


def test_new_photos_of_a_known_person_are_left_out_with_the_reason(tmp_path: Path) -> None:
    for name, numbers in (("old", range(9)), ("new", range(1, 14, 2))):
        write_pointing04(tmp_path / name, numbers)
    old = {"root": str(tmp_path / "old"), "validation": (3,)}
    record = TrainingRecord.of(registry.create("data", "pointing04", old))
    for path in (tmp_path / "new" / "images").iterdir():  # the same persons on other days
        path.write_bytes(photo(100 + int(path.stem)))
    put(tmp_path / "new" / "images" / "1.png", 1)
    new = registry.create("data", "pointing04", {"root": str(tmp_path / "new"), "validation": (5,)})
    found = judges(new, record)
    assert set(new.groups[found.images].tolist()) == {"person04", "person05"}
    assert found.left_out() == (
        "left out: 1 images: training or validation saw them; "
        "3 more: their person or source photo was seen"
    )


def test_a_record_is_written_and_read_back_and_refused_when_damaged(tmp_path: Path) -> None:
    write_pointing04(tmp_path / "data", range(9))
    options = {"root": str(tmp_path / "data"), "validation": (3,)}
    record = TrainingRecord.of(registry.create("data", "pointing04", options))
    assert TrainingRecord.load(tmp_path) is None
    record.save(tmp_path)
    assert TrainingRecord.load(tmp_path) == record
    assert len(record.train.images) == 6
    assert record.train.groups == {"pointing04/person01", "pointing04/person02"}
    assert record.validation.groups == {"pointing04/person03"}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(b"")
    assert TrainingRecord.beside([tmp_path / "deep" / "weights"]) == record
    assert TrainingRecord.beside([tmp_path / "deep" / "nothing"]) == TrainingRecord()
    for text, said in (
        ("{}", "format 1, got None"),
        ('{"format": 1, "train": 3}', "train: "),
        ('{"format": 1, "train": {"images": ["x"], "groups": []}, "validation": {}}', "images.0"),
        ("[", "cannot be read as JSON"),
    ):
        (tmp_path / FILE).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said) as caught:
            TrainingRecord.load(tmp_path)
        assert "\n" not in str(caught.value)


def test_without_a_record_only_all_images_can_judge(tmp_path: Path) -> None:
    write_pointing04(tmp_path, range(9))
    data = registry.create("data", "pointing04", {"root": str(tmp_path), "validation": (3,)})
    with pytest.raises(InputError, match=r"not recorded: retrain it, or .* --include-trained"):
        judges(data, None)
    found = judges(data, None, "trained")
    assert len(found.images) == 9
    assert found.warning == "which images were trained on is not recorded"
