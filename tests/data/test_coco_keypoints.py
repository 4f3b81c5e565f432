"""COCO key points: the real annotations, labels as pixels, and what is said about mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.data.coco_keypoints import CROWD, FLAT, UNLABELLED, CocoKeypoints
from evonas.data.images.key_point_crops import MARGIN
from evonas.errors import UnreadableImage

SIZE = 240
FILE = "annotations/person_keypoints_train2017.json"


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def root() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data" / "coco_samples" / "coco"
    if not folder.is_dir():
        pytest.skip(f"the real data {folder} is not there")
    return folder


@pytest.fixture(scope="module")
def real(root: Path) -> CocoKeypoints:
    return CocoKeypoints(str(root), test="test_coco.json")


def test_twelve_of_fourteen_annotations_are_kept(real: CocoKeypoints) -> None:
    assert len(real) == 12
    assert real.dropped == {UNLABELLED: ("000000040083.jpg #1202706", "000000196141.jpg #508900")}
    assert real.splits["test"].tolist() == [*range(12)]
    assert real.labels["image"].tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]
    photos = [f"000000{number}.jpg" for number in ("000785", "040083", "196141", "197388")]
    assert np.unique(real.groups).tolist() == photos
    assert real.describe(0) == "000000000785.jpg #442619"
    assert list(real.labels)[:3] == ["nose.x", "nose.y", "nose.v"]
    assert len(real.labels) == 3 * 17 + 5


def test_a_key_point_by_hand(real: CocoKeypoints) -> None:
    """The box is 218.7 x 346.68 around (390.14, 218.07): its crop's side is 433.35."""
    labels = {name: float(values[0]) for name, values in real.labels.items()}
    assert labels["box.side"] == pytest.approx(433.35)
    assert labels["box.left"] == pytest.approx(390.14 - 216.675)
    assert labels["box.top"] == pytest.approx(218.07 - 216.675)
    assert labels["nose.x"] == pytest.approx((367 - 173.465) / 433.35)
    assert labels["nose.y"] == pytest.approx((81 - 1.395) / 433.35)
    assert labels["nose.v"] == 2
    assert labels["area"] == pytest.approx(27789.11055)


def test_labels_lead_back_to_the_official_points(real: CocoKeypoints, root: Path) -> None:
    official = pytest.importorskip("pycocotools.coco").COCO(str(root / "test_coco.json"))
    entries = [official.anns[int(real.describe(i).split("#")[1])] for i in range(len(real))]
    told = np.array([entry["keypoints"] for entry in entries]).reshape(12, 17, 3)
    names = official.loadCats(1)[0]["keypoints"]
    x, y, v = (np.stack([real.labels[f"{n}.{part}"] for n in names], 1) for part in "xyv")
    left, top, side = (real.labels[f"box.{part}"][:, None] for part in ("left", "top", "side"))
    back = np.stack([left + x * side, top + y * side, v], 2)
    np.testing.assert_allclose(back[v > 0], told[v > 0], atol=1e-3)
    assert (told[..., 2] > 0).sum() == (v > 0).sum() == 181
    assert real.labels["area"].tolist() == [np.float32(entry["area"]) for entry in entries]


def test_a_single_file_is_divided_by_photo(root: Path) -> None:
    data = CocoKeypoints(str(root), train="test_coco.json", images=".")
    owners = [set(data.groups[where].tolist()) for where in data.splits.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 4
    assert data.protocol == "photos split at random; crops around annotated boxes"


def test_points_of_the_wrong_number_are_named(root: Path) -> None:
    """The sample of whole bodies has 133 points, where its category names 17."""
    said = refusal(root, test="test_keypoint_partition_metric.json")
    assert "expected 51 finite number(s) under 'keypoints', got 399 values" in said


def person(number: int = 1, **changes: Any) -> dict[str, Any]:
    points, box = [90, 60, 2, 50, 40, 1, 7, 7, 0], [40, 30, 60, 60]
    plain = {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 1800.5}
    return {**plain, "num_keypoints": 2, "iscrowd": 0, "keypoints": points, **changes}


def content(*people: dict[str, Any], photos: int = 4) -> dict[str, Any]:
    names = ["nose", "left_eye", "tail"]
    kinds = [{"id": 3, "name": "dog", "keypoints": ["nose"]}, {"id": 4, "name": "car"}]
    size = {"width": 200, "height": 150}
    return {
        "categories": [*kinds, {"id": 1, "name": "person", "keypoints": names}],
        "images": [{"id": i, "file_name": f"{i}.png", **size} for i in range(1, photos + 1)],
        "annotations": list(people or map(person, range(1, photos + 1))),
    }


def write(root: Path, told: Any, name: str = FILE) -> Path:
    side = "train2017" if "train" in name else "val2017"
    for folder in ("annotations", side):
        (root / folder).mkdir(exist_ok=True, parents=True)
    (root / name).write_text(told if isinstance(told, str) else json.dumps(told))
    for i in range(1, 5):
        Image.new("RGB", (200, 150), (9, 90, 40)).save(root / side / f"{i}.png")
    return root


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: create("data", "coco_keypoints", {"root": str(root), **options}))


def test_the_official_layout_is_read_without_options(tmp_path: Path) -> None:
    write(tmp_path, content())
    write(tmp_path, content(photos=2), FILE.replace("train", "val"))
    data = CocoKeypoints(str(tmp_path))
    assert [where.tolist() for where in data.splits.values()] == [[0, 1, 2, 3], [4, 5]]
    assert data.groups[[0, 3, 4]].tolist() == [
        "train2017/1.png",
        "train2017/4.png",
        "val2017/1.png",
    ]
    assert data.protocol == "split as given by the file; crops around annotated boxes"
    options = {"train": FILE, "validation": FILE.replace("train", "val"), "images": "train2017"}
    assert "group 'train2017/1.png' is in both" in refusal(tmp_path, **options)


@pytest.mark.parametrize(("point", "x", "y"), [("nose", 90, 60), ("left_eye", 50, 40)])
def test_a_dot_is_where_the_label_says(tmp_path: Path, point: str, x: int, y: int) -> None:
    photo = np.zeros((150, 200, 3), np.uint8)
    photo[y - 2 : y + 2, x - 2 : x + 2] = 255  # its middle is at (x, y)
    Image.fromarray(photo).save(write(tmp_path, content()) / "train2017" / "2.png")
    data = CocoKeypoints(str(tmp_path), train=FILE, size=SIZE)
    weight = data.image(1)[..., 0].astype(float)
    found = [weight.sum(axis) @ (np.arange(SIZE) + 0.5) / weight.sum() for axis in (0, 1)]
    told = np.array([data.labels[f"{point}.{part}"][1] for part in "xy"])
    np.testing.assert_allclose(found, (MARGIN + told * (1 - 2 * MARGIN)) * SIZE, atol=0.75)
    assert [data.labels[f"tail.{part}"][1] for part in "xyv"] == [0.5, 0.5, 0]
    assert data.labels["left_eye.v"][1] == 1


def test_what_is_left_out_is_listed_with_its_reason(tmp_path: Path) -> None:
    people = [
        *(person(1), person(2), person(14, category_id=3, keypoints=[1, 1, 2])),
        *(person(9, image_id=1, iscrowd=1), person(10, image_id=2, num_keypoints=0)),
        person(11, image_id=2, keypoints=[5, 5, 0] * 3),
        *(person(12, image_id=3, bbox=[300, 0, 20, 20]), person(13, image_id=3, area=0)),
    ]
    data = CocoKeypoints(str(write(tmp_path, content(*people))), train=FILE)
    blank, flat = ("2.png #10", "2.png #11"), ("3.png #12", "3.png #13")
    assert data.dropped == {CROWD: ("1.png #9",), UNLABELLED: blank, FLAT: flat}
    assert "none is left" in refusal(write(tmp_path, content(*people[2:])), train=FILE)
    write(tmp_path, content(*(person(i, category_id=3, keypoints=[1, 1, 2]) for i in (1, 2))))
    dog = CocoKeypoints(str(tmp_path), train=FILE, category="dog")
    assert list(dog.labels)[:4] == ["nose.x", "nose.y", "nose.v", "box.left"]


def test_a_box_is_clipped_to_its_photo(tmp_path: Path) -> None:
    """From -20..60 by 100..250 the photo of 200 x 150 has 0..60 by 100..150: a square of 60."""
    people = [person(i, bbox=[-20, 100, 80, 150]) for i in (1, 2)]
    data = CocoKeypoints(str(write(tmp_path, content(*people))), train=FILE)
    found = [data.labels[f"box.{part}"][0] for part in ("left", "top", "side")]
    np.testing.assert_allclose(found, [30 - 37.5, 125 - 37.5, 75])


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    def of(name: str, **options: Any) -> str:
        return CocoKeypoints(str(tmp_path / name), train=FILE, **options).fingerprint

    for name in ("one", "two"):
        write(tmp_path / name, content())
    first = of("one")
    assert of("two") == first == of("one", seed=4) != of("one", context=1.3)
    write(tmp_path / "two", content(*map(person, (1, 2, 3)), person(4, area=99)))
    assert of("two") != first
    Image.new("RGB", (201, 150), (9, 90, 40)).save(tmp_path / "one" / "train2017" / "3.png")
    assert of("one") != first


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected a JSON object, got list"),
        ({"categories": []}, "no category 'person': none is known"),
        ({**content(), "images": None}, "expected a list under the key 'images', got NoneType"),
        ({**content(), "annotations": [{"id": 5}]}, "annotations: the entry with the id 5 has no"),
        ({**content(), "images": [{"id": 5}]}, "the entry with the id 5 has no key 'width'"),
        (
            {**content(), "images": content()["images"] * 2},
            "expected unique image ids, got 1 twice",
        ),
        (content(person(image_id=77)), "annotation 1: expected the id of a listed image, got 77"),
        (content(person(keypoints=[1, 2, 2])), "annotation 1: expected 9 finite number(s) under"),
        (content(person(keypoints=[1, 2, 3] * 3)), "annotation 1: expected key points that are"),
        (content(person(keypoints=[float("nan"), 2, 2] * 3)), "expected 9 finite number(s)"),
        (content(person(bbox=[1, 2, 3])), "expected 4 finite number(s) under 'bbox', got 3"),
        (content(person(area="x")), "expected 1 finite number(s) under 'area', got 'x'"),
    ],
)
def test_a_mistake_in_the_annotations_is_named(tmp_path: Path, told: Any, said: str) -> None:
    found = refusal(write(tmp_path, told), train=FILE)
    assert found.startswith(str(tmp_path / FILE))
    assert said in found


def test_missing_photos_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    for path in (write(tmp_path, content()) / "train2017").iterdir():
        path.unlink()
    said = refusal(tmp_path, train=FILE)
    assert (
        f"4 of 4 files are not in {tmp_path / 'train2017'}: '1.png', '2.png', '3.png', ...:" in said
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {},
            "person_keypoints_val2017.json: expected an annotation file, there is none",
        ),
        ({"train": FILE, "category": "persn"}, "no category 'persn': did you mean 'person'?"),
        (
            {"train": FILE, "category": "car"},
            "expected unique key points under 'keypoints' of category 'car'",
        ),
        ({"train": FILE, "images": {"val": "x"}}, "data.images: no file of split 'val': known: t"),
        ({"train": FILE, "images": "../x"}, "4 of 4 files are not in"),
        ({"test": FILE, "shares": {"test": 1.0}}, "remove the option"),
        ({"train": FILE, "context": 0.0}, "data.context: expected a side"),
    ],
)
def test_an_odd_option_is_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    assert said in refusal(write(tmp_path, content()), **options)


def test_a_damaged_or_resized_photo_is_named(tmp_path: Path) -> None:
    (write(tmp_path, content()) / "train2017" / "1.png").write_bytes(b"no picture")
    Image.new("RGB", (100, 75)).save(tmp_path / "train2017" / "2.png")
    data = CocoKeypoints(str(tmp_path), train=FILE)
    for index, said in enumerate(["1.png: cannot be decoded", "expected the annotated 200"]):
        with pytest.raises(UnreadableImage, match=said):
            data.image(index)
