"""Sub-cell position of the peak of a heat map (Zhang et al. 2020, arXiv 1910.06278)."""

from __future__ import annotations

import torch
from torch import Tensor


def refined(
    maps: Tensor, row: Tensor, column: Tensor, size: tuple[int, int], widths: tuple[float, float]
) -> Tensor:
    """Return the (m, 2) offsets in x and y of the peaks from the centres of the highest cells.

    A second-order Taylor expansion of the logarithm of the map gives the peak. The offsets are
    in cells, at most half a cell.

    Args:
        maps: (m, h * w) maps, row by row.
        row: (m,) rows of the highest cells.
        column: (m,) their columns.
        size: h and w.
        widths: standard deviations of the Gaussians along x and y, in cells; they give the
            curvature at an edge of the map, where a neighbour is missing.
    """
    h, w = size

    def inside(down: int, right: int) -> Tensor:
        y, x = row + down, column + right
        return (y >= 0) & (y < h) & (x >= 0) & (x < w)

    def value(down: int, right: int) -> Tensor:
        index = (row + down).clamp(0, h - 1) * w + (column + right).clamp(0, w - 1)
        return maps.gather(1, index[:, None])[:, 0]

    top = value(0, 0).clamp(min=1e-12)

    def log(down: int, right: int) -> Tensor:
        # Outputs may be negative: the lower bound is a thousandth of the peak.
        return (value(down, right) / top).clamp(min=1e-3).log()

    slopes, curvatures = [], []
    for width, before, after in zip(widths, ((0, -1), (-1, 0)), ((0, 1), (1, 0)), strict=True):
        low, high = log(*before), log(*after)
        below, above = inside(*before), inside(*after)
        curvature = low + high  # minus twice the logarithm at the peak, which is zero
        curvature = torch.where(below & above, curvature.clamp(max=-1e-6), -(width**-2.0))
        inner, first, last = (high - low) / 2, high - curvature / 2, curvature / 2 - low
        slope = torch.where(below, torch.where(above, inner, last), first)
        slopes.append(torch.where(below | above, slope, 0.0))
        curvatures.append(curvature)
    corners = ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1))
    all_inside = torch.stack([inside(down, right) for down, right, _ in corners]).all(0)
    mixed = torch.stack([log(down, right) * sign for down, right, sign in corners]).sum(0) / 4
    mixed = torch.where(all_inside, mixed, 0.0)
    # If the expansion has no maximum, each axis is treated on its own.
    mixed = torch.where(curvatures[0] * curvatures[1] - mixed.square() > 1e-9, mixed, 0.0)
    inverse = -1 / (curvatures[0] * curvatures[1] - mixed.square())
    x = inverse * (curvatures[1] * slopes[0] - mixed * slopes[1])
    y = inverse * (curvatures[0] * slopes[1] - mixed * slopes[0])
    return torch.stack([x, y], 1).clamp(-0.5, 0.5)
