"""Pointing'04: real faces with nominal yaw and pitch angles on a grid of 15 degrees; no roll.

N. Gourier, D. Hall, J. Crowley (2004), "Estimating Face Orientation from Robust
Detection of Salient Facial Structures", FG Net Workshop (Pointing'04).

Expected under ``root``: ``labels.csv`` with the columns file, person, pitch_deg
(up is positive), yaw_deg (positive: the face turns to the image's left), box_cx,
box_cy, box_w, box_h (face box, pixels), and ``images/`` with the files.

The people turned to markers, first about the vertical axis and then up or down, which is
R = Ry(-yaw) Rx(pitch), not the order of ``evonas.core.rotations``. The published labels are used
unchanged; if both angles are large, geodesic errors and drawn axes are therefore nominal too.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import file_digests, read_photo, sampled
from evonas.data.readers.csv_table import located
from evonas.errors import InputError

_COLUMNS = ("file", "person", "pitch_deg", "yaw_deg", "box_cx", "box_cy", "box_w", "box_h")
_LABELS = ("pitch_deg", "yaw_deg")  # Dataset.check refuses those that are not finite
_SIDE = 192  # pixels of the returned square


class Pointing04(Dataset):
    """Square face crops with yaw and pitch; split by person.

    Args:
        root: folder with ``labels.csv`` and ``images/``.
        validation: persons of the validation split.
        test: persons of the test split, if there is to be one; all others are in the training
            split.
        context: side of the standard crop in units of the longer side of the box.

    Raises:
        InputError: a file, column or person is missing, a person is in two splits or none is left
            to train on, or a value is not a number.
    """

    margin = 0.15

    def __init__(
        self,
        root: str,
        validation: tuple[int, ...] = (10, 11, 12),
        test: tuple[int, ...] = (),
        context: float = 1.3,
    ) -> None:
        table = Path(root) / "labels.csv"
        rows = _read(table)
        self._names = [row["file"] or "" for row in rows]
        number = {key: _numbers(rows, key, table) for key in _COLUMNS[1:]}
        self.labels = {
            "yaw": number["yaw_deg"].astype(np.float32),
            "pitch": number["pitch_deg"].astype(np.float32),
        }
        self.files = located(Path(root) / "images", self._names, str(table))
        persons = number["person"].astype(int)
        self.groups = np.array([f"person{p:02d}" for p in persons])
        everyone = set(persons.tolist())
        for name, chosen in (("validation", validation), ("test", test)):
            if unknown := sorted(set(chosen) - everyone):
                raise InputError(
                    f"data.{name}: expected persons of {table}, {sorted(everyone)}, got "
                    f"{unknown[0]}"
                )
        if twice := sorted(set(validation) & set(test)):
            raise InputError(f"data.test: expected persons outside data.validation, got {twice[0]}")
        held_out, judging = (np.isin(persons, list(side)) for side in (validation, test))
        self.splits = {
            "train": np.flatnonzero(~(held_out | judging)),
            "validation": np.flatnonzero(held_out),
            **({"test": np.flatnonzero(judging)} if test else {}),
        }
        flat = np.flatnonzero((number["box_w"] <= 0) | (number["box_h"] <= 0))
        if len(flat):
            line = int(flat[0]) + 2
            raise InputError(
                f"{table}, line {line}: expected a face box with an area, got none: correct or "
                "remove the row"
            )
        # The crop is a square, since a stretched face would have other apparent angles.
        side = context * np.maximum(number["box_w"], number["box_h"]) / (1 - 2 * self.margin)
        corner = np.stack([number["box_cx"], number["box_cy"]], 1) - side[:, None] / 2
        self._boxes = np.concatenate([corner, corner + side[:, None]], 1)
        self.framing = Framing("square", context, margin=self.margin, size=_SIDE, smooth=False)
        self.check()
        self.fingerprint = self._hash(table, context)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the (192, 192, 3) RGB crop around the face; black outside the photo."""
        left, top, right, bottom = self._boxes[index].tolist()
        photo = read_photo(self.files[index])
        return sampled(photo, (left, top, right, bottom), _SIDE)

    def describe(self, index: int) -> str:
        """Return the image's file name."""
        return self._names[index]

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the persons, whose names are the same in every copy of the data set."""
        return self.groups

    def _hash(self, table: Path, context: float) -> str:
        digest = hashlib.blake2b(f"pointing04 1 {context} {_SIDE}".encode(), digest_size=16)
        digest.update(table.read_bytes())
        for content in file_digests(self.files):
            digest.update(content)
        return digest.hexdigest()


def _read(table: Path) -> list[dict[str, str]]:
    remedy = "data.root must be the folder that holds labels.csv"
    with reading(table, remedy, csv.Error), table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for column in _COLUMNS:
        if not rows or column not in rows[0]:
            raise InputError(
                f"{table}: the column {column!r} is missing: needs {', '.join(_COLUMNS)}"
            )
    return rows


def _numbers(rows: list[dict[str, str]], column: str, table: Path) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    for i, row in enumerate(rows):
        try:
            values[i] = float(row[column])
            if column not in _LABELS and not np.isfinite(values[i]):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{table}, line {i + 2}: {column} is {row[column]!r}, expected a number"
            ) from error
    return values
