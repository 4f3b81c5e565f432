"""Average precision of scores for yes/no labels, as scikit-learn computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def average_precision(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return sum_i (R_i - R_i-1) P_i over the thresholds i; nan without a positive image.

    R is the recall, P the precision of all images whose score reaches the threshold; equal
    scores are one threshold. The sum is not interpolated (Zhu 2004, "Recall, precision and
    average precision"), unlike that of COCO.

    Args:
        scores: (n,) higher for yes.
        truth: (n,) whether each label is yes.
    """
    positives = int(truth.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())
