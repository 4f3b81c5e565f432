"""What the tests of key points share: labels, targets, Gaussians, maps with dots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.array_types import Array
from evonas.tasks.key_points import KeyPoints

EYES = ("nose", "left_eye", "right_eye")


def named(*points: str) -> dict[str, tuple[str, ...]]:
    return {f"{point}.{part}": () for point in points for part in "xyv"}


def rows(
    points: Any, box: tuple[float, float, float] = (0, 0, 1), area: float = 0, image: int = 0
) -> Array:
    """Targets of images with the same box: (n, K, 3) -> (n, 3 K + 5)."""
    points = np.asarray(points, np.float32)
    rest = np.tile(np.array([*box, area, image], np.float32), (len(points), 1))
    return np.concatenate([points.reshape(len(points), -1), rest], axis=1)


def rendered(task: KeyPoints, points: Any, h: int, w: int) -> NDArray[np.float64]:
    """Gaussians (n, K, h, w) in double precision, from their definition alone."""
    places = np.asarray(points, np.float64)
    x, y = (np.arange(side) + 0.5 for side in (w, h))
    sx, sy = (max(task.sigma * side, 1.0) for side in (w, h))
    across = (x - places[..., 0, None] * w) / sx
    down = (y - places[..., 1, None] * h) / sy
    return np.exp(-0.5 * (down[..., :, None] ** 2 + across[..., None, :] ** 2))


def dots(n: int, seed: int) -> tuple[NDArray[np.float16], Array]:
    """Maps (n, 4, 8, 8) with three dots, each of its own mixture of channels, and their points."""
    rng = np.random.default_rng(seed)
    colours = np.array([[2, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1.0]])
    points = np.full((n, 3, 3), 2.0)
    points[..., :2] = rng.uniform(0.05, 0.95, (n, 3, 2))
    maps = rng.normal(0, 0.1, (n, 4, 8, 8))
    blobs = rendered(KeyPoints(named("a"), sigma=0.1), points, 8, 8)
    maps += np.einsum("nkhw,kc->nchw", blobs, colours)
    points[..., 2] = rng.choice(3, (n, 3), p=[0.2, 0.3, 0.5])
    points[points[..., 2] == 0] = 0
    return maps.astype(np.float16), rows(points)
