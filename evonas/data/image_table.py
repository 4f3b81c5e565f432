"""Your own images with a CSV table of numbers or classes, and optional groups, boxes and splits.

Expected under ``root``: a table (``labels.csv``) with the column ``file`` and a column for each
target (``age``, ``emotion``, ``yaw``), and the listed images. Cells may be separated by commas,
semicolons or tabs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing, Shape
from evonas.data.images.image_io import read_photo, squared
from evonas.data.images.key_point_crops import (
    MARGIN,
    check_size,
    cut,
    point_labels,
    standard_crops,
    whole,
)
from evonas.data.readers.csv_table import (
    Table,
    deal,
    fingerprint,
    located,
    number,
    read_table,
    split_protocol,
)
from evonas.errors import InputError, nearest

_GROUPS = ("group", "person", "identity")
_BOXES = (("left", "top", "right", "bottom"), ("x0", "y0", "x1", "y1"))
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_VERSION = "image_table 1"

Columns = tuple[str, str, str, str]


class ImageTable(Dataset):
    """Images with the targets of a table, in its order and its units.

    A column named in ``classes`` contains classes. Of the others, a column contains numbers if
    all its values are finite numbers, and classes, sorted by name, if none is a number. A cell of
    a target may be empty where the task allows missing labels, as ``several`` and ``multi_label``
    do; the label is nan there.

    With a box, the standard crop is the square around it, ``context`` times as large, with a
    margin of 0.15 of the image's side. Without a box, the image is the whole photo, upright, on
    a black square, without a margin: stretching would change apparent angles, and cropping might
    lose the labelled content.

    Args:
        root: folder of the table.
        table: file name of the table.
        images: folder of the images, below ``root``.
        file: column of file names.
        targets: columns to learn, or label name -> column; default: all columns except those of
            files, groups, splits and boxes.
        classes: label name -> names of its classes, in the order of their indices.
        points: key point -> columns of x, y and, if it is not visible in all photos, of 0 (not
            labelled), 1 (hidden) or 2 (visible); in pixels of the stored file with a box, else
            of the upright photo. ``targets`` are then no columns by default.
        group: column of the person or source photo, whose images are all in the same split;
            default: ``group``, ``person`` or ``identity`` if present and not a target, else every
            file is its own group.
        box: columns of left, top, right and bottom, in pixels of the stored file; default:
            ``left, top, right, bottom`` or ``x0, y0, x1, y1`` if present and not targets.
        context: side of the standard crop in units of the box's longer side.
        split: column with ``train``, ``validation`` (``val``) or ``test``; default: ``split`` if
            present.
        shares: split -> share of the images for a random split; default: train 0.7, validation
            0.3. If the table has training but no validation images, the training images are
            split into these two.
        seed: seed of the random split.
        size: side of the returned images, pixels.

    Raises:
        InputError: the table, a column, a value, a box, a class or a file is missing or wrong,
            or an option contradicts the table.
    """

    def __init__(
        self,
        root: str,
        table: str = "labels.csv",
        images: str = "",
        file: str = "file",
        targets: tuple[str, ...] | dict[str, str] | None = None,
        classes: dict[str, list[str]] | None = None,
        points: dict[str, list[str]] | None = None,
        group: str | None = None,
        box: Columns | None = None,
        context: float = 1.0,
        split: str | None = None,
        shares: dict[str, float] | None = None,
        seed: int = 0,
        size: int = 192,
    ) -> None:
        check_size(size, context)
        read = read_table(Path(root) / table)
        self._names = read.texts(file)
        free = set(read.columns) - set(_wanted(targets).values())  # a target is nothing else
        group = group or next((name for name in _GROUPS if name in free), None)
        split = split or ("split" if "split" in free else None)
        box = box or _box_columns(read, free)
        other = {file, group, split, *(box or ())}
        if targets is None:
            targets = () if points else tuple(n for n in read.columns if n not in other)
        self._fill(read, targets, classes or {}, empty=bool(points))
        self._crops = None if box is None else standard_crops(_boxes(read, box), context)
        self.margin = 0.0 if self._crops is None else MARGIN
        shape: Shape = "whole" if self._crops is None else "square"
        self.framing = Framing(shape, context, margin=self.margin, size=size)
        self.groups = np.array(read.texts(group) if group else self._names)
        self.files = located(Path(root) / images, self._names, str(read.path))
        if points:
            self.labels = {**self.labels, **self._points(read, points, box)}
        sides = None if split is None else _sides(read, split)
        self.splits = deal(self.groups, sides, shares, seed)
        self.protocol = f"{split_protocol(sides, f'column {split!r}')}; " + (
            f"all images of one {group} on one side"
            if group
            else "no column of persons: one person's images may be on both sides"
        )
        self._size, self._lines, self._grouped = size, read.lines, group is not None
        self._repeated = {name for name, n in Counter(self._names).items() if n > 1}
        self.check()
        drawn = {"files": np.array(self._names)}
        if self._crops is not None:
            drawn["crops"] = self._crops
        named = {name: list(names) for name, names in self.classes.items()}
        self.fingerprint = fingerprint(
            f"{_VERSION} {size} {self.margin} {named}", {**self.labels, **drawn}, self.files
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index``, (size, size, 3) RGB; black outside the photo.

        Raises:
            UnreadableImage: the file is damaged, or its box lies outside it.
        """
        if self._crops is None:
            return whole(self.files[index], self._size)
        return cut(self.files[index], self._crops[index], self._size)

    def describe(self, index: int) -> str:
        """Return the file's name, with the line of the table if the file occurs twice."""
        name = self._names[index]
        return f"{name} (line {self._lines[index]})" if name in self._repeated else name

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the column of persons or source photos, if the table has one."""
        return self.groups if self._grouped else None

    def _fill(
        self,
        table: Table,
        targets: Sequence[str] | Mapping[str, str],
        classes: dict[str, list[str]],
        empty: bool,
    ) -> None:
        columns = _wanted(targets)
        if not columns and not empty:
            raise InputError(
                f"{table.path}: expected a column to learn, got only {', '.join(table.columns)}: "
                f"add a column with the target"
            )
        for name in classes:
            if name not in columns:
                raise InputError(
                    f"data.classes: expected names of targets, got {name!r}: "
                    f"{nearest(name, columns)}"
                )
        labels, named, missing = {}, {}, {}
        for name, column in columns.items():
            labels[name], names = _values(table, column, classes.get(name))
            if names:
                named[name] = names
            empty_cells = np.flatnonzero(np.isnan(labels[name]))
            if len(empty_cells):
                missing[name] = table.emptiness(int(empty_cells[0]), column)
        self.labels, self.classes, self.missing = labels, named, missing

    def _points(
        self, table: Table, points: Mapping[str, Sequence[str]], box: Columns | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return the labels of key points; see ``point_labels``."""
        for name, columns in points.items():
            if not 2 <= len(columns) <= 3:
                raise InputError(
                    f"data.points: expected columns of x and y, and perhaps of visibility, for "
                    f"{name!r}, got {', '.join(columns) or 'none'}"
                )
        seen = np.full(len(self._names), 2.0)
        values = np.stack(
            [
                np.stack([*(table.numbers(column) for column in columns), seen][:3], 1)
                for columns in points.values()
            ],
            1,
        )
        areas, crops = np.zeros(len(self._names)), self._crops
        if box is not None:
            edges = _boxes(table, box)
            areas = (edges[:, 2:] - edges[:, :2]).prod(1)
        if crops is None:
            sizes = {path: read_photo(path, upright=True).size for path in self.files}
            frames = [squared((0, 0, *sizes[path])) for path in self.files]
            crops = np.array(frames, np.float64)
        photos = np.unique(self._names, return_inverse=True)[1]
        return point_labels([*points], values, crops, areas, photos)


def _wanted(targets: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Return label name -> column."""
    return dict(targets) if isinstance(targets, Mapping) else {name: name for name in targets or ()}


def _values(
    table: Table, column: str, declared: list[str] | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the values of a target and, if they are class indices, the names of the classes.

    The value of an empty cell is nan.
    """
    every = table.texts(column, gaps=True)
    rows = [i for i, cell in enumerate(every) if cell]
    cells = [every[i] for i in rows]
    if not cells:
        raise InputError(table.emptiness(0, column))
    values, names = _filled_in(table, column, declared, cells, rows)
    whole = np.full(len(every), np.nan, np.float32)
    whole[rows] = values
    return whole, names


def _filled_in(
    table: Table, column: str, declared: list[str] | None, cells: list[str], rows: list[int]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the values of the cells of some rows of a column, and the names of their classes."""
    if declared is not None:
        if len(declared) < 2 or len(set(declared)) < len(declared):
            raise InputError(
                f"data.classes: expected two or more different names of {column}, got {declared}"
            )
        for i, cell in enumerate(cells):
            if cell not in declared:
                raise InputError(
                    f"{table.place(rows[i])}: {column} is {cell!r}, expected a declared class: "
                    f"{nearest(cell, declared)}"
                )
        return _numbered(cells, declared), tuple(declared)
    values = [number(cell) for cell in cells]
    odd = [i for i, value in enumerate(values) if value is None]
    if not odd:
        return np.array(values, np.float32), ()
    first = f"{table.place(rows[odd[0]])}: {column} is {cells[odd[0]]!r}"
    if len(odd) < len(cells):
        raise InputError(
            f"{first}, where {len(cells) - len(odd)} of {len(cells)} rows have a finite number: "
            f"correct the row, or declare data.classes"
        )
    if all(number(cell.replace(",", ".")) is not None for cell in cells):
        raise InputError(f"{first}: write decimals with a point, or declare data.classes")
    names = sorted(set(cells))
    return _numbered(cells, names), tuple(names)


def _numbered(cells: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    numbers = {name: i for i, name in enumerate(names)}
    return np.array([numbers[cell] for cell in cells], np.float32)


def _box_columns(table: Table, free: set[str]) -> Columns | None:
    present = [box for box in _BOXES if set(box) <= free]
    if len(present) > 1:
        raise InputError(
            f"{table.path}: expected one box, got {', '.join(present[0])} and "
            f"{', '.join(present[1])}: "
            f"name the columns of one in data.box"
        )
    return present[0] if present else None


def _boxes(table: Table, columns: Columns) -> NDArray[np.float64]:
    boxes = np.stack([table.numbers(column) for column in columns], 1)
    flat = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(1))
    if len(flat):
        raise InputError(
            f"{table.place(int(flat[0]))}: the box {boxes[flat[0]].tolist()} has no area: "
            f"expected {', '.join(columns)} in pixels, correct or remove the row"
        )
    return boxes


def _sides(table: Table, column: str) -> list[str]:
    cells = table.texts(column)
    for i, cell in enumerate(cells):
        if cell.lower() not in _SPLITS:
            raise InputError(
                f"{table.place(i)}: {column} is {cell!r}, expected a split: "
                f"{nearest(cell.lower(), _SPLITS)}"
            )
    return [_SPLITS[cell.lower()] for cell in cells]
