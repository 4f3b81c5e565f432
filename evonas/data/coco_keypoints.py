"""COCO key points: one image per annotated person, from files in COCO's annotation format.

T.-Y. Lin et al. (2014), "Microsoft COCO: Common Objects in Context", ECCV; the format is
that of https://cocodataset.org/#format-data.

Expected under ``root``: ``annotations/person_keypoints_train2017.json`` and ``..._val2017.json``
with the folders ``train2017/`` and ``val2017/``, or any files of that format.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import read_json
from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import remembered
from evonas.data.images.key_point_crops import MARGIN, check_size, cut, point_labels, standard_crops
from evonas.data.readers.csv_table import SIDES, deal, fingerprint, located, split_protocol
from evonas.errors import InputError, nearest

CROWD = "annotation of a crowd (iscrowd)"
UNLABELLED = "no key point is labelled"
FLAT = "box or area is zero within the photo"  # these texts are keys of ``Dataset.dropped``

_VERSION = "coco_keypoints 2"
_OFFICIAL = {
    "train": "annotations/person_keypoints_train2017.json",
    "validation": "annotations/person_keypoints_val2017.json",
}
_KEPT = ("points", "box", "size", "area", "id", "photo")
_LARGEST = 100_000  # largest side of a photo, pixels
_FARTHEST = 1e10  # largest coordinate or area: that of the largest photo

Arrays = dict[str, NDArray[np.generic]]


class CocoKeypoints(Dataset):
    """Persons with key points, in the order of the files; groups are photos.

    Crowds, persons without a labelled key point, and boxes or areas of zero are left out and
    listed in ``dropped``. A box is clipped to its photo; the standard crop is the square around
    it, ``context`` times as large. Boxes are the annotated ones, not detections.

    Labels: for each key point of the category, in its order, ``nose.x``, ``nose.y`` and
    ``nose.v``; ``box.left``, ``box.top``, ``box.side`` (the standard crop, in pixels of the
    photo), ``area`` (annotated, squared pixels) and ``image`` (index of the photo in order of
    appearance). A prediction in coordinates of the annotation is
    ``x_photo = box.left + nose.x * box.side``.

    Args:
        root: folder of annotations and photos.
        train: annotation file of the training split, below ``root``; if it is the only file, its
            photos are split at random by ``shares``.
        validation: annotation file of the validation split.
        test: annotation file of the test split. Without any of the three, training and
            validation are the official files of 2017.
        images: folder of the photos below ``root``, for all splits, or split -> folder; default:
            the last word of the annotation file's name (``train2017``) or ``images`` if there is
            such a folder, else the folder of the annotation file.
        category: name of the category.
        context: side of the standard crop in units of the box's longer side.
        shares: split -> share of the persons; default: train 0.7, validation 0.3.
        seed: seed of the random split.
        size: side of the returned images, pixels.

    Raises:
        InputError: a file, a key, a photo or the category is missing, or a value is wrong.
    """

    margin = MARGIN

    def __init__(
        self,
        root: str,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        images: str | dict[str, str] | None = None,
        category: str = "person",
        context: float = 1.25,
        shares: dict[str, float] | None = None,
        seed: int = 0,
        size: int = 256,
    ) -> None:
        check_size(size, context)
        named = {"train": train, "validation": validation, "test": test}
        files = {s: name for s, name in named.items() if name is not None} or _OFFICIAL
        if isinstance(images, dict):
            odd = next((side for side in images if side not in files), None)
            if odd is not None:
                raise InputError(f"data.images: no file of split {odd!r}: {nearest(odd, files)}")
        parts, sides = [], []
        self._root, self._names = Path(root), list[str]()
        self.files: list[Path] = []
        dropped: dict[str, list[str]] = {}
        for side in (side for side in SIDES if side in files):
            path = self._root / files[side]
            part = _remembered(path, category)
            folder = self._folder(path, images.get(side) if isinstance(images, dict) else images)
            photos = part["photo"].tolist()
            self.files += located(folder, photos, str(path))
            ids = zip(photos, part["id"].tolist(), strict=True)
            self._names += [f"{name} #{number}" for name, number in ids]
            for why in (CROWD, UNLABELLED, FLAT):
                dropped.setdefault(why, []).extend(part[why].tolist())
            parts.append(part)
            sides += [side] * len(photos)
        names = [part["names"].tolist() for part in parts]
        if any(other != names[0] for other in names):
            raise InputError(
                f"{root}: expected the same key points in all annotation files, those of "
                f"{' and '.join(files)} differ: use files of one format"
            )
        every: Any = {
            k: np.concatenate([p[k] for p in parts]) for k in ("points", "box", "area", "size")
        }
        self._crops, self._annotated = standard_crops(every["box"], context), every["size"]
        self.groups = np.array([self._below(path) for path in self.files], np.str_)
        numbers = {name: i for i, name in enumerate(dict.fromkeys(self.groups.tolist()))}
        photo = np.array([numbers[name] for name in self.groups.tolist()], np.intp)
        self.labels = point_labels(names[0], every["points"], self._crops, every["area"], photo)
        self.dropped = {why: tuple(left_out) for why, left_out in dropped.items() if left_out}
        self.splits = deal(self.groups, sides, shares, seed) if sides else {}
        split = (
            "photos split at random"
            if list(files) == ["train"]
            else split_protocol(sides, "the file")
        )
        self.protocol = f"{split}; crops around annotated boxes"
        self._size = size
        self.framing = Framing("square", context, margin=self.margin, size=size)
        self.check()
        self.fingerprint = fingerprint(
            f"{_VERSION} {size} {self.margin}", {**self.labels, "crops": self._crops}, self.files
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the (size, size, 3) RGB standard crop with its margin; black outside the photo.

        Raises:
            UnreadableImage: the photo is damaged or has not the annotated size.
        """
        width, height = self._annotated[index].tolist()
        return cut(self.files[index], self._crops[index], self._size, (width, height))

    def describe(self, index: int) -> str:
        """Return the photo's file name and the annotation's id."""
        return self._names[index]

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return None: groups are photos, which are compared by their hashes."""
        return None

    def _folder(self, annotations: Path, chosen: str | None) -> Path:
        if chosen is not None:
            return self._root / chosen
        usual = (self._root / annotations.stem.rsplit("_", 1)[-1], self._root / "images")
        return next((folder for folder in usual if folder.is_dir()), annotations.parent)

    def _below(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._root)).as_posix()


def _remembered(path: Path, category: str) -> dict[str, Any]:
    """Return the content of an annotation file, cached.

    Parsing the official files of 2017 takes seconds and gigabytes.

    Raises:
        InputError: see ``_read``.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: expected an annotation file, there is none: give the files below data.root "
            f"in data.train, data.validation or data.test"
        )
    return remembered(f"{_VERSION} {category}", [path], lambda: _read(path, category))


def _read(path: Path, category: str) -> Arrays:
    """Return the persons of an annotation file.

    Returns:
        ``names`` (k,) of key points; for n persons ``points`` (n, k, 3) and ``box`` (n, 4) in
        pixels, ``size`` (n, 2) of the photo, ``area`` (n,), ``id`` (n,) and ``photo`` (n,), the
        file name; for each reason the names of the annotations that are left out.
    """
    content = read_json(path)
    kind = _category(path, content, category)
    names = [str(name) for name in kind["keypoints"]]
    photos: dict[Any, tuple[str, float, float]] = {}
    for entry in _list(path, content, "images"):
        number = _get(path, "images", entry, "id")
        width, height = (_size(path, number, entry, key) for key in ("width", "height"))
        if number in photos:
            raise InputError(
                f"{path}: expected unique image ids, got {number} twice: remove one of the images"
            )
        photos[number] = (str(_get(path, "images", entry, "file_name")), width, height)
    kept: dict[str, list[Any]] = {key: [] for key in _KEPT}
    dropped: dict[str, list[str]] = {CROWD: [], UNLABELLED: [], FLAT: []}
    for entry in _list(path, content, "annotations"):
        if _get(path, "annotations", entry, "category_id") != kind["id"]:
            continue
        number, image = (_get(path, "annotations", entry, key) for key in ("id", "image_id"))
        if image not in photos:
            raise InputError(
                f"{path}: annotation {number}: expected the id of a listed image, got {image!r}: "
                f"restore the image's entry or remove the annotation"
            )
        name, width, height = photos[image]
        points = _numbers(path, entry, "keypoints", 3 * len(names)).reshape(-1, 3)
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            raise InputError(
                f"{path}: annotation {number}: expected key points that are 0 not labelled, "
                f"1 hidden or 2 visible, got {points[:, 2].tolist()}: correct or remove it"
            )
        box = _numbers(path, entry, "bbox", 4)
        area = float(_numbers(path, entry, "area", 1)[0])
        edges = np.clip([*box[:2], *(box[:2] + box[2:])], 0, [width, height] * 2)
        why = (
            CROWD
            if entry.get("iscrowd", 0)
            else UNLABELLED
            if entry.get("num_keypoints") == 0 or not points[:, 2].any()
            else FLAT
            if (edges[2:] <= edges[:2]).any() or area <= 0
            else None
        )
        if why:
            dropped[why].append(f"{name} #{number}")
            continue
        for key, value in zip(
            _KEPT, (points, edges, (width, height), area, number, name), strict=True
        ):
            kept[key].append(value)
    n = len(kept["id"])
    return {
        "names": np.array(names, np.str_),
        "points": np.array(kept["points"], np.float64).reshape(n, len(names), 3),
        "box": np.array(kept["box"], np.float64).reshape(n, 4),
        "size": np.array(kept["size"], np.float64).reshape(n, 2),
        "area": np.array(kept["area"], np.float64),
        "id": np.array([str(number) for number in kept["id"]], np.str_),
        "photo": np.array(kept["photo"], np.str_),
        **{why: np.array(left_out, np.str_) for why, left_out in dropped.items()},
    }


def _category(path: Path, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    kinds = _list(path, content, "categories")
    known = {str(_get(path, "categories", kind, "name")): kind for kind in kinds}
    if name not in known:
        raise InputError(f"{path}: no category {name!r}: {nearest(name, known)}")
    points = known[name].get("keypoints")
    if not points or not isinstance(points, list) or len(set(map(str, points))) < len(points):
        raise InputError(
            f"{path}: expected unique key points under 'keypoints' of category {name!r}, got "
            f"{points!r:.80}: use a file such as person_keypoints_val2017.json"
        )
    _get(path, "categories", known[name], "id")
    return dict(known[name])


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        raise InputError(
            f"{path}: expected a list under the key {key!r}, got {type(value).__name__}: "
            f"use a file such as person_keypoints_val2017.json"
        )
    return value


def _get(path: Path, where: str, entry: Any, key: str) -> Any:
    """Return the scalar value of a required key of an entry."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if value is None or isinstance(value, dict | list):
        number = entry.get("id", "?") if isinstance(entry, dict) else "?"
        raise InputError(f"{path}: {where}: the entry with the id {number} has no key {key!r}")
    return value


def _size(path: Path, number: Any, entry: Any, key: str) -> float:
    value = _get(path, "images", entry, key)
    if not isinstance(value, int | float) or not 0 < value <= _LARGEST:
        raise InputError(
            f"{path}: image {number}: expected {key} in pixels, up to {_LARGEST}, got {value!r}"
        )
    return float(value)


def _numbers(path: Path, entry: Mapping[str, Any], key: str, n: int) -> NDArray[np.float64]:
    values = entry.get(key)
    if isinstance(values, int | float):
        values = [values]
    if (
        not isinstance(values, list)
        or len(values) != n
        or not all(isinstance(v, int | float) and abs(v) <= _FARTHEST for v in values)
    ):
        got = f"{len(values)} values" if isinstance(values, list) else repr(values)
        raise InputError(
            f"{path}: annotation {entry.get('id')}: expected {n} finite number(s) under {key!r}, "
            f"got {got}: correct or remove it"
        )
    return np.array(values, np.float64)
