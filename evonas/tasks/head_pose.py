"""Head pose: regression of yaw, pitch and roll in degrees (see ``evonas.core.rotations``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from evonas.core.array_types import Array
from evonas.core.rotations import ANGLES, Matrices, geodesic, matrices
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.base import Labels, Task
from evonas.tasks.common.label_distribution import Estimate
from evonas.tasks.common.pose_errors import between_columns, wrapped, yaw_ranges
from evonas.tasks.common.pose_representations import (
    AngleBins,
    AngleDistribution,
    PlainAngles,
    PoseOutput,
    Rotation6D,
)
from evonas.tasks.common.prediction_format import Answer


class HeadPose(Task):
    """Predict head pose angles with one of four output representations.

    The representations are in ``evonas.tasks.common.pose_representations``.

    Args:
        labels: names of the data set's labels.
        angles: which of yaw, pitch, roll to learn; default: all labelled ones.
        output: ``angles``: one output per angle, with a Huber loss. ``bins``: 66 bins of 3
            degrees per angle with HopeNet's loss (Ruiz et al. 2018, arXiv 1710.00925), for
            angles from -99 to below 99. ``distribution``: the expectation over 79 values per
            angle, learnt from a Gaussian around the label (Gao et al. 2017, arXiv 1611.01731),
            for angles from -99 to 99. ``rotation6d``: six outputs that are converted to a
            rotation (Zhou et al. 2019, arXiv 1812.07035) with the geodesic distance as loss;
            near |yaw| = 90 use the metric ``geodesic``, since pitch and roll are ambiguous.
        delta: with ``angles``: error in degrees where the Huber loss turns from squared to
            linear (Matak 2020 uses 5).
        alpha: with ``bins``: weight of the squared error (HopeNet publishes 1 and 2).
        sigma: with ``distribution``: standard deviation of that Gaussian, in steps of 3 degrees;
            default: 2, or 0.5 if each angle takes few values among the training images (at most
            32, and a quarter of the images), as on a grid of poses.
        estimate: with ``distribution``: its ``median``, which has the least absolute error, or its
            ``mean``.

    Raises:
        InputError: an option is out of its range, or an angle is not labelled.
    """

    metric = "mae"
    unit = "degrees"

    def __init__(
        self,
        labels: Labels,
        angles: Sequence[str] | None = None,
        output: Literal["angles", "bins", "distribution", "rotation6d"] = "angles",
        delta: float = 5.0,
        alpha: float = 1.0,
        sigma: float | None = None,
        estimate: Estimate = "median",
    ) -> None:
        known = [a for a in ANGLES if a in labels]
        wrong = [a for a in angles or () if a not in known]
        if wrong or not known or angles == []:
            raise InputError(
                f"task.angles: expected some of {', '.join(known or ANGLES)}, got {angles}; the "
                f"labels of the data set are {', '.join(labels) or 'none'}"
            )
        if not 0 < delta < np.inf:
            raise InputError(f"task.delta: expected a positive number of degrees, got {delta}")
        if not 0 < alpha < np.inf:
            raise InputError(f"task.alpha: expected a positive weight (1 or 2, say), got {alpha}")
        self.angles = self.labels = tuple(a for a in known if angles is None or a in angles)
        self._columns = [ANGLES.index(a) for a in self.angles]
        self._signs = np.array([1.0 if a == "pitch" else -1.0 for a in self.angles], np.float32)
        self._name = output
        self.output: PoseOutput = PlainAngles(self._signs, delta)
        if output == "bins":
            self.output = AngleBins(len(self.angles), alpha)
        elif output == "distribution":
            self.output = AngleDistribution(self._signs, sigma, estimate)
        elif output == "rotation6d":
            self.output = Rotation6D(self._columns)
        self.n_outputs = self.output.n_outputs

    def targets(self, dataset: Dataset) -> Array:
        """Return the labelled angles, (n, k), degrees.

        Raises:
            InputError: an angle is outside the range of the representation.
        """
        labels = np.stack([dataset.labels[a] for a in self.angles], 1).astype(np.float32)
        rows, columns = np.nonzero(self.output.out_of_range(labels))
        if len(rows):
            row, column = int(rows[0]), int(columns[0])
            raise InputError(
                f"task.output={self._name}: expected angles from -99 to below 99 degrees, got "
                f"{self.angles[column]} {labels[row, column]:g} for {dataset.describe(row)}, "
                f"{len(np.unique(rows))} such images in total: leave them out of the data, or use "
                f"task.output=rotation6d or angles"
            )
        return labels

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``sigma`` of a distribution, for the training labels."""
        return self.output.fit_options(targets)

    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of mirrored images: yaw and roll change sign."""
        return targets * self._signs

    def unflip_outputs(self, outputs: Array) -> Array:
        """Convert outputs for mirrored heads to outputs for the original heads.

        Raises:
            InputError: the representation is ``bins``.
        """
        return self.output.unflip_outputs(outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the output representation."""
        return self.output.loss(outputs, targets)

    @property
    def answer(self) -> Answer:
        """Angles in degrees, (n, k)."""
        return Answer("angles", self.angles, self.unit)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return angles in degrees, (n, k)."""
        return self.output.decode(outputs)

    def constant_baseline(self, targets: Array) -> Array:
        """Return the median angles, which minimise the mean absolute error."""
        return np.median(targets, axis=0).astype(np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``mae`` (mean over the angles), ``mae_ANGLE`` and ``geodesic``, degrees.

        The errors are plain differences, not differences on the circle. The geodesic error is
        the angle of the rotation between both poses, arccos((tr(R1 R2') - 1) / 2), where an
        unlabelled angle is 0 in both.
        """
        errors = np.abs(predictions.astype(np.float64) - targets).mean(0)
        each = {f"mae_{a}": float(e) for a, e in zip(self.angles, errors, strict=True)}
        apart = geodesic(self._rotations(predictions), self._rotations(targets))
        return {"mae": float(errors.mean()), **each, "geodesic": float(apart.mean())}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, further errors, and the errors by range of the true yaw.

        The further errors are ``wrapped_mae`` (mean difference on the circle),
        ``wrapped_mae_ANGLE`` and ``maev`` (mean angle between the axes of both heads; Cao et al.
        2020, arXiv 2010.07184), in degrees.

        If yaw is learnt, ``mae``, ``wrapped_mae``, ``geodesic`` and ``maev`` are also given by
        |yaw| of the truth, as ``mae|yaw 0-30``, ``30-60``, ``60-90`` and ``>90``, with the number
        of images, ``n|yaw 0-30``. A bound belongs to the range above it, 90 to the range below.
        A range without images is left out.
        """
        differences = predictions.astype(np.float64) - targets
        first, second = self._rotations(predictions), self._rotations(targets)
        circle = wrapped(differences)
        each = {
            "mae": np.abs(differences).mean(1),
            "wrapped_mae": circle.mean(1),
            "geodesic": geodesic(first, second),
            "maev": between_columns(first, second),
        }
        details = dict(self.metrics(predictions, targets))
        details["wrapped_mae"] = float(each["wrapped_mae"].mean())
        for name, error in zip(self.angles, circle.mean(0), strict=True):
            details[f"wrapped_mae_{name}"] = float(error)
        details["maev"] = float(each["maev"].mean())
        if "yaw" in self.angles:
            for span, members in yaw_ranges(targets[:, self.angles.index("yaw")]):
                details[f"n|yaw {span}"] = float(members.sum())
                for name, errors in each.items():
                    details[f"{name}|yaw {span}"] = float(errors[members].mean())
        return details

    def _rotations(self, angles: Array) -> Matrices:
        full = np.zeros((len(angles), 3))
        full[:, self._columns] = angles
        return matrices(full)
