"""Where on a heat map its peak lies, finer than its cells (Zhang et al. 2020, arXiv 1910.06278)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.tasks.base import Array

Floats = NDArray[np.float64]


def refined(
    maps: Array, row: NDArray[np.intp], column: NDArray[np.intp], widths: tuple[float, float]
) -> Floats:
    """Return how far the peaks lie from the centres of the highest cells, (m, 2) x and y.

    Args:
        maps: (m, h, w).
        row, column: (m,) of the highest cells.
        widths: of the Gaussians along x and y, in cells; they tell the curvature at an
            edge of the map, where a neighbour lacks.
    """
    every, (h, w) = np.arange(len(maps)), maps.shape[1:]
    top = np.maximum(maps[every, row, column].astype(np.float64), 1e-12)

    def log(down: int, right: int) -> Floats:
        y, x = row + down, column + right
        inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        value = maps[every, np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)] / top
        # Outputs may be negative; a thousandth of the peak is as good as nothing.
        return np.where(inside, np.log(np.maximum(value, 1e-3)), np.nan)

    slope, curvature = np.zeros((len(maps), 2)), np.zeros((len(maps), 2))
    for axis, (low, high) in enumerate(((log(0, -1), log(0, 1)), (log(-1, 0), log(1, 0)))):
        bend = low + high  # less twice the peak's own logarithm, which is zero
        bend = np.where(np.isnan(bend), -(widths[axis] ** -2.0), np.minimum(bend, -1e-6))
        both = np.where(np.isnan(low), high - bend / 2, np.where(np.isnan(high), bend / 2 - low, 0))
        inner = ~np.isnan(low) & ~np.isnan(high)
        slope[:, axis] = np.nan_to_num(np.where(inner, (high - low) / 2, both))
        curvature[:, axis] = bend
    twist = np.nan_to_num((log(1, 1) + log(-1, -1) - log(1, -1) - log(-1, 1)) / 4)
    # Where the expansion has no peak, the axes are taken apart.
    twist = np.where(curvature.prod(1) - twist**2 > 1e-9, twist, 0.0)
    inverse = -1 / (curvature.prod(1) - twist**2)
    across = inverse * (curvature[:, 1] * slope[:, 0] - twist * slope[:, 1])
    down = inverse * (curvature[:, 0] * slope[:, 1] - twist * slope[:, 0])
    shift: Floats = np.stack([across, down], 1).clip(-0.5, 0.5)
    return shift
