"""Errors of head poses, one an image: wrapped differences, rotations, ranges of yaw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evonas.core.array_types import Array
from evonas.core.rotations import Matrices

Floats = NDArray[np.float64]


def wrapped(differences: Floats) -> Floats:
    """Return the size of differences in degrees on the circle, within [0, 180].

    min(d, 360 - d) for d < 360 (WHENet, Zhou and Gregson 2020, arXiv 2005.10353).
    Never min over +-180 too, which some published evaluations take: half a turn
    would count as no error.
    """
    found: Floats = np.abs((differences + 180.0) % 360.0 - 180.0)
    return found


def between_columns(first: Matrices, second: Matrices) -> Floats:
    """Return the mean angle between the columns of rotations (n, 3, 3), (n,) degrees.

    Its mean over images is the MAEV of TriNet (Cao et al. 2020, arXiv 2010.07184).
    Computed from chords, which keep their digits at small angles.
    """
    chords = np.linalg.norm(first - second, axis=-2)
    apart: Floats = np.degrees(2.0 * np.arcsin(np.clip(chords / 2.0, 0.0, 1.0))).mean(-1)
    return apart


def yaw_ranges(yaw: Array) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield name and members, (n,), of each range of |yaw| in degrees that is not empty.

    [0, 30), [30, 60), [60, 90]; what is larger is in a range of its own.
    """
    size = np.abs(yaw)
    for name, members in (
        ("0-30", size < 30),
        ("30-60", (size >= 30) & (size < 60)),
        ("60-90", (size >= 60) & (size <= 90)),
        (">90", size > 90),
    ):
        if members.any():
            yield name, members
