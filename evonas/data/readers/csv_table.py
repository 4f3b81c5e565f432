"""Read CSV tables, locate the files that they list, and split the rows."""

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
    """Content of a CSV file, with one cell per column in each row.

    Attributes:
        path: path of the file.
        columns: unique names of the columns.
        rows: (n, columns) cells without surrounding blanks.
        lines: (n,) number of the line where each row ends, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def place(self, row: int) -> str:
        """Return file and line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"

    def texts(self, column: str, gaps: bool = False) -> list[str]:
        """Return the cells of a column.

        Args:
            column: name of the column.
            gaps: whether cells may be empty.

        Raises:
            InputError: there is no such column, or a cell is empty.
        """
        if column not in self.columns:
            raise InputError(
                f"{self.path}: the column {column!r} is missing: {nearest(column, self.columns)}"
            )
        cells = [row[self.columns.index(column)] for row in self.rows]
        if not gaps and "" in cells:
            raise InputError(self.emptiness(cells.index(""), column))
        return cells

    def emptiness(self, row: int, column: str) -> str:
        """Return the message on an empty cell."""
        return f"{self.place(row)}: {column} is empty: fill it in or remove the row"

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of finite numbers.

        Raises:
            InputError: there is no such column, or a cell is not a finite number.
        """
        values = [number(cell) for cell in self.texts(column)]
        for i, value in enumerate(values):
            if value is None:
                raise InputError(
                    f"{self.place(i)}: {column} is {self.texts(column)[i]!r}, "
                    f"expected a finite number: correct or remove the row"
                )
        return np.array(values, np.float64)


def number(cell: str) -> float | None:
    """Return a cell as a number within float32's range; None if it is not one.

    ``1_000`` is not a number here, although Python accepts it: in a table it is a name.
    """
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if "_" not in cell and abs(value) <= _LARGEST and math.isfinite(value) else None


def read_table(path: Path) -> Table:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    The delimiter is the most frequent of comma, semicolon and tab in the header, since the other
    lines may contain any text. Blank lines are skipped.

    Raises:
        InputError: the file is missing, not UTF-8 or empty, a column has no name, two columns
            have the same name, or a row has too few or too many cells.
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
        raise InputError(
            f"{path}: expected a line with the names of the columns, the file is empty"
        )
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
        raise InputError(
            f"{path}, line {reader.line_num}: expected CSV, cannot be read ({error}): correct it"
        ) from error
    columns = _columns(path, rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise InputError(
                f"{path}, line {line}: expected {len(columns)} cells as in the header, "
                f"got {len(row)}: correct or remove the row"
            )
    if len(rows) == 1:
        raise InputError(f"{path}: expected rows below the header, there are none")
    return Table(path, columns, tuple(rows[1:]), tuple(lines[1:]))


def _columns(path: Path, header: tuple[str, ...]) -> tuple[str, ...]:
    for i, name in enumerate(header):
        if not name:
            raise InputError(f"{path}: column {i + 1} has no name: name or remove it")
        if name in header[:i]:
            raise InputError(f"{path}: expected unique columns, got {name!r} twice: rename one")
    return header


def located(folder: Path, names: Iterable[str], listed_in: str) -> list[Path]:
    """Return the files of a list, below a folder.

    Args:
        folder: folder to which the names are relative.
        names: relative paths with ``/``.
        listed_in: name of the list, for messages.

    Raises:
        InputError: a name is outside the folder, or files are missing.
    """
    names = list(names)
    unique = dict.fromkeys(names)
    for name in unique:
        plain, windows = PurePosixPath(name), PureWindowsPath(name)
        if plain.is_absolute() or windows.anchor or ".." in windows.parts:
            raise InputError(
                f"{listed_in}: expected names of files below {folder}, got {name!r}: correct it"
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
    """Return a hash of options, labels and file contents, independent of the folder.

    Args:
        version: reader, its version and the options that determine the images.
        arrays: name -> labels and other data that determine the images.
        files: photos in a fixed order; each is hashed once.

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
    """Return the given splits of the rows, or random splits by group where they are not given.

    Args:
        groups: (n,) name of each image's group.
        sides: (n,) split of each image, ``train``, ``validation`` or ``test``; None: all images
            are split at random. If there are training but no validation images, the training
            images are split at random into both.
        shares: split -> share of the images that are split at random; None: train 0.7,
            validation 0.3.
        seed: seed of the random split.
        strata: (n,) integers, one value per group; images with the same value are split on
            their own, so that each split has its share of them. If they have fewer groups than
            there are splits, all are in the first split.

    Raises:
        InputError: there are fewer groups than splits, ``data.shares`` are invalid, or given
            although the data have splits.
    """
    known = np.array(["train"] * len(groups) if sides is None else sides)
    random = sides is None or _lacks_validation(sides)
    if shares is not None and not random:
        raise InputError(
            "data.shares: expected no shares, since the data have their own splits: remove the "
            "option"
        )
    checked = _checked(SHARES if shares is None else shares)
    if sides is not None and random and set(checked) != {"train", "validation"}:
        raise InputError(
            f"data.shares: expected train and validation, between which the training images of "
            f"the data are split, got {', '.join(checked)}: give these two"
        )
    splits = {side: np.flatnonzero(known == side) for side in SIDES if (known == side).any()}
    if not random:
        return splits
    pool = splits.pop("train")
    if strata is None:
        parts = by_group(groups[pool], checked, seed)
        return {**{side: pool[where] for side, where in parts.items()}, **splits}
    owner = np.zeros(len(groups), np.intp)  # index of the split
    for stratum in np.unique(strata[pool]):
        members = pool[strata[pool] == stratum]
        if len(np.unique(groups[members])) >= len(checked):
            for k, where in enumerate(by_group(groups[members], checked, seed).values()):
                owner[members[where]] = k
    return {**{side: pool[owner[pool] == k] for k, side in enumerate(checked)}, **splits}


def split_protocol(sides: Sequence[str] | None, by: str) -> str:
    """Return a description of the split of ``deal``, for the protocol of a data set.

    Args:
        sides: as in ``deal``.
        by: where the splits are given.
    """
    if sides is None:
        return "split at random"
    rest = ", its training images split at random" if _lacks_validation(sides) else ""
    return f"split as given by {by}{rest}"


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
