"""Places for dots and labels where none lies on another; plain numbers, in points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def swarm(heights: Array, radii: Array, half: float) -> tuple[Array, bool]:
    """Move dots of one column sideways, none farther than it must.

    Args:
        heights: (n,) of the centres.
        radii: (n,) of the dots.
        half: half the width of the column.

    Returns:
        (n,) places around the column's middle, and whether every dot has room. One that has
        none lies at the edge of the column, on others.
    """
    places, fits = np.zeros(len(heights)), True
    done: list[int] = []
    for index in np.argsort(heights, kind="stable"):
        near = [
            k for k in done if abs(heights[k] - heights[index]) < radii[k] + radii[index]
        ]  # only these can be in the way
        beside = np.sqrt(
            np.maximum((radii[near] + radii[index]) ** 2 - (heights[near] - heights[index]) ** 2, 0)
        )
        tried = np.concatenate([[0.0], places[near] + beside, places[near] - beside])
        tried = tried[np.argsort(np.abs(tried), kind="stable")]
        tried = tried[np.abs(tried) + radii[index] <= half + 1e-9]
        free = [x for x in tried if np.all(np.abs(places[near] - x) >= beside - 1e-9)]
        if free:
            places[index] = free[0]
        else:
            fits = False
            edge = max(half - radii[index], 0.0)
            places[index] = edge if len(done) % 2 else -edge
        done.append(int(index))
    return places, fits


def columns(
    heights: Sequence[Array], radii: Sequence[Array], half: float
) -> tuple[list[Array], float]:
    """Spread the dots of all columns; where they do not fit, smaller ones.

    Args:
        heights, radii: of each column, as ``swarm`` takes them.
        half: half the width of a column.

    Returns:
        Places of each column, and the factor by which radii are smaller.
    """
    widest = max((float(r.max()) for r in radii if len(r)), default=half)
    scale = min(1.0, half / widest)
    while True:
        found = [swarm(h, r * scale, half) for h, r in zip(heights, radii, strict=True)]
        if all(fits for _, fits in found) or scale < 0.3:  # smaller ones nobody sees
            return [places for places, _ in found], scale
        scale *= 0.8


def flags(starts: Sequence[float], widths: Sequence[float], gap: float) -> list[int]:
    """Return a row for each label that hangs from a pole: text begins at it and goes right.

    Labels of one row do not overlap, and no pole on its way down crosses a label: who begins
    under another's text hangs in a higher row.

    Args:
        starts: (n,) places of the poles.
        widths: (n,) of the texts.
        gap: at least so much between a text and the next pole.

    Returns:
        Rows counted from the top, 0 the highest.
    """
    rows = [0] * len(starts)
    # Of equal poles the first hangs highest.
    order = sorted(range(len(starts)), key=lambda k: (-starts[k], k))
    for place, one in enumerate(order):
        end = starts[one] + widths[one] + gap
        rows[one] = max((rows[k] + 1 for k in order[:place] if starts[k] < end), default=0)
    return rows


def radii(macs: Sequence[int], low: float, high: float) -> Array:
    """Return (n,) radii, by the logarithm of multiply-adds."""
    logs = np.log(np.maximum(np.array(macs, np.float64), 1.0))
    span = float(np.ptp(logs))
    if not span:
        return np.full(len(macs), (low + high) / 2)
    found: Array = low + (high - low) * (logs - logs.min()) / span
    return found
