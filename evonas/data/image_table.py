"""Your own images with a CSV beside them: numbers or classes, groups and boxes if there are any.

Expected under ``root``: a table (``labels.csv``) with the column ``file`` and a column for
each target (``age``, ``emotion``, ``yaw``), and the images that it lists. Cells may be
separated by commas, semicolons or tabs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing, Shape
from evonas.data.images.image_io import file_hashes
from evonas.data.images.key_point_crops import MARGIN, check_size, cut, standard_crops, whole
from evonas.data.readers.csv_table import (
    Table,
    deal,
    fingerprint,
    located,
    number,
    read_table,
    told,
)
from evonas.errors import InputError, nearest

_GROUPS = ("group", "person", "identity")
_BOXES = (("left", "top", "right", "bottom"), ("x0", "y0", "x1", "y1"))
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_VERSION = "image_table 1"

Columns = tuple[str, str, str, str]


class ImageTable(Dataset):
    """Images with the targets that a table tells, in its order and its units.

    A column that ``classes`` declares holds classes; one whose every value is a finite
    number holds numbers; one without any number holds classes, sorted by name.

    With a box, the standard crop is the square around it, ``context`` times as large, and
    the image shows 0.15 of its side more at each edge. Without one, the image is the whole
    photo, upright, on a black square: stretching would change apparent angles, and cutting
    might lose what the label tells about; it has no margin.

    Args:
        root: folder of the table.
        table: its name.
        images: folder that file names are told from, below ``root``.
        file: column of file names.
        targets: columns to learn, or label name -> column; by default all columns but
            those of files, groups, splits and boxes.
        classes: label name -> names of its classes, in the order of their numbers.
        group: column of the person or source photo, whose images stay on one side; by
            default ``group``, ``person`` or ``identity`` if there is one that is no target,
            else every file is its own group.
        box: columns of left, top, right and bottom, in pixels of the stored file; by
            default ``left, top, right, bottom`` or ``x0, y0, x1, y1`` if they are there
            and no targets.
        context: side of the standard crop in units of the box's longer side.
        split: column that says ``train``, ``validation`` (``val``) or ``test``; by default
            ``split`` if there is one.
        shares: side -> share of the images, where no split is told; by default train 0.7,
            validation 0.3. A table that tells training but no validation images has the
            former shared among these two.
        seed: of dealing groups to the sides.
        size: side of the returned images, pixels.

    Raises:
        InputError: the table, a column, a value, a box, a class or a file is missing or
            wrong; an option contradicts the table.
    """

    def __init__(
        self,
        root: str,
        table: str = "labels.csv",
        images: str = "",
        file: str = "file",
        targets: tuple[str, ...] | dict[str, str] | None = None,
        classes: dict[str, list[str]] | None = None,
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
        box = box or _found_box(read, free)
        other = {file, group, split, *(box or ())}
        if targets is None:
            targets = tuple(name for name in read.columns if name not in other)
        self._fill(read, targets, classes or {})
        self._crops = None if box is None else standard_crops(_boxes(read, box), context)
        self.margin = 0.0 if self._crops is None else MARGIN
        shape: Shape = "whole" if self._crops is None else "square"
        self.framing = Framing(shape, context, margin=self.margin, size=size)
        self.groups = np.array(read.texts(group) if group else self._names)
        self._files = located(Path(root) / images, self._names, str(read.path))
        sides = None if split is None else _sides(read, split)
        self.splits = deal(self.groups, sides, shares, seed)
        self.protocol = f"{told(sides, f'column {split!r}')}; " + (
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
            f"{_VERSION} {size} {self.margin} {named}", {**self.labels, **drawn}, self._files
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index``, (size, size, 3) RGB; black outside the photo.

        Raises:
            UnreadableImage: the file is damaged, or its box lies outside it.
        """
        if self._crops is None:
            return whole(self._files[index], self._size)
        return cut(self._files[index], self._crops[index], self._size)

    def describe(self, index: int) -> str:
        """Return the file's name; with its line in the table where it is there twice."""
        name = self._names[index]
        return f"{name} (line {self._lines[index]})" if name in self._repeated else name

    def image_hashes(self) -> NDArray[np.str_]:
        """Return a hash of each image's file, (n,)."""
        return file_hashes(self._files)

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the column of persons or source photos, if the table has one."""
        return self.groups if self._grouped else None

    def _fill(
        self,
        table: Table,
        targets: Sequence[str] | Mapping[str, str],
        classes: dict[str, list[str]],
    ) -> None:
        columns = _wanted(targets)
        if not columns:
            raise InputError(
                f"{table.path}: no target is left among {', '.join(table.columns)}: "
                f"add a column with what is to be learnt"
            )
        for name in classes:
            if name not in columns:
                raise InputError(f"data.classes: {name!r} is no target: {nearest(name, columns)}")
        labels, named = {}, {}
        for name, column in columns.items():
            labels[name], names = _values(table, column, classes.get(name))
            if names:
                named[name] = names
        self.labels, self.classes = labels, named


def _wanted(targets: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Return label name -> column."""
    return dict(targets) if isinstance(targets, Mapping) else {name: name for name in targets or ()}


def _values(
    table: Table, column: str, declared: list[str] | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the values of a target and, if they are numbers of classes, the classes' names."""
    cells = table.texts(column)
    if declared is not None:
        if len(declared) < 2 or len(set(declared)) < len(declared):
            raise InputError(
                f"data.classes: expected two or more different names of {column}, got {declared}"
            )
        for i, cell in enumerate(cells):
            if cell not in declared:
                raise InputError(
                    f"{table.place(i)}: {column} is {cell!r}, no declared class: "
                    f"{nearest(cell, declared)}"
                )
        return _numbered(cells, declared), tuple(declared)
    values = [number(cell) for cell in cells]
    odd = [i for i, value in enumerate(values) if value is None]
    if not odd:
        return np.array(values, np.float32), ()
    first = odd[0]
    if len(odd) < len(cells):
        raise InputError(
            f"{table.place(first)}: {column} is {cells[first]!r}, where {len(cells) - len(odd)} of "
            f"{len(cells)} rows have a finite number: mend the row, or declare data.classes"
        )
    if all(number(cell.replace(",", ".")) is not None for cell in cells):
        raise InputError(
            f"{table.place(first)}: {column} is {cells[first]!r}: write decimals with a point, "
            f"or declare data.classes"
        )
    names = sorted(set(cells))
    return _numbered(cells, names), tuple(names)


def _numbered(cells: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    numbers = {name: i for i, name in enumerate(names)}
    return np.array([numbers[cell] for cell in cells], np.float32)


def _found_box(table: Table, free: set[str]) -> Columns | None:
    found = [box for box in _BOXES if set(box) <= free]
    if len(found) > 1:
        raise InputError(
            f"{table.path}: two boxes, {', '.join(found[0])} and {', '.join(found[1])}: "
            f"name the columns of one in data.box"
        )
    return found[0] if found else None


def _boxes(table: Table, columns: Columns) -> NDArray[np.float64]:
    boxes = np.stack([table.numbers(column) for column in columns], 1)
    flat = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(1))
    if len(flat):
        raise InputError(
            f"{table.place(int(flat[0]))}: the box {boxes[flat[0]].tolist()} has no area: "
            f"expected {', '.join(columns)} in pixels, mend or remove the row"
        )
    return boxes


def _sides(table: Table, column: str) -> list[str]:
    cells = table.texts(column)
    for i, cell in enumerate(cells):
        if cell.lower() not in _SPLITS:
            raise InputError(
                f"{table.place(i)}: {column} is {cell!r}, no split: "
                f"{nearest(cell.lower(), _SPLITS)}"
            )
    return [_SPLITS[cell.lower()] for cell in cells]
