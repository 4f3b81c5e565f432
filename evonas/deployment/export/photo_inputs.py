"""Which photos, and which boxes in them, a person means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evonas.core.files import reading
from evonas.data.images.image_io import Box
from evonas.data.readers.csv_table import read_table
from evonas.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_BOX = ("left", "top", "right", "bottom")


def listed(paths: Sequence[Path]) -> dict[Path, set[str]]:
    """Return photos with the names that a table may call them by.

    Args:
        paths: photos, and folders of photos, in which those of the folder itself count.

    Raises:
        InputError: a folder holds no photo, or cannot be read.
    """
    found: dict[Path, set[str]] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = _names(path)
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
            found[file] = _names(file)
    return found


def boxes_of(table: Path, photos: dict[Path, set[str]]) -> dict[Path, list[Box]]:
    """Return the boxes of photos, in the order of the table; none where it has no row.

    Args:
        table: CSV with file, left, top, right and bottom, pixels of the stored photo; a photo
            may have several rows. ``file`` is the end of its path: its name, or with folders.
        photos: as ``listed`` returns them.

    Raises:
        InputError: the table, a number or a box is wrong, or a row is of several photos, or
            none is of any.
    """
    read = read_table(table)
    names = read.texts("file")
    numbers = [read.numbers(column) for column in _BOX]
    found: dict[Path, list[Box]] = {photo: [] for photo in photos}
    owners: dict[str, list[Path]] = {}
    for photo, called in photos.items():
        for name in called:
            owners.setdefault(name, []).append(photo)
    for row, name in enumerate(names):
        left, top, right, bottom = (float(column[row]) for column in numbers)
        if right <= left or bottom <= top:
            raise InputError(
                f"{read.place(row)}: the box {[left, top, right, bottom]} has no area: expected "
                f"{', '.join(_BOX)} in pixels, mend or remove the row"
            )
        meant = owners.get(name, [])
        if len(meant) > 1:
            raise InputError(
                f"{read.place(row)}: {name!r} may be {meant[0]} or {meant[1]}: write the folder too"
            )
        for photo in meant:
            found[photo].append((left, top, right, bottom))
    if not any(found.values()):
        raise InputError(
            f"{table}: expected boxes of the photos, such as {next(iter(photos)).name!r}, got only "
            f"rows of others, such as {names[0]!r}: write the photos' names into column file"
        )
    return found


def _names(photo: Path) -> set[str]:
    """Return what a table may call a photo: every end of its path."""
    parts = photo.parts
    return {str(photo), *("/".join(parts[first:]) for first in range(len(parts)))}
