"""Head pose: yaw, pitch and, where it is labelled, roll, in degrees (see ``evonas.rotations``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.rotations import ANGLES, Matrices, geodesic, matrices
from evonas.tasks.base import Array, Labels, Task

_UNIT = 45.0  # degrees of one unit of network output: outputs stay of order one


class HeadPose(Task):
    """Direct regression of the labelled angles with a Huber loss.

    Args:
        labels: names of the data set's labels.
        angles: which of yaw, pitch, roll to learn; by default all that are labelled.
        delta: where the Huber loss turns from squared to linear, degrees (Matak
            2020 uses 5).
    """

    metric = "mae"
    unit = "degrees"

    def __init__(
        self, labels: Labels, angles: Sequence[str] | None = None, delta: float = 5.0
    ) -> None:
        known = [a for a in ANGLES if a in labels]
        wrong = [a for a in angles or () if a not in known]
        if wrong or not known or angles == []:
            raise InputError(
                f"task.angles: the data set labels {', '.join(labels) or 'nothing'}; expected some "
                f"of {', '.join(known or ANGLES)}, got {angles}"
            )
        if not 0 < delta < np.inf:
            raise InputError(f"task.delta: expected a positive number of degrees, got {delta}")
        self.angles = tuple(a for a in known if angles is None or a in angles)
        self.delta = delta
        self.n_outputs = len(self.angles)

    def targets(self, dataset: Dataset) -> Array:
        """Return the labelled angles, (n, k), degrees."""
        return np.stack([dataset.labels[a] for a in self.angles], 1).astype(np.float32)

    def mirrored(self, targets: Array) -> Array:
        """Return the targets of mirrored images: yaw and roll change sign."""
        signs = [1.0 if a == "pitch" else -1.0 for a in self.angles]
        return targets * np.array(signs, np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean Huber loss, with both sides in units of 45 degrees."""
        return torch.nn.functional.huber_loss(outputs, targets / _UNIT, delta=self.delta / _UNIT)

    def predictions(self, outputs: Array) -> Array:
        """Return angles in degrees, (n, k)."""
        return outputs * np.float32(_UNIT)

    def constant(self, targets: Array) -> Array:
        """Return the median angles, which minimise the mean absolute error."""
        return np.median(targets, axis=0).astype(np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``mae`` (mean over the angles), one a angle, and ``geodesic``, degrees.

        The errors are plain differences, not wrapped. The geodesic error is the
        angle of the rotation between both poses, arccos((tr(R1 R2') - 1) / 2); an
        angle without label counts as 0 on both sides.
        """
        errors = np.abs(predictions.astype(np.float64) - targets).mean(0)
        each = {f"mae_{a}": float(e) for a, e in zip(self.angles, errors, strict=True)}
        apart = geodesic(self._rotations(predictions), self._rotations(targets))
        return {"mae": float(errors.mean()), **each, "geodesic": float(apart.mean())}

    def _rotations(self, angles: Array) -> Matrices:
        full = np.zeros((len(angles), 3))
        for column, name in enumerate(self.angles):
            full[:, ANGLES.index(name)] = angles[:, column]
        return matrices(full)
