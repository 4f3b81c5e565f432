"""Rendered faces a second on one core.

python experiments/benchmarks/renderer.py
"""

from __future__ import annotations

import os
import statistics
import time

from evonas.data.synthetic_faces import SyntheticFaces

_IMAGES, _REPEATS = 400, 5


def main() -> None:
    """Print the median, and the slowest and fastest, of several stretches in order."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    faces = SyntheticFaces(identities=_REPEATS * _IMAGES // 20 + 1, images_per_identity=20)
    faces.image(0)
    rates = []
    for repeat in range(_REPEATS):
        start = time.perf_counter()
        for index in range(repeat * _IMAGES, (repeat + 1) * _IMAGES):
            faces.image(index)
        rates.append(_IMAGES / (time.perf_counter() - start))
    rates.sort()
    print(
        f"64 x 64, 20 images an identity, in order: median {statistics.median(rates):.0f} images/s "
        f"({rates[0]:.0f} .. {rates[-1]:.0f}, {_REPEATS} x {_IMAGES} images)"
    )


if __name__ == "__main__":
    main()
