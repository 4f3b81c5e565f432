"""Label distributions: a quantity as a distribution over evenly spaced values.

The target is a Gaussian around the label, so that neighbouring values learn from each image; the
prediction is a point estimate of the distribution. Gao, Xing, Xie, Wu and Geng 2017, "Deep label
distribution learning with label ambiguity", arXiv 1611.01731. A further term on the error of the
expectation, as in Gao et al. 2018, gained nothing on head pose.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from evonas.core.array_types import Array
from evonas.errors import InputError

#: Standard deviation of the target, in steps between values. The values go 4 of them beyond the
#: labels where possible, since the mean of a target that is cut off is not the label.
SIGMA = 2.0
#: The same for labels of few values, between which nothing lies.
NARROW = 0.5
_FEW = 32  # values of a label at most, and a quarter of the training images
_LEAST, _MOST = 0.25, 4.0  # narrower ones are the nearest value; wider ones are cut off

#: Name of a point estimate: the least expected absolute, or squared, error.
Estimate = Literal["median", "mean"]
_TINY = 1e-12


def grid(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Return ``count`` evenly spaced values from low to high, (k, count), of (k,) bounds."""
    steps = torch.arange(count, device=low.device, dtype=low.dtype) / (count - 1)
    return low[:, None] + (high - low)[:, None] * steps


def checked_sigma(sigma: float | None) -> float | None:
    """Return the option ``sigma`` of a task.

    Raises:
        InputError: it is out of its range.
    """
    if sigma is not None and not _LEAST <= sigma <= _MOST:
        raise InputError(
            f"task.sigma: expected {_LEAST:g} to {_MOST:g} steps between the values of a "
            f"distribution, got {sigma:g}"
        )
    return sigma


def few_values(targets: Array) -> bool:
    """Return whether each label takes few values among (n, k) training targets."""
    most = min(_FEW, len(targets) // 4)
    return all(len(np.unique(column)) <= most for column in targets.T)


def fitted_sigma(targets: Array) -> float:
    """Return the standard deviation for (n, k) training targets, in steps between values."""
    return NARROW if few_values(targets) else SIGMA


def point_estimate(logits: Tensor, values: Tensor, name: Estimate) -> Tensor:
    """Return (n, k) point estimates of (n, k, m) logits over (k, m) evenly spaced values."""
    return median(logits, values) if name == "median" else expectation(logits, values)


def expectation(logits: Tensor, values: Tensor) -> Tensor:
    """Return the expected values, (n, k), of (n, k, m) logits over (k, m) values."""
    return (logits.softmax(-1) * values).sum(-1)


def median(logits: Tensor, values: Tensor) -> Tensor:
    """Return the medians, (n, k), of (n, k, m) logits over (k, m) evenly spaced values.

    The probability of a value is spread evenly over one step around it, so that the median moves
    smoothly with the logits.
    """
    shares = logits.softmax(-1)
    below = shares.cumsum(-1) - shares
    # What of each step lies below the median: all, a part, or nothing.
    covered = ((0.5 - below) / shares.clamp_min(_TINY)).clamp(0.0, 1.0).sum(-1)
    step = values[:, 1] - values[:, 0]
    return values[:, 0] + (covered - 0.5) * step


def distribution_loss(
    logits: Tensor, targets: Tensor, values: Tensor, sigma: float = SIGMA
) -> Tensor:
    """Return the Kullback-Leibler divergence from the target distribution.

    It is summed over the k quantities and averaged over the images.

    Args:
        logits: (n, k, m).
        targets: (n, k) labels.
        values: (k, m) evenly spaced values.
        sigma: standard deviation of the target distribution, in steps between values.
    """
    width = sigma * (values[:, 1] - values[:, 0])
    wanted = (-0.5 * ((values - targets[..., None]) / width[:, None]).square()).log_softmax(-1)
    return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum((1, 2)).mean()
