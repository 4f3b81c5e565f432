"""Your own images in a folder for each class, with or without train, validation and test above.

Expected under ``root``: ``CLASS/*.jpg`` for each class, or ``train/CLASS/*.jpg``,
``validation/CLASS/*.jpg`` (or ``val``) and ``test/CLASS/*.jpg``, which are then the splits.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import file_hashes
from evonas.data.images.key_point_crops import check_size, whole
from evonas.data.readers.csv_table import deal, fingerprint, told
from evonas.errors import InputError

_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_VERSION = "class_folders 1"


class ClassFolders(Dataset):
    """Whole photos, upright, on a black square; the class is the name of their folder.

    Classes are numbered by name, images ordered by split, class and file name. Folders
    whose name begins with a point or with ``__`` are passed over.

    Args:
        root: folder of the classes, or of the splits.
        label: name of the label.
        group_pattern: regular expression with one group, searched in a file's name without
            its ending, that gives the person: ``^(\\d+)_`` for ``0042_smiling.jpg``. By
            default every file is its own group.
        shares: side -> share of the images, where no folder says it; by default train 0.7,
            validation 0.3. If there are folders of training but not of validation images,
            the former are shared among these two. Without groups each class is dealt on
            its own, so that a rare one is on every side.
        seed: of dealing groups to the sides.
        size: side of the returned images, pixels.

    Raises:
        InputError: there is no image, fewer than two classes, a class without images or
            on one side alone; the pattern is none, or a file's name does not match it.
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
        found = [
            (side, folder.name, path)
            for side, parent in layout.items()
            for folder in _folders(parent)
            for path in _images(folder)
        ]
        names = sorted({name for _, name, _ in found})
        if len(names) < 2:
            raise InputError(
                f"{root}: expected two or more folders, one for each class, "
                f"got {', '.join(map(repr, names)) or 'none'}"
            )
        self._files = [path for _, _, path in found]
        number = {name: i for i, name in enumerate(names)}
        numbers = np.array([number[name] for _, name, _ in found])
        self.labels = {label: numbers.astype(np.float32)}
        self.classes = {label: tuple(names)}
        self.groups = self._grouped(group_pattern)
        sides = None if "" in layout else [side for side, _, _ in found]
        strata = numbers if group_pattern is None else None
        self.splits = deal(self.groups, sides, shares, seed, strata)
        self.protocol = f"{told(sides, 'the folder')}; " + (
            "all images of one person on one side"
            if group_pattern
            else "no groups: one person's images may be on both sides"
        )
        self._refuse_lonely(names, numbers)
        self.check()
        self.fingerprint = fingerprint(
            f"{_VERSION} {size} {names}",
            {**self.labels, "files": np.array([path.name for path in self._files])},
            self._files,
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index``, (size, size, 3) RGB: the whole photo on a black square.

        Raises:
            UnreadableImage: the file is damaged.
        """
        return whole(self._files[index], self._size)

    def describe(self, index: int) -> str:
        """Return the file's path below ``root``."""
        return self._files[index].relative_to(self._root).as_posix()

    def image_hashes(self) -> NDArray[np.str_]:
        """Return a hash of each image's file, (n,)."""
        return file_hashes(self._files)

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the persons, where file names tell them."""
        return self.groups if self._persons else None

    def _grouped(self, pattern: str | None) -> NDArray[np.str_]:
        if pattern is None:
            return np.array([self.describe(i) for i in range(len(self._files))])
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"data.group_pattern: {pattern!r} is no regular expression ({error})"
            ) from error
        if compiled.groups != 1:
            raise InputError(
                f"data.group_pattern: expected one group (...), got {compiled.groups} "
                f"in {pattern!r}"
            )
        groups = []
        for i, path in enumerate(self._files):
            match = compiled.search(path.stem)
            if match is None or not match[1]:
                raise InputError(
                    f"data.group_pattern: {pattern!r} finds no group in {path.stem!r} "
                    f"({self.describe(i)}): rename the file or change the pattern"
                )
            groups.append(match[1])
        return np.array(groups)

    def _refuse_lonely(self, names: list[str], numbers: NDArray[np.intp]) -> None:
        """Refuse a class that cannot be learnt, or not be validated or tested anywhere."""
        if len(self.splits) < 2:
            return
        for number, name in enumerate(names):
            sides = [s for s, where in self.splits.items() if (numbers[where] == number).any()]
            if len(sides) < 2 or ("train" in self.splits and "train" not in sides):
                raise InputError(
                    f"{self._root}: class {name!r} is in {' and '.join(sides)} alone, expected it "
                    f"in train and another split: add or move images, or choose another "
                    f"data.seed"
                )


def _layout(root: Path) -> dict[str, Path]:
    """Return split -> folder of its classes; the only split is '' where folders are classes."""
    folders = _folders(root)
    known = [folder for folder in folders if folder.name in _SPLITS]
    if not known or ("train" not in {f.name for f in known} and len(known) < len(folders)):
        return {"": root}
    odd = [folder.name for folder in folders if folder not in known]
    if odd:
        raise InputError(
            f"{root}: the folder {odd[0]!r} stands beside splits ({known[0].name}): "
            f"expected classes or splits, move it"
        )
    if {"val", "validation"} <= {folder.name for folder in known}:
        raise InputError(f"{root}: has folders 'val' and 'validation': keep one of them")
    order = list(_SPLITS)
    return {_SPLITS[f.name]: f for f in sorted(known, key=lambda f: order.index(f.name))}


def _folders(parent: Path) -> list[Path]:
    return [path for path in _listing(parent) if path.is_dir() and not path.name.startswith("__")]


def _images(folder: Path) -> list[Path]:
    found = [p for p in _listing(folder) if p.suffix.lower() in _IMAGES and p.is_file()]
    if not found:
        raise InputError(
            f"{folder}: expected images ({', '.join(sorted(_IMAGES))}) directly in the folder, "
            f"there is none: fill or remove it"
        )
    return found


def _listing(folder: Path) -> list[Path]:
    with reading(folder, "see data.root"):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
