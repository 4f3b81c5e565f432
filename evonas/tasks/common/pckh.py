"""PCKh: percentage of key points predicted within half a head segment of the truth.

Andriluka et al. (2014, "2D Human Pose Estimation: New Benchmark and State of the Art
Analysis", CVPR) define it for MPII, where their code uses 0.6 of the diagonal of an annotated
head box as the segment. Leeds Sports has no such box: the segment here is the distance in the
image between two labelled points, such as ``neck`` and ``head_top``. The length differs, so the
values must not be compared with those of MPII.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Floats = NDArray[np.float64]

#: Default ends of the head segment, if both points are learnt.
HEAD = ("neck", "head_top")
_SHARE = 0.5  # largest error of a correct point, as a share of the segment


def head_of(given: tuple[str, str] | None, points: Sequence[str]) -> tuple[str, str] | None:
    """Return the two ends of the head segment; None if the points have none.

    Args:
        given: the option ``task.head``; None: the default.
        points: names of the learnt points.

    Raises:
        InputError: ``given`` is not two of the points.
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
    """Return ``PCKh`` over all labelled points and ``pckh_P`` of each point P, percent.

    A point at exactly half a segment is correct, as in MPII's code. Images without a head
    segment are left out, then points without an image, and PCKh if no image is left.

    Args:
        apart: (n, K) distances from the truth.
        truth: (n, K, 3) x and y in the same unit, and visibility: 0 means not labelled.
        points: K names.
        head: names of the two ends of the head segment.
    """
    labelled, (start, end) = truth[..., 2] > 0, map(points.index, head)
    lengths = np.hypot(*(truth[:, start, :2] - truth[:, end, :2]).T)
    measurable = labelled[:, start] & labelled[:, end] & (lengths > 0)
    judged = labelled & measurable[:, None]
    correct = apart <= _SHARE * lengths[:, None]
    if not judged.any():
        return {}
    return {"PCKh": 100 * float(correct[judged].mean())} | {
        f"pckh_{point}": 100 * float(correct[judged[:, k], k].mean())
        for k, point in enumerate(points)
        if judged[:, k].any()
    }
