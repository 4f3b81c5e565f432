"""What a head pose network puts out: plain angles, bins of angles, or a 6-D rotation.

Each class turns network outputs (n, n_outputs) into angles in degrees (n, k) and
compares them with angles; ``evonas.tasks.head_pose`` chooses one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evonas.core import rotations
from evonas.core.array_types import Array
from evonas.errors import InputError

_UNIT = 45.0  # degrees of one unit of plain output: outputs stay of order one
_BINS, _WIDTH, _FIRST = 66, 3, -99  # degrees; the last edge is 99
_ROLL = rotations.ANGLES.index("roll")
_TINY = 1e-6


class PoseOutput(ABC):
    """One way to put angles into a network's output.

    Attributes:
        n_outputs: length of the network's output.
    """

    n_outputs: int

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of (n, n_outputs) against (n, k) degrees."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> Tensor:
        """Return (n, k) degrees of (n, n_outputs); see ``Task.decode``."""

    @abstractmethod
    def unflip_outputs(self, outputs: Array) -> Array:
        """Return (n, n_outputs) for mirrored heads as those for the plain ones."""

    def refused(self, targets: Array) -> NDArray[np.bool_]:
        """Return which of (n, k) degrees it has no output for."""
        return np.zeros(targets.shape, np.bool_)


class PlainAngles(PoseOutput):
    """One output an angle, in units of 45 degrees, with a Huber loss.

    Args:
        signs: (k,) -1 for angles that change sign in the mirror, 1 for others.
        delta: where the loss turns from squared to linear, degrees.
    """

    def __init__(self, signs: Array, delta: float) -> None:
        self.n_outputs = len(signs)
        self._signs, self._delta = signs, delta

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean Huber loss, with both sides in units of 45 degrees."""
        return functional.huber_loss(outputs, targets / _UNIT, delta=self._delta / _UNIT)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return 45 degrees a unit."""
        return outputs * _UNIT

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs with the signs of the mirror."""
        return outputs * self._signs


class AngleBins(PoseOutput):
    """66 bins of 3 degrees an angle, from -99 to 99 (HopeNet: Ruiz et al. 2018, arXiv 1710.00925).

    The angle is the expectation E = 3 sum_i i softmax_i - 99 over the bins' left edges,
    as published: a network sure of its bin is 1.5 degrees low on average, which is left
    to the loss's squared term. The loss is, summed over the angles, the cross entropy
    of the bin plus ``alpha`` times the mean of (E - angle)^2 in squared degrees.

    Args:
        count: number of angles, k.
        alpha: weight of the squared term; 1 and 2 are published.
    """

    def __init__(self, count: int, alpha: float) -> None:
        self.n_outputs = _BINS * count
        self._alpha = alpha

    def refused(self, targets: Array) -> NDArray[np.bool_]:
        """Return which angles lie in no bin: below -99, or 99 and above."""
        found: NDArray[np.bool_] = (targets < _FIRST) | (targets >= -_FIRST)
        return found

    @staticmethod
    def bins(angles: Tensor) -> Tensor:
        """Return the bin of each angle: digitize(angle, range(-99, 102, 3)) - 1.

        An exact -99 is in the first bin, but its mirror image, 99, is past the last:
        it is put into that one.
        """
        edges = torch.arange(_FIRST, -_FIRST + _WIDTH, _WIDTH, device=angles.device)
        found = torch.bucketize(angles.contiguous(), edges.to(angles.dtype), right=True) - 1
        return found.clamp(0, _BINS - 1)

    @staticmethod
    def expectation(logits: Tensor) -> Tensor:
        """Return E in degrees, (n, k), of (n, k, 66)."""
        edges = torch.arange(_BINS, device=logits.device, dtype=logits.dtype) * _WIDTH + _FIRST
        return logits.softmax(-1) @ edges

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the published loss; each of its terms is a mean over the images."""
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
        """Refuse: bins in reverse order do not give the mirrored angle.

        E of the reversed bins is -3 - E, not -E, since it is over left edges; how much of
        that a network makes up for, its training says and not its outputs.

        Raises:
            InputError: always.
        """
        raise InputError(
            "task.output=bins: has no flip test, as the left edges of bins are no mirror images of "
            "each other: test without --flip, or train with task.output=angles or rotation6d"
        )


class Rotation6D(PoseOutput):
    """Two vectors made orthonormal: the first columns of a rotation, with its angle as loss.

    Zhou et al. 2019, arXiv 1812.07035: b1 = a1 / |a1|, b2 = (a2 - <b1, a2> b1) / |...|,
    b3 = b1 x b2; with four numbers or fewer no representation is continuous. The loss
    is the geodesic distance in radians. An angle that is not labelled is 0 in the
    target.

    A network's first outputs are almost zero, where the construction has no direction.
    The outputs are therefore taken as differences from (1, 0, 0, 0, 1, 0): a new
    network looks straight ahead.

    Angles are read from the matrix (``evonas.core.rotations.angles``): yaw stays within
    [-90, 90], and near |yaw| = 90 pitch and roll share one axis, so that a small
    rotation can exchange tens of degrees between them. ``mae`` then is large where
    ``geodesic`` is small, also for a label beyond 90 degrees of yaw, which comes
    back as its equal (180 - yaw, pitch + 180, roll + 180). Where roll is not labelled it
    is known to be 0, and yaw and pitch are read without that ambiguity.

    Args:
        columns: which of yaw, pitch, roll are labelled, as positions in that order.
    """

    n_outputs = 6

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = list(columns)

    @staticmethod
    def rotation(outputs: Tensor) -> Tensor:
        """Return rotation matrices, (n, 3, 3), of (n, 6) outputs."""
        # Made on the device: a host that copies numbers there waits for it.
        ahead = torch.eye(2, 3, dtype=outputs.dtype, device=outputs.device).flatten()
        vectors = outputs + ahead
        first, second = vectors[..., :3], vectors[..., 3:]
        # The floor under the lengths keeps gradients finite where a length is zero.
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
        """Return the mean angle between both rotations, radians."""
        return distance(self.rotation(outputs), self.target(targets)).mean()

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the labelled angles of the rotations, as ``evonas.core.rotations`` reads them."""
        r = self.rotation(outputs)
        if _ROLL in self._columns:
            # The root is cos(yaw): an arc sine would lose half of its digits near 90 degrees.
            across = (r[..., 1, 2].square() + r[..., 2, 2].square()).sqrt()
            yaw = torch.atan2(-r[..., 0, 2], across)
            pitch = torch.atan2(-r[..., 1, 2], r[..., 2, 2])
            every = [yaw, pitch, torch.atan2(-r[..., 0, 1], r[..., 0, 0])]
        else:
            yaw = torch.atan2(-r[..., 0, 2], r[..., 0, 0])
            every = [yaw, torch.atan2(r[..., 2, 1], r[..., 1, 1])]
        return torch.rad2deg(torch.stack([every[column] for column in self._columns], -1))

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs of S R S with S = diag(-1, 1, 1), the mirrored rotation.

        Its columns are -S b1 and S b2, also before they are made orthonormal, and (1, 0, 0, 0,
        1, 0) is its own mirror image: six signs.
        """
        return outputs * np.array([1, -1, -1, -1, 1, 1], np.float32)


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the angle between rotations (n, 3, 3), (n,) radians, with a bounded gradient.

    It is atan2(sin, cos) with cos = (tr D - 1) / 2 and sin = |D - D'|_F / sqrt(8) of
    D = R1' R2: arccos of the trace alone has an infinite slope at 0 and at pi.
    """
    apart = first.transpose(-1, -2) @ second
    cosine = (apart.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
    odd = (apart - apart.transpose(-1, -2)).square().sum((-2, -1)) / 8.0
    # At 0 and pi the root's slope is infinite; the summand makes it 0 there instead.
    return torch.atan2((odd + _TINY**2).sqrt(), cosine)
