"""Your own images in one folder per class, optionally below train, validation and test.

Expected under ``root``: ``CLASS/*.jpg`` for each class; or, with given splits,
``train/CLASS/*.jpg``, ``validation/CLASS/*.jpg`` (or ``val``) and ``test/CLASS/*.jpg``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import SUFFIXES
from evonas.data.images.key_point_crops import check_size, whole
from evonas.data.readers.csv_table import deal, fingerprint, split_protocol
from evonas.errors import InputError

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_VERSION = "class_folders 1"


class ClassFolders(Dataset):
    """Whole photos, upright, on a black square; the class is the name of the folder.

    Classes are sorted by name, images by split, class and file name. Folders whose name begins
    with a dot or with ``__`` are ignored.

    Args:
        root: folder of the classes, or of the splits.
        label: name of the label.
        group_pattern: regular expression with one group that is searched in a file's name
            without its extension and gives the person: ``^(\\d+)_`` for ``0042_smiling.jpg``.
            Default: every file is its own group.
        shares: split -> share of the images for a random split; default: train 0.7, validation
            0.3. If there are folders of training but not of validation images, the training
            images are split into these two. Without groups each class is split on its own, so
            that a rare class is in every split.
        seed: seed of the random split.
        size: side of the returned images, pixels.

    Raises:
        InputError: there are no images or fewer than two classes, a class has no images or is in
            only one split, or the pattern is invalid or does not match a file's name.
    """

    def __init__(
        self,
        root: str,
        label: str = "class",
        group_pattern: str | None = None,
        shares: dict[str, float] | None = None,
        seed: int = 0,
        size: int = 192,
    ) -> None:
        check_size(size)
        self._root, self._size = Path(root), size
        self._persons = group_pattern is not None
        self.framing = Framing("whole", size=size)
        layout = _layout(self._root)
        entries = [
            (side, folder.name, path)
            for side, parent in layout.items()
            for folder in _folders(parent)
            for path in _images(folder)
        ]
        names = sorted({name for _, name, _ in entries})
        if len(names) < 2:
            raise InputError(
                f"{root}: expected two or more folders, one for each class, "
                f"got {', '.join(map(repr, names)) or 'none'}"
            )
        self.files = [path for _, _, path in entries]
        index = {name: i for i, name in enumerate(names)}
        numbers = np.array([index[name] for _, name, _ in entries])
        self.labels = {label: numbers.astype(np.float32)}
        self.classes = {label: tuple(names)}
        self.groups = self._grouped(group_pattern)
        sides = None if "" in layout else [side for side, _, _ in entries]
        strata = numbers if group_pattern is None else None
        self.splits = deal(self.groups, sides, shares, seed, strata)
        self.protocol = f"{split_protocol(sides, 'the folder')}; " + (
            "all images of one person on one side"
            if group_pattern
            else "no groups: one person's images may be on both sides"
        )
        self._check_classes(names, numbers)
        self.check()
        self.fingerprint = fingerprint(
            f"{_VERSION} {size} {names}",
            {**self.labels, "files": np.array([path.name for path in self.files])},
            self.files,
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index``, (size, size, 3) RGB: the whole photo on a black square.

        Raises:
            UnreadableImage: the file is damaged.
        """
        return whole(self.files[index], self._size)

    def describe(self, index: int) -> str:
        """Return the file's path below ``root``."""
        return self.files[index].relative_to(self._root).as_posix()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the persons, if ``group_pattern`` was given."""
        return self.groups if self._persons else None

    def _grouped(self, pattern: str | None) -> NDArray[np.str_]:
        if pattern is None:
            return np.array([self.describe(i) for i in range(len(self.files))])
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"data.group_pattern: expected a regular expression, got {pattern!r} ({error})"
            ) from error
        if compiled.groups != 1:
            raise InputError(
                f"data.group_pattern: expected one group (...), got {compiled.groups} "
                f"in {pattern!r}"
            )
        groups = []
        for i, path in enumerate(self.files):
            match = compiled.search(path.stem)
            if match is None or not match[1]:
                raise InputError(
                    f"data.group_pattern: expected a match of {pattern!r} in each file name, got "
                    f"{path.stem!r} ({self.describe(i)}): rename the file or change the pattern"
                )
            groups.append(match[1])
        return np.array(groups)

    def _check_classes(self, names: list[str], numbers: NDArray[np.intp]) -> None:
        """Check that each class is in the training split and in another one."""
        if len(self.splits) < 2:
            return
        for index, name in enumerate(names):
            sides = [s for s, where in self.splits.items() if (numbers[where] == index).any()]
            if len(sides) < 2 or ("train" in self.splits and "train" not in sides):
                raise InputError(
                    f"{self._root}: expected each class in train and another split, got {name!r} "
                    f"in {' and '.join(sides)} only: add or move images, or choose another "
                    f"data.seed"
                )


def _layout(root: Path) -> dict[str, Path]:
    """Return split -> folder of its classes; {"": root} if the folders are classes."""
    folders = _folders(root)
    known = [folder for folder in folders if folder.name in _SPLITS]
    if not known or ("train" not in {f.name for f in known} and len(known) < len(folders)):
        return {"": root}
    others = [folder.name for folder in folders if folder not in known]
    if others:
        raise InputError(
            f"{root}: expected folders of classes or of splits, got {others[0]!r} beside the "
            f"split {known[0].name}: move it"
        )
    if {"val", "validation"} <= {folder.name for folder in known}:
        raise InputError(
            f"{root}: expected one folder of validation images, got 'val' and 'validation': keep "
            f"one of them"
        )
    order = list(_SPLITS)
    return {_SPLITS[f.name]: f for f in sorted(known, key=lambda f: order.index(f.name))}


def _folders(parent: Path) -> list[Path]:
    return [path for path in _listing(parent) if path.is_dir() and not path.name.startswith("__")]


def _images(folder: Path) -> list[Path]:
    images = [p for p in _listing(folder) if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not images:
        raise InputError(
            f"{folder}: expected images ({', '.join(sorted(SUFFIXES))}) directly in the folder, "
            f"there are none: fill or remove it"
        )
    return images


def _listing(folder: Path) -> list[Path]:
    with reading(folder, "see data.root"):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
