"""Errors of head poses per image: differences on the circle, angles between axes, yaw ranges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evonas.core.array_types import Array
from evonas.core.rotations import Matrices

Floats = NDArray[np.float64]


def wrapped(differences: Floats) -> Floats:
    """Return absolute differences of angles on the circle, in degrees within [0, 180].

    min(d, 360 - d) for d < 360 (WHENet, Zhou and Gregson 2020, arXiv 2005.10353). Some published
    evaluations also take the minimum over +-180, by which half a turn counts as no error; this
    function does not.
    """
    circular: Floats = np.abs((differences + 180.0) % 360.0 - 180.0)
    return circular


def between_columns(first: Matrices, second: Matrices) -> Floats:
    """Return the mean angle between the columns of rotations (n, 3, 3), (n,) degrees.

    Its mean over images is the MAEV of TriNet (Cao et al. 2020, arXiv 2010.07184).
    Computed from chords, which are precise at small angles.
    """
    chords = np.linalg.norm(first - second, axis=-2)
    apart: Floats = np.degrees(2.0 * np.arcsin(np.clip(chords / 2.0, 0.0, 1.0))).mean(-1)
    return apart


def yaw_ranges(yaw: Array) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield name and (n,) members of each non-empty range of |yaw| in degrees.

    The ranges are [0, 30), [30, 60), [60, 90] and above 90.
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
