"""Find the photos and boxes that the arguments of ``evonas predict`` name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.data.images.image_io import Box
from evonas.data.readers.csv_table import Table, read_table
from evonas.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
#: Columns of a box in a table.
BOX = ("left", "top", "right", "bottom")


def listed(paths: Sequence[Path]) -> dict[Path, set[str]]:
    """Return the photos in files and folders: path -> names that a table of boxes may use.

    Args:
        paths: photos, and folders of photos; subfolders are not searched.

    Raises:
        InputError: a folder contains no photo, or cannot be read.
    """
    photos: dict[Path, set[str]] = {}
    for path in paths:
        if not path.is_dir():
            photos[path] = _names(path)
            continue
        with reading(path):
            files = sorted(f for f in path.iterdir() if not f.name.startswith("."))
        files = [file for file in files if file.suffix.lower() in IMAGES and file.is_file()]
        if not files:
            raise InputError(
                f"{path}: expected photos ({', '.join(IMAGES)}) directly in the folder, there is "
                "none: give another folder"
            )
        for file in files:
            photos[file] = _names(file)
    return photos


def boxes_of(table: Path, photos: dict[Path, set[str]]) -> dict[Path, list[Box]]:
    """Return the boxes of each photo in a table, in the order of the rows.

    Args:
        table: CSV with the columns file, left, top, right and bottom, in pixels of the stored
            photo; a photo may have several rows or none. ``file`` is the name of the photo,
            possibly with folders before it.
        photos: result of ``listed``.

    Raises:
        InputError: the table, a number or a box is invalid, a row matches several photos, or no
            row matches a photo.
    """
    rows = read_table(table)
    names = rows.texts("file")
    numbers = [rows.numbers(column) for column in BOX]
    boxes: dict[Path, list[Box]] = {photo: [] for photo in photos}
    by_name: dict[str, list[Path]] = {}
    for photo, photo_names in photos.items():
        for name in photo_names:
            by_name.setdefault(name, []).append(photo)
    for row, name in enumerate(names):
        box = box_in(rows, numbers, row)
        matches = by_name.get(name, [])
        if len(matches) > 1:
            raise InputError(
                f"{rows.place(row)}: {name!r} may be {matches[0]} or {matches[1]}: write the "
                "folder too"
            )
        for photo in matches:
            boxes[photo].append(box)
    if not any(boxes.values()):
        raise InputError(
            f"{table}: expected boxes of the photos, such as {next(iter(photos)).name!r}, got only "
            f"rows of others, such as {names[0]!r}: write the photos' names into column file"
        )
    return boxes


def box_in(rows: Table, numbers: Sequence[NDArray[np.float64]], row: int) -> Box:
    """Return the box in a row of a table.

    Args:
        rows: the table, for messages.
        numbers: its columns left, top, right and bottom, in pixels.
        row: number of the row.

    Raises:
        InputError: the box has no area.
    """
    left, top, right, bottom = (float(column[row]) for column in numbers)
    if right <= left or bottom <= top:
        raise InputError(
            f"{rows.place(row)}: the box {[left, top, right, bottom]} has no area: expected "
            f"{', '.join(BOX)} in pixels, correct or remove the row"
        )
    return left, top, right, bottom


def _names(photo: Path) -> set[str]:
    """Return the names of a photo in a table: every trailing part of its path."""
    parts = photo.parts
    return {str(photo), *("/".join(parts[first:]) for first in range(len(parts)))}
