"""Pareto fronts: nondominated points, hypervolume and knee.

Points are (n, m) numbers, smaller is better on every axis.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nondominated(points: Array) -> NDArray[np.intp]:
    """Return the indices of the points that no other dominates, each place once.

    A point dominates another if it is nowhere worse and somewhere better. Points with a
    coordinate that is nan or infinite are left out.
    """
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(known) == 0:
        return known
    found: NDArray[np.intp] = known[moocore.is_nondominated(points[known])]
    return found


def hypervolume(points: Array, reference: Array) -> float:
    """Return the volume that points dominate within a reference point.

    Zitzler and Thiele 1999, https://doi.org/10.1109/4235.797969.

    Args:
        points: (n, m); those outside the reference do not count.
        reference: (m,) the worst corner.
    """
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def knee(points: Array) -> int:
    """Return the index of the point that bulges most, where gaining on one axis starts to cost.

    Of all points of a front it lies farthest below the plane through its ends, every axis
    scaled to the front's range (Das 1999, https://doi.org/10.1007/BF01195985). In that
    scale it is the point of the lowest sum.

    Args:
        points: (n, m), n at least 1, a front.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    return int(np.argmin(scaled.sum(axis=1)))
