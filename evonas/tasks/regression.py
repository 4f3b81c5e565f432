"""Regression of one or more quantities, such as the age, standardised by the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.tasks.base import Labels, Task
from evonas.tasks.common.label_distribution import (
    SIGMA,
    Estimate,
    checked_sigma,
    distribution_loss,
    few_values,
    fitted_sigma,
    grid,
    point_estimate,
)
from evonas.tasks.common.prediction_format import Answer

_ODD = ("yaw", "roll")
_NO_DEFAULT = ("image", "area", "identity")
#: Values of a distribution; the outermost are this share of the range beyond the training labels,
#: 8 steps: see ``label_distribution.SIGMA``.
_VALUES, _MARGIN = 64, 8 / 47


class Regression(Task):
    """Predict quantities in the units of the labels, each from one output or from a distribution.

    Args:
        schema: label name -> names of its classes.
        labels: labels to learn, in this order; default: all quantities except key points
            (``*.x``, ``*.y``, ``*.v``), ``box.*``, ``image``, ``area`` and ``identity``.
        output: ``value``: one output per label, standardised by the training labels.
            ``distribution``: a point estimate over 64 values per label, learnt from a Gaussian
            around the label (Gao et al. 2017, arXiv 1611.01731).
        loss: with ``value``: ``huber``, ``l1`` (mean of |d|) or ``l2`` (mean of d^2), of
            standardised differences d.
        delta: difference, in standard deviations, where the Huber loss turns from squared to
            linear.
        centre: with ``value``: value of each label at output 0; default: the training mean.
        scale: with ``value``: change of each label per unit of output, positive; default: the
            training standard deviation.
        low, high: with ``distribution``: least and largest value of each label; default: 17 %
            of the range beyond the training labels, symmetric about 0 for odd labels.
        sigma: with ``distribution``: standard deviation of that Gaussian, in steps between the
            values (63 steps are the range); default: 2, or 0.5 if each label takes few values
            among the training images (at most 32, and a quarter of the images).
        estimate: with ``distribution``: its ``mean``, or its ``median``; default: the median of
            labels of few values, else the mean.
        unit: unit of the labels, for display, such as "years"; empty: they have none.
        odd: labels that change sign in a mirrored image; default: yaw and roll, if learnt.

    Raises:
        InputError: a label is missing or not a quantity; an option is out of its range.
    """

    metric = "mae"
    higher_is_better = frozenset({"r2"})

    def __init__(
        self,
        schema: Labels,
        labels: tuple[str, ...] | None = None,
        output: Literal["value", "distribution"] = "value",
        loss: Literal["huber", "l1", "l2"] = "huber",
        delta: float = 1.0,
        centre: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        sigma: float | None = None,
        estimate: Estimate | None = None,
        unit: str = "",
        odd: tuple[str, ...] | None = None,
    ) -> None:
        self.labels = _chosen(schema, labels)
        self.output = output
        self.n_outputs = len(self.labels) * (_VALUES if output == "distribution" else 1)
        for name in odd or ():
            if name not in self.labels:
                raise InputError(
                    f"task.odd: expected labels that are learnt, got {name!r}: "
                    f"{nearest(name, self.labels)}"
                )
        if not 0 < delta < np.inf:
            raise InputError(
                f"task.delta: expected a positive number of standard deviations, got {delta}"
            )
        flipping = _ODD if odd is None else odd
        self._signs = np.array([-1.0 if n in flipping else 1.0 for n in self.labels], np.float32)
        self.kind, self.delta = loss, delta
        self.centre = self._each("centre", centre)
        self.scale = self._each("scale", scale)
        if self.scale is not None and not (self.scale > 0).all():
            raise InputError(f"task.scale: expected positive numbers, got {self.scale.tolist()}")
        self.low, self.high = self._each("low", low), self._each("high", high)
        if self.low is not None and self.high is not None and not (self.low < self.high).all():
            raise InputError(
                f"task.low: expected values below task.high, got {self.low.tolist()} and "
                f"{self.high.tolist()}"
            )
        self._sigma, self._estimate = checked_sigma(sigma), estimate
        self.unit = unit
        self.higher_is_better = frozenset({"r2", *(f"r2_{name}" for name in self.labels)})

    def targets(self, dataset: Dataset) -> Array:
        """Return the labels, (n, k), in their own units."""
        return np.stack([dataset.labels[name] for name in self.labels], 1).astype(np.float32)

    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of mirrored images: the odd labels change sign."""
        return targets * self._signs

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``centre`` and ``scale``, or the options of a distribution, for training labels.

        Raises:
            InputError: a label does not vary among the training targets.
        """
        options = {}
        values = targets.astype(np.float64)
        distributed = self.output == "distribution"
        if (self.low is None or self.high is None) if distributed else self.scale is None:
            given = "task.low and task.high" if distributed else "task.scale"
            for column in np.flatnonzero(np.ptp(values, axis=0) == 0).tolist():
                raise InputError(
                    f"task.labels: expected labels that vary, got {self.labels[column]!r} with "
                    f"{values[0, column]:g} for each of {len(values)} training images: leave the "
                    f"label out, or give {given}"
                )
        if distributed:
            least, most = values.min(0), values.max(0)
            most = np.where(self._signs < 0, np.abs(values).max(0), most)
            least = np.where(self._signs < 0, -most, least)
            margin = _MARGIN * (most - least)
            bounds = {"low": (self.low, least - margin), "high": (self.high, most + margin)}
            settled = {key: own.tolist() for key, (given_, own) in bounds.items() if given_ is None}
            if self._sigma is None:
                settled["sigma"] = fitted_sigma(targets)
            if self._estimate is None:
                settled["estimate"] = "median" if few_values(targets) else "mean"
            return settled
        if self.centre is None:
            options["centre"] = values.mean(0).tolist()
        if self.scale is None:
            options["scale"] = values.std(0).tolist()
        return options

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the standardised differences, or of the distributions.

        Raises:
            InputError: there is no centre or scale, or no low or high.
        """
        if self.output == "distribution":
            logits, values = self._logits(outputs), self._values(outputs)
            return distribution_loss(logits, targets, values, self._sigma or SIGMA)
        centre, scale = self._filled(outputs, self._scales())
        truth = (targets - centre) / scale
        if self.kind == "huber":
            return functional.huber_loss(outputs, truth, delta=self.delta)
        measure = functional.l1_loss if self.kind == "l1" else functional.mse_loss
        return measure(outputs, truth)

    @property
    def answer(self) -> Answer:
        """Values in the labels' units, (n, k)."""
        return Answer("values", self.labels, self.unit)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return values in the labels' units, (n, k).

        Raises:
            InputError: there is no centre or scale.
        """
        if self.output == "distribution":
            return point_estimate(
                self._logits(outputs), self._values(outputs), self._estimate or "mean"
            )
        centre, scale = (torch.from_numpy(values).to(outputs) for values in self._scales())
        return outputs * scale + centre

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs with the values of odd labels negated: o -> -o - 2 centre / scale.

        The logits of a distribution are reversed.

        Raises:
            InputError: there is no centre or scale, or the values of an odd label's
                distribution are not symmetric about 0.
        """
        if self.output == "distribution":
            return self._reversed(outputs)
        centre, scale = self._scales()
        return (outputs * self._signs + (self._signs - 1) * centre / scale).astype(np.float32)

    def constant_baseline(self, targets: Array) -> Array:
        """Return the medians, which minimise the mean absolute error."""
        return np.median(targets, axis=0).astype(np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``mae`` and ``rmse`` (means over the labels), ``mae_LABEL`` and ``r2``.

        R2 = 1 - SSE / SST, with SST about the mean of the evaluated targets. It is the mean over
        the labels that vary among these targets, and is left out if none does.
        """
        errors = self._errors(predictions, targets)
        metrics = {"mae": float(errors["mae"].mean()), "rmse": float(errors["rmse"].mean())}
        for name, value in zip(self.labels, errors["mae"], strict=True):
            metrics[f"mae_{name}"] = float(value)
        varying = errors["r2"][np.isfinite(errors["r2"])]
        return metrics | ({"r2": float(varying.mean())} if len(varying) else {})

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, ``rmse_LABEL`` and, for labels that vary, ``r2_LABEL``."""
        errors = self._errors(predictions, targets)
        details = dict(self.metrics(predictions, targets))
        for kind in ("rmse", "r2"):
            for name, value in zip(self.labels, errors[kind], strict=True):
                if np.isfinite(value):
                    details[f"{kind}_{name}"] = float(value)
        return details

    def _errors(self, predictions: Array, targets: Array) -> dict[str, NDArray[np.float64]]:
        """Return each label's errors; R2 is nan if its targets do not vary."""
        truth = targets.astype(np.float64)
        differences = predictions.astype(np.float64) - truth
        squares, spread = (differences**2).sum(0), ((truth - truth.mean(0)) ** 2).sum(0)
        # The mean of a constant may be rounded, so the range decides whether a label varies.
        varies = np.ptp(truth, axis=0) > 0
        r2 = np.full(len(self.labels), np.nan)
        r2[varies] = 1.0 - squares[varies] / spread[varies]
        rmse = np.sqrt((differences**2).mean(0))
        return {"mae": np.abs(differences).mean(0), "rmse": rmse, "r2": r2}

    def _logits(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(-1, len(self.labels), _VALUES)

    def _values(self, outputs: Tensor) -> Tensor:
        """Return the values of each label's distribution, (k, 64)."""
        return grid(*self._filled(outputs, self._bounds()), _VALUES)

    def _reversed(self, outputs: Array) -> Array:
        low, high = self._bounds()
        odd = self._signs < 0
        if not np.allclose(low[odd], -high[odd]):
            raise InputError(
                "task.low and task.high: expected -high for low of labels that change sign in a "
                "mirrored image, which a flip test needs: test without --flip"
            )
        logits = outputs.reshape(len(outputs), len(self.labels), _VALUES).copy()
        logits[:, odd] = logits[:, odd, ::-1]
        return logits.reshape(outputs.shape)

    @staticmethod
    def _filled(like: Tensor, arrays: Sequence[NDArray[np.float64]]) -> tuple[Tensor, Tensor]:
        """Return arrays as tensors, filled on the device: a copy from the host would block."""
        first, second = (
            torch.stack([like.new_full((), value) for value in values.tolist()])
            for values in arrays
        )
        return first, second

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.low is None or self.high is None:
            raise InputError(
                "task.low and task.high: expected numbers, got none: add what "
                "fit_options(training targets) returns to the options"
            )
        return self.low, self.high

    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.centre is None or self.scale is None:
            raise InputError(
                "task.centre and task.scale: expected numbers, got none: add what "
                "fit_options(training targets) returns to the options"
            )
        return self.centre, self.scale

    def _each(self, option: str, values: Sequence[float] | None) -> NDArray[np.float64] | None:
        if values is None:
            return None
        numbers = np.asarray(values, np.float64)
        if numbers.shape != (len(self.labels),) or not np.isfinite(numbers).all():
            raise InputError(
                f"task.{option}: expected {len(self.labels)} finite numbers, one for each of "
                f"{', '.join(self.labels)}, got {list(values)}"
            )
        return numbers


def _chosen(schema: Labels, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the labels to learn."""
    known = [
        name
        for name, classes in schema.items()
        if not classes and not name.endswith((".x", ".y", ".v")) and not name.startswith("box.")
    ]
    for name in labels or ():
        if name not in known:
            raise InputError(
                f"task.labels: expected quantities (not classes, key points or boxes), got "
                f"{name!r}: {nearest(name, known)}"
            )
    chosen = labels if labels is not None else tuple(n for n in known if n not in _NO_DEFAULT)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"task.labels: expected at least one quantity, each once, got "
            f"{', '.join(chosen) or 'none'}: {nearest('', known)}"
        )
    return chosen
