"""Where on a heat map its peak lies, finer than its cells (Zhang et al. 2020, arXiv 1910.06278)."""

from __future__ import annotations

import torch
from torch import Tensor


def refined(
    maps: Tensor, row: Tensor, column: Tensor, size: tuple[int, int], widths: tuple[float, float]
) -> Tensor:
    """Return how far the peaks lie from the centres of the highest cells, (m, 2) x and y.

    Args:
        maps: (m, h w), row by row.
        row, column: (m,) of the highest cells.
        size: h and w.
        widths: of the Gaussians along x and y, in cells; they tell the curvature at an
            edge of the map, where a neighbour lacks.
    """
    h, w = size

    def inside(down: int, right: int) -> Tensor:
        y, x = row + down, column + right
        return (y >= 0) & (y < h) & (x >= 0) & (x < w)

    def value(down: int, right: int) -> Tensor:
        place = (row + down).clamp(0, h - 1) * w + (column + right).clamp(0, w - 1)
        return maps.gather(1, place[:, None])[:, 0]

    top = value(0, 0).clamp(min=1e-12)

    def log(down: int, right: int) -> Tensor:
        # Outputs may be negative; a thousandth of the peak is as good as nothing.
        return (value(down, right) / top).clamp(min=1e-3).log()

    slopes, bends = [], []
    for width, before, after in zip(widths, ((0, -1), (-1, 0)), ((0, 1), (1, 0)), strict=True):
        low, high = log(*before), log(*after)
        below, above = inside(*before), inside(*after)
        bend = low + high  # less twice the peak's own logarithm, which is zero
        bend = torch.where(below & above, bend.clamp(max=-1e-6), -(width**-2.0))
        inner, first, last = (high - low) / 2, high - bend / 2, bend / 2 - low
        slope = torch.where(below, torch.where(above, inner, last), first)
        slopes.append(torch.where(below | above, slope, 0.0))
        bends.append(bend)
    corners = ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1))
    every = torch.stack([inside(down, right) for down, right, _ in corners]).all(0)
    twist = torch.stack([log(down, right) * sign for down, right, sign in corners]).sum(0) / 4
    twist = torch.where(every, twist, 0.0)
    # Where the expansion has no peak, the axes are taken apart.
    twist = torch.where(bends[0] * bends[1] - twist.square() > 1e-9, twist, 0.0)
    inverse = -1 / (bends[0] * bends[1] - twist.square())
    across = inverse * (bends[1] * slopes[0] - twist * slopes[1])
    down = inverse * (bends[0] * slopes[1] - twist * slopes[0])
    return torch.stack([across, down], 1).clamp(-0.5, 0.5)
