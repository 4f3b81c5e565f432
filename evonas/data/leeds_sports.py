"""Leeds Sports Pose Extended: athletes with 14 joints, one per photo.

S. Johnson, M. Everingham (2011), "Learning Effective Human Pose Estimation from Inaccurate
Annotation", CVPR.

Expected under ``root``: ``joints.csv`` with the columns file and, for each joint,
``r_ankle_x``, ``r_ankle_y`` (pixels) and ``r_ankle_v`` (1 labelled, 0 not), and ``images/``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.images.key_point_crops import MARGIN, check_size, cut, point_labels, standard_crops
from evonas.data.readers.csv_table import SIDES, Table, fingerprint, located, read_table
from evonas.errors import InputError

JOINTS = (
    *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow"),
    *("r_shoulder", "l_shoulder", "l_elbow", "l_wrist", "neck", "head_top"),
)
FEW = "labelled joints span no area"

_VERSION = "leeds_sports 1"


class LeedsSports(Dataset):
    """Persons with 14 joints, in the order of the table; every photo is its own group.

    The third value of a joint is published as its visibility, but its coordinates are invalid (0,
    negative, outside the photo) if it is 0: it says whether the joint is labelled. So
    ``r_ankle.v`` is 2 or 0, and coordinates of the latter are not used.

    The standard crop is the square around the labelled joints, ``context`` times as large, instead
    of the whole photo: in half of the first 400 photos the joints span less than 0.4 of the longer
    side, so a network would see the person at less than half the resolution. The labels thus give
    the position of the person, as annotated boxes do in other data sets.

    Labels besides the joints: ``box.left``, ``box.top``, ``box.side`` (the standard crop),
    ``area`` (of the box around the labelled joints, since no outline is annotated; all in pixels
    of the photo) and ``image`` (index of the photo in the table).

    Args:
        root: folder with ``joints.csv`` and ``images/``.
        validation: share of the photos in the validation split, after the training photos.
        test: share of the photos in the test split, the last ones; 0: no test split.
        context: side of the standard crop in units of the joints' larger span.
        size: side of the returned images, pixels.

    Raises:
        InputError: a file or a column is missing, or a value is not a number.
    """

    margin = MARGIN

    def __init__(
        self,
        root: str,
        validation: float = 0.2,
        test: float = 0.0,
        context: float = 1.25,
        size: int = 256,
    ) -> None:
        check_size(size, context)
        if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
            raise InputError(
                f"data.validation, data.test: expected shares of the photos that leave some for "
                f"training, got {validation} and {test}"
            )
        table = read_table(Path(root) / "joints.csv")
        points = _points(table)
        names = table.texts("file")
        if len(set(names)) < len(names):
            twice = next(i for i, name in enumerate(names) if name in names[:i])
            raise InputError(
                f"{table.place(twice)}: expected each file once, got {names[twice]!r} twice: "
                "remove a row"
            )
        boxes = _boxes(points)
        spans = boxes[:, 2:] - boxes[:, :2]
        kept = np.flatnonzero((spans > 0).all(1))
        lost = np.flatnonzero(~(spans > 0).all(1)).tolist()
        self.dropped = {FEW: tuple(names[i] for i in lost)} if lost else {}
        files = located(Path(root) / "images", names, str(table.path))
        self.files, self._names = [files[i] for i in kept], [names[i] for i in kept]
        self._crops, self._size = standard_crops(boxes[kept], context), size
        self.labels = point_labels(JOINTS, points[kept], self._crops, spans[kept].prod(1), kept)
        self.groups = np.array(self._names, np.str_)
        # Blocks instead of a random choice: if neighbours in the table show the same event or
        # athlete, only those at a border are in two splits.
        ends = np.round(len(kept) * np.array([1 - validation - test, 1 - test])).astype(int)
        blocks = np.split(np.arange(len(kept)), ends)
        self.splits = dict(zip(SIDES if test else SIDES[:2], blocks, strict=False))
        self.protocol = (
            "split in the table's order; persons are not named, so one athlete may be on both "
            "sides; crops around the labelled joints"
        )
        self.framing = Framing("square", context, margin=self.margin, size=size)
        self.check()
        self.fingerprint = fingerprint(
            f"{_VERSION} {size} {self.margin}", {**self.labels, "crops": self._crops}, self.files
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the (size, size, 3) RGB standard crop with its margin; black outside the photo.

        Raises:
            UnreadableImage: the photo is damaged, or the joints are outside it.
        """
        return cut(self.files[index], self._crops[index], self._size)

    def describe(self, index: int) -> str:
        """Return the photo's file name."""
        return self._names[index]

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return None: athletes have no names."""
        return None


def _points(table: Table) -> NDArray[np.float64]:
    """Return (n, 14, 3): x and y in pixels, and 0 not labelled or 2 labelled."""
    points = np.stack(
        [np.stack([table.numbers(f"{j}_{part}") for part in "xyv"], 1) for j in JOINTS], 1
    )
    row, joint = (where.tolist() for where in np.nonzero(~np.isin(points[..., 2], (0, 1))))
    if row:
        raise InputError(
            f"{table.place(row[0])}: {JOINTS[joint[0]]}_v is {points[row[0], joint[0], 2]:g}, "
            f"expected 1 labelled or 0 not labelled: correct or remove the row"
        )
    points[..., 2] *= 2
    return points


def _boxes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n, 4) boxes around the labelled joints, of zero area if there are none."""
    absent = points[..., 2:] == 0
    low = np.where(absent, np.inf, points[..., :2]).min(1)
    high = np.where(absent, -np.inf, points[..., :2]).max(1)
    none = absent.all((1, 2))
    low[none] = high[none] = 0
    return np.concatenate([low, high], 1)
