"""Output representations of head pose: angles, bins, distributions, or a 6-D rotation.

Each class decodes network outputs (n, n_outputs) to angles in degrees (n, k) and defines their
loss; ``evonas.tasks.head_pose`` selects one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evonas.core import rotations
from evonas.core.array_types import Array
from evonas.errors import InputError
from evonas.tasks.common.label_distribution import (
    SIGMA,
    Estimate,
    checked_sigma,
    distribution_loss,
    fitted_sigma,
    point_estimate,
)

_UNIT = 45.0  # degrees per unit of a plain output, so that outputs are of order one
_BINS, _WIDTH, _FIRST = 66, 3, -99  # degrees; the last edge is 99
_VALUES = 79  # of a distribution, _WIDTH degrees apart, around 0
_ROLL = rotations.ANGLES.index("roll")
_TINY = 1e-6


class PoseOutput(ABC):
    """Representation of angles in a network's output.

    Attributes:
        n_outputs: length of the network's output.
    """

    n_outputs: int

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of (n, n_outputs) against (n, k) degrees."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> Tensor:
        """Return (n, k) degrees for (n, n_outputs) outputs; see ``Task.decode``."""

    @abstractmethod
    def unflip_outputs(self, outputs: Array) -> Array:
        """Convert (n, n_outputs) outputs for mirrored heads to those for the original heads."""

    def out_of_range(self, targets: Array) -> NDArray[np.bool_]:
        """Return which of the (n, k) angles in degrees cannot be represented."""
        return np.zeros(targets.shape, np.bool_)

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return the options that (n, k) training targets settle; see ``Task.fit_options``."""
        return {}


class PlainAngles(PoseOutput):
    """One output per angle, in units of 45 degrees, with a Huber loss.

    Args:
        signs: (k,) -1 for angles that change sign in a mirrored image, else 1.
        delta: error in degrees where the loss turns from squared to linear.
    """

    def __init__(self, signs: Array, delta: float) -> None:
        self.n_outputs = len(signs)
        self._signs, self._delta = signs, delta

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean Huber loss, in units of 45 degrees."""
        return functional.huber_loss(outputs, targets / _UNIT, delta=self._delta / _UNIT)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the outputs in degrees."""
        return outputs * _UNIT

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs with yaw and roll negated."""
        return outputs * self._signs


class AngleBins(PoseOutput):
    """66 bins of 3 degrees per angle, -99 to 99 (HopeNet: Ruiz et al. 2018, arXiv 1710.00925).

    The angle is the expectation E = 3 sum_i i softmax_i - 99 over the left edges of the bins, as
    published: a certain network is 1.5 degrees too low on average, which the squared term of the
    loss corrects. The loss is the sum over the angles of the cross entropy of the bin plus
    ``alpha`` times the mean of (E - angle)^2 in squared degrees.

    Args:
        count: number of angles, k.
        alpha: weight of the squared term; 1 and 2 are published.
    """

    def __init__(self, count: int, alpha: float) -> None:
        self.n_outputs = _BINS * count
        self._alpha = alpha

    def out_of_range(self, targets: Array) -> NDArray[np.bool_]:
        """Return which angles are in no bin: below -99, or 99 and above."""
        outside: NDArray[np.bool_] = (targets < _FIRST) | (targets >= -_FIRST)
        return outside

    @staticmethod
    def bins(angles: Tensor) -> Tensor:
        """Return the bin of each angle: digitize(angle, range(-99, 102, 3)) - 1.

        The mirror image of -99, which is in the first bin, is 99, beyond the last bin: it counts
        to the last bin.
        """
        edges = torch.arange(_FIRST, -_FIRST + _WIDTH, _WIDTH, device=angles.device)
        indices = torch.bucketize(angles.contiguous(), edges.to(angles.dtype), right=True) - 1
        return indices.clamp(0, _BINS - 1)

    @staticmethod
    def expectation(logits: Tensor) -> Tensor:
        """Return the expected angle in degrees, (n, k), of (n, k, 66) logits."""
        edges = torch.arange(_BINS, device=logits.device, dtype=logits.dtype) * _WIDTH + _FIRST
        return logits.softmax(-1) @ edges

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return HopeNet's loss; each term is a mean over the images."""
        logits = outputs.reshape(len(outputs), -1, _BINS)
        entropy = functional.cross_entropy(
            logits.transpose(1, 2), self.bins(targets), reduction="none"
        )
        squared = (self.expectation(logits) - targets).square()
        return (entropy + self._alpha * squared).sum(1).mean()

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the expectation of each angle."""
        return self.expectation(outputs.reshape(-1, self.n_outputs // _BINS, _BINS))

    def unflip_outputs(self, outputs: Array) -> Array:
        """Raise an error: reversed bins do not give the mirrored angle.

        The expectation of the reversed bins is -3 - E, not -E, since it is over left edges. How
        far a network compensates for this depends on its training and is not known.

        Raises:
            InputError: always.
        """
        raise InputError(
            "task.output=bins: has no flip test, since the left edges of the bins are not "
            "symmetric: test without --flip, or train with task.output=angles or rotation6d"
        )


class AngleDistribution(PoseOutput):
    """A distribution over 79 values per angle, -117 to 117 degrees in steps of 3.

    See ``label_distribution``. Unlike those of ``AngleBins``, the values are symmetric, so that
    reversed logits give the mirrored angle.

    Args:
        signs: (k,) -1 for angles that change sign in a mirrored image, else 1.
        sigma: standard deviation of the target, in steps; None: not settled yet.
        estimate: point estimate.

    Raises:
        InputError: sigma is out of its range.
    """

    def __init__(self, signs: Array, sigma: float | None, estimate: Estimate) -> None:
        self.n_outputs = _VALUES * len(signs)
        self._odd = signs < 0
        self._sigma, self._estimate = checked_sigma(sigma), estimate

    def out_of_range(self, targets: Array) -> NDArray[np.bool_]:
        """Return which angles are outside -99 to 99 degrees."""
        outside: NDArray[np.bool_] = np.abs(targets) > -_FIRST
        return outside

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``sigma`` of (n, k) training targets, if it is not settled."""
        return {} if self._sigma else {"sigma": fitted_sigma(targets)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of ``label_distribution.distribution_loss``."""
        logits = self._logits(outputs)
        return distribution_loss(logits, targets, self._values(logits), self._sigma or SIGMA)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the point estimate of each angle."""
        logits = self._logits(outputs)
        return point_estimate(logits, self._values(logits), self._estimate)

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs with the logits of yaw and roll reversed."""
        logits = outputs.reshape(len(outputs), len(self._odd), _VALUES).copy()
        logits[:, self._odd] = logits[:, self._odd, ::-1]
        return logits.reshape(outputs.shape)

    def _logits(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(-1, len(self._odd), _VALUES)

    @staticmethod
    def _values(logits: Tensor) -> Tensor:
        """Return the values, (1, 79), equal for all angles."""
        steps = torch.arange(_VALUES, device=logits.device, dtype=logits.dtype)
        return ((steps - _VALUES // 2) * _WIDTH)[None]


class Rotation6D(PoseOutput):
    """Two vectors, orthonormalised to the first columns of a rotation, with a geodesic loss.

    Zhou et al. 2019, arXiv 1812.07035: b1 = a1 / |a1|, b2 = (a2 - <b1, a2> b1) / |...|,
    b3 = b1 x b2; no representation with four or fewer values is continuous. The loss is the
    geodesic distance in radians. An unlabelled angle is 0 in the target.

    The outputs of a new network are near zero, where the vectors have no direction. The outputs
    are therefore differences from (1, 0, 0, 0, 1, 0), the rotation of a frontal head.

    The angles are computed from the matrix (``evonas.core.rotations.angles``): yaw is within
    [-90, 90], and near |yaw| = 90 pitch and roll have the same axis, so that a small rotation can
    shift tens of degrees between them. ``mae`` is then large although ``geodesic`` is small; so
    it is for a label with |yaw| above 90, which is decoded as the equivalent (180 - yaw, pitch +
    180, roll + 180). If roll is not labelled, it is 0, and yaw and pitch are not ambiguous.

    Args:
        columns: indices of the labelled angles among yaw, pitch, roll.
    """

    n_outputs = 6

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = list(columns)

    @staticmethod
    def rotation(outputs: Tensor) -> Tensor:
        """Return rotation matrices, (n, 3, 3), of (n, 6) outputs."""
        # Created on the device, since a copy from the host would block.
        frontal = torch.eye(2, 3, dtype=outputs.dtype, device=outputs.device).flatten()
        vectors = outputs + frontal
        first, second = vectors[..., :3], vectors[..., 3:]
        # The lower bound on the lengths keeps gradients finite at length zero.
        b1 = functional.normalize(first, dim=-1, eps=_TINY)
        rest = second - (b1 * second).sum(-1, keepdim=True) * b1
        b2 = functional.normalize(rest, dim=-1, eps=_TINY)
        return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], -1)

    def target(self, angles: Tensor) -> Tensor:
        """Return rotation matrices, (n, 3, 3), of (n, k) degrees, in the same convention."""
        known = dict(zip(self._columns, torch.deg2rad(angles).unbind(1), strict=True))
        zero = angles.new_zeros(len(angles))
        full = torch.stack([known.get(column, zero) for column in range(3)], 1)
        (sy, sp, sr), (cy, cp, cr) = full.sin().unbind(1), full.cos().unbind(1)
        rows = [
            [cy * cr, -cy * sr, -sy],
            [cp * sr - sp * sy * cr, cp * cr + sp * sy * sr, -sp * cy],
            [sp * sr + cp * sy * cr, sp * cr - cp * sy * sr, cp * cy],
        ]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean angle between predicted and true rotation, radians."""
        return distance(self.rotation(outputs), self.target(targets)).mean()

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the labelled angles of the rotations, as ``evonas.core.rotations.angles``."""
        r = self.rotation(outputs)
        if _ROLL in self._columns:
            # An arc sine would lose half of its digits near 90 degrees.
            cos_yaw = (r[..., 1, 2].square() + r[..., 2, 2].square()).sqrt()
            yaw = torch.atan2(-r[..., 0, 2], cos_yaw)
            pitch = torch.atan2(-r[..., 1, 2], r[..., 2, 2])
            angles = [yaw, pitch, torch.atan2(-r[..., 0, 1], r[..., 0, 0])]
        else:
            yaw = torch.atan2(-r[..., 0, 2], r[..., 0, 0])
            angles = [yaw, torch.atan2(r[..., 2, 1], r[..., 1, 1])]
        return torch.rad2deg(torch.stack([angles[column] for column in self._columns], -1))

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs of S R S with S = diag(-1, 1, 1), the mirrored rotation.

        Its columns are -S b1 and S b2, also before the orthonormalisation, and (1, 0, 0, 0, 1, 0)
        is its own mirror image, so only signs change.
        """
        return outputs * np.array([1, -1, -1, -1, 1, 1], np.float32)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the (n,) angles in radians between rotations (n, 3, 3), with a bounded gradient.

    The angle is atan2(sin, cos) with cos = (tr D - 1) / 2 and sin = |D - D'|_F / sqrt(8) for
    D = R1' R2, since the arccos of the trace has an infinite slope at 0 and pi.
    """
    apart = first.transpose(-1, -2) @ second
    cosine = (apart.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
    odd = (apart - apart.transpose(-1, -2)).square().sum((-2, -1)) / 8.0
    # The summand makes the slope of the root 0 instead of infinite at 0 and pi.
    return torch.atan2((odd + _TINY**2).sqrt(), cosine)
