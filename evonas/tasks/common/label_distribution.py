"""Label distributions: a quantity as a distribution over evenly spaced values.

The target is a Gaussian around the label, so that neighbouring values learn from each image; the
prediction is the expectation. Gao, Xing, Xie, Wu and Geng 2017, "Deep label distribution learning
with label ambiguity", arXiv 1611.01731. A further term on the error of the expectation, as in
Gao et al. 2018, gained nothing on head pose.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Standard deviation of the target, in steps between values. The values go 4 of them beyond the
#: labels where possible, since the expectation of a target that is cut off is not the label.
SIGMA = 2.0


def grid(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Return ``count`` evenly spaced values from low to high, (k, count), of (k,) bounds."""
    steps = torch.arange(count, device=low.device, dtype=low.dtype) / (count - 1)
    return low[:, None] + (high - low)[:, None] * steps


def expectation(logits: Tensor, values: Tensor) -> Tensor:
    """Return the expected values, (n, k), of (n, k, m) logits over (k, m) values."""
    return (logits.softmax(-1) * values).sum(-1)


def distribution_loss(logits: Tensor, targets: Tensor, values: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from the target distribution.

    It is summed over the k quantities and averaged over the images.

    Args:
        logits: (n, k, m).
        targets: (n, k) labels.
        values: (k, m) evenly spaced values.
    """
    sigma = SIGMA * (values[:, 1] - values[:, 0])
    wanted = (-0.5 * ((values - targets[..., None]) / sigma[:, None]).square()).log_softmax(-1)
    return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum((1, 2)).mean()
