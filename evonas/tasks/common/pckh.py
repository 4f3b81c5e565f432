"""PCKh: the share of points found within half a head segment of the truth.

Andriluka et al. (2014, "2D Human Pose Estimation: New Benchmark and State of the Art
Analysis", CVPR) define it for MPII. What their code takes for the segment is 0.6 of the
diagonal of an annotated box around the head. Leeds Sports has no such box; here the
segment is the distance between two labelled points, ``neck`` and ``head_top`` there, as
the picture shows it. The idea is the same and the length is not, so figures must not be
put beside those of MPII.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Floats = NDArray[np.float64]

#: The head segment by default, where both points are learnt.
HEAD = ("neck", "head_top")
_SHARE = 0.5  # of the segment's length


def head_of(given: tuple[str, str] | None, points: Sequence[str]) -> tuple[str, str] | None:
    """Return the ends of the head segment; None where there is none.

    Raises:
        InputError: what was given is not two of the points.
    """
    if given is None:
        return HEAD if set(HEAD) <= set(points) else None
    if given[0] == given[1] or not set(given) <= set(points):
        raise InputError(
            f"task.head: expected the two ends of the head, of {', '.join(points)}, got "
            f"{' and '.join(given)}"
        )
    return given


def pckh(
    apart: Floats, truth: Floats, points: Sequence[str], head: tuple[str, str]
) -> dict[str, float]:
    """Return ``PCKh`` of all labelled points together and ``pckh_P`` of each, percent.

    A point that lies exactly half a segment away is right, as in MPII's code. What has
    nothing to be judged by is left out: images without a segment, then points without an
    image, and at last PCKh itself.

    Args:
        apart: (n, K) distances from the truth.
        truth: (n, K, 3) x and y in the same unit, and 0 not labelled or above.
        points: names, (K,).
        head: which of them are the ends of the head segment.
    """
    seen, (one, other) = truth[..., 2] > 0, map(points.index, head)
    lengths = np.hypot(*(truth[:, one, :2] - truth[:, other, :2]).T)
    whole = seen[:, one] & seen[:, other] & (lengths > 0)
    judged = seen & whole[:, None]
    right = apart <= _SHARE * lengths[:, None]
    if not judged.any():
        return {}
    return {"PCKh": 100 * float(right[judged].mean())} | {
        f"pckh_{point}": 100 * float(right[judged[:, k], k].mean())
        for k, point in enumerate(points)
        if judged[:, k].any()
    }
