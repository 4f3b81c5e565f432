"""Tables of a user's own images: reading them, the files they list, the sides they deal."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.image_io import content_hash
from evonas.data.readers.splits import Splits, by_group
from evonas.errors import InputError, nearest

SIDES = ("train", "validation", "test")
SHARES: Mapping[str, float] = {"train": 0.7, "validation": 0.3}

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Table:
    """A CSV file; every row has as many cells as there are columns.

    Attributes:
        path: of the file.
        columns: names, without repetition.
        rows: (n, columns) cells without the blanks around them.
        lines: (n,) where a row ends in the file, counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def place(self, row: int) -> str:
        """Return where a row stands, for an error."""
        return f"{self.path}, line {self.lines[row]}"

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column.

        Raises:
            InputError: there is no such column, or a cell is empty.
        """
        if column not in self.columns:
            raise InputError(
                f"{self.path}: the column {column!r} is missing: {nearest(column, self.columns)}"
            )
        cells = [row[self.columns.index(column)] for row in self.rows]
        for i, cell in enumerate(cells):
            if not cell:
                raise InputError(
                    f"{self.place(i)}: {column} is empty: fill it in or remove the row"
                )
        return cells

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of finite numbers.

        Raises:
            InputError: there is no such column, or a cell is no finite number.
        """
        values = [number(cell) for cell in self.texts(column)]
        for i, value in enumerate(values):
            if value is None:
                raise InputError(
                    f"{self.place(i)}: {column} is {self.texts(column)[i]!r}, "
                    f"expected a finite number: mend or remove the row"
                )
        return np.array(values, np.float64)


def number(cell: str) -> float | None:
    """Return a cell as a number that float32 can hold; None where it is none.

    ``1_000`` is none, though Python reads it so: in a table it is a name.
    """
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if "_" not in cell and abs(value) <= _LARGEST and math.isfinite(value) else None


def read_table(path: Path) -> Table:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    Cells are separated by whichever of comma, semicolon and tab the header has most of:
    the other lines may hold any text, so guessing from them misleads. Blank lines are skipped.

    Raises:
        InputError: the file is missing, not UTF-8 or empty, its header has a column
            without a name or two of the same, or a row has too few or too many cells.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}): data.root must be the folder of the table"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from error
    head = next((line for line in text.splitlines() if line.strip()), "")
    if not head:
        raise InputError(f"{path}: expected a line with the columns' names, the file is empty")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for cells in reader:
            row = tuple(cell.strip() for cell in cells)
            if any(row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}): mend it") from error
    columns = _columns(path, rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise InputError(
                f"{path}, line {line}: expected {len(columns)} cells as in the header, "
                f"got {len(row)}: mend or remove the row"
            )
    if len(rows) == 1:
        raise InputError(f"{path}: expected rows below the header, there is none")
    return Table(path, columns, tuple(rows[1:]), tuple(lines[1:]))


def _columns(path: Path, header: tuple[str, ...]) -> tuple[str, ...]:
    for i, name in enumerate(header):
        if not name:
            raise InputError(f"{path}: column {i + 1} has no name: name or remove it")
        if name in header[:i]:
            raise InputError(f"{path}: the column {name!r} is there twice: rename one of them")
    return header


def located(folder: Path, names: Iterable[str], listed_in: str) -> list[Path]:
    """Return the files of a list, below a folder.

    Args:
        folder: that the names are told from.
        names: relative, with ``/``.
        listed_in: the list, for errors.

    Raises:
        InputError: a name leads out of the folder, or files are missing.
    """
    names = list(names)
    unique = dict.fromkeys(names)
    for name in unique:
        plain, windows = PurePosixPath(name), PureWindowsPath(name)
        if plain.is_absolute() or windows.anchor or ".." in windows.parts:
            raise InputError(
                f"{listed_in}: {name!r} leads out of {folder}: expected a name below that folder"
            )
    missing = [name for name in unique if not os.path.isfile(folder / name)]
    if missing:
        some = ", ".join(repr(name) for name in missing[:3]) + (", ..." if missing[3:] else "")
        raise InputError(
            f"{listed_in}: {len(missing)} of {len(unique)} files are not in {folder}: {some}: "
            f"restore them or remove them from the list"
        )
    return [folder / name for name in names]


def fingerprint(
    version: str, arrays: Mapping[str, NDArray[np.generic]], files: Sequence[Path]
) -> str:
    """Return a hash of options, labels and the bytes of files, wherever they lie.

    Args:
        version: reader, its version and the options that images follow from.
        arrays: name -> labels and whatever else images follow from.
        files: the photos, in a fixed order; each is hashed once.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.blake2b(version.encode(), digest_size=16)
    for name, values in arrays.items():
        digest.update(f"|{name}|{values.dtype.str}|{values.shape}|".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return content_hash(digest.hexdigest(), list(dict.fromkeys(files)))


def deal(
    groups: NDArray[np.str_],
    sides: Sequence[str] | None,
    shares: Mapping[str, float] | None,
    seed: int,
    strata: NDArray[np.intp] | None = None,
) -> Splits:
    """Return the sides that rows name; where they name none for validation, deal groups.

    Args:
        groups: (n,) name of each image's group.
        sides: (n,) of ``train``, ``validation``, ``test``; None: everything is dealt.
        shares: side -> share of what is dealt; None: train 0.7, validation 0.3. If the
            sides name training but no validation images, both are dealt from the former.
        seed: of dealing.
        strata: (n,) numbers; images of one number are dealt among themselves, so that
            each side has its share of them; too few groups for all sides stay on the
            first. No group may have two numbers.

    Raises:
        InputError: there are fewer groups than sides, ``data.shares`` are no shares, or
            sides are given already.
    """
    known = np.array(["train"] * len(groups) if sides is None else sides)
    dealt = sides is None or _lacks_validation(sides)
    if shares is not None and not dealt:
        raise InputError(
            "data.shares: expected none, the data name their splits already: remove the option"
        )
    checked = _checked(SHARES if shares is None else shares)
    if sides is not None and dealt and set(checked) != {"train", "validation"}:
        raise InputError(
            f"data.shares: expected train and validation, which share the training images that "
            f"the data name, got {', '.join(checked)}: name these two"
        )
    splits = {side: np.flatnonzero(known == side) for side in SIDES if (known == side).any()}
    if not dealt:
        return splits
    pool = splits.pop("train")
    if strata is None:
        parts = by_group(groups[pool], checked, seed)
        return {**{side: pool[where] for side, where in parts.items()}, **splits}
    owner = np.zeros(len(groups), np.intp)  # number of the side
    for stratum in np.unique(strata[pool]):
        heap = pool[strata[pool] == stratum]
        if len(np.unique(groups[heap])) >= len(checked):
            for k, where in enumerate(by_group(groups[heap], checked, seed).values()):
                owner[heap[where]] = k
    return {**{side: pool[owner[pool] == k] for k, side in enumerate(checked)}, **splits}


def told(sides: Sequence[str] | None, by: str) -> str:
    """Return how ``deal`` splits, for a data set's protocol.

    Args:
        sides: as in ``deal``.
        by: what names the sides.
    """
    if sides is None:
        return "dealt at random"
    rest = ", its training images dealt at random" if _lacks_validation(sides) else ""
    return f"split as {by} says{rest}"


def _lacks_validation(sides: Sequence[str]) -> bool:
    return "train" in sides and "validation" not in sides


def _checked(shares: Mapping[str, float]) -> dict[str, float]:
    unknown = next((side for side in shares if side not in SIDES), None)
    if unknown is not None:
        raise InputError(f"data.shares: unknown split {unknown!r}: {nearest(unknown, SIDES)}")
    if not (all(s > 0 for s in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6):
        raise InputError(
            f"data.shares: expected positive numbers with the sum 1, got {dict(shares)}"
        )
    return {side: shares[side] for side in SIDES if side in shares}
