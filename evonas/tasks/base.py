"""What every task offers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS, Answer

#: What a search multiplies by the cost: the task's own metric, or its loss.
Error = Literal["metric", "loss"]
_BATCH = 256  # images whose loss is computed at once


Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Matrix:
    """A small table of counts, such as a confusion matrix.

    Attributes:
        title: what rows and columns are.
        names: of the rows, and of the columns.
        counts: (n, n).
    """

    title: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]


class Task(ABC):
    """A learning problem on the labels of a data set.

    The constructor takes the data set's labels first (label name -> names of its
    classes, none for a quantity: ``Dataset.schema``), then options.

    Attributes:
        n_outputs: length of the network's output, or its channels if ``dense``.
        metric: name of the metric that a search minimises and that chooses the epoch whose
            weights are kept; ``minimising`` exchanges it for the loss.
        unit: the metric's unit, for people.
        labels: names of the data set's labels that are learnt; ``nose`` stands for the key
            point of ``nose.x`` and ``nose.y``.
        dense: the output is a map, (n, n_outputs, height, width), instead of a vector.
        higher_is_better: metrics of which more is better.
    """

    n_outputs: int
    metric: str
    unit: str
    labels: tuple[str, ...]
    dense: bool = False
    higher_is_better: frozenset[str] = frozenset()

    @abstractmethod
    def targets(self, dataset: Dataset) -> Array:
        """Return the labels to learn, (n, k), in their own units."""

    @abstractmethod
    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of the mirrored images, (n, k)."""

    def crop_targets(self, targets: Array, corner: Array, side: Array) -> Array:
        """Return the targets of other crops of the same images, (n, k).

        Args:
            targets: of the standard crops, (n, k).
            corner: (n, 2) x and y of each new crop's left upper corner, and
            side: (n,) its side, both in sides of the standard crop.
        """
        return targets

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs for mirrored images as outputs for the plain ones.

        A flip test averages them with those that a network gives for the plain images.

        Args:
            outputs: (n, n_outputs[, h, w]); n may be 0, to ask whether the task knows.

        Raises:
            InputError: the task has no flip test.
        """
        raise InputError(
            f"task {type(self).__name__}: has no flip test, since it does not say what outputs for "
            f"a mirrored image mean for the plain one: test without --flip"
        )

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return options that follow from the training targets (n, k), such as a scale.

        They are added to those that the user gave before any network is trained, so
        that workers, tests and exported files agree on them.
        """
        return {}

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean training loss of (n, n_outputs[, h, w]) against (n, k)."""

    @property
    @abstractmethod
    def answer(self) -> Answer:
        """What the numbers of ``decode`` are."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> Tensor:
        """Return what network outputs say, in the labels' own units; ``answer`` tells the shape.

        It becomes a part of exported files: operators that ONNX has, the same ones for every
        image and any number of images.

        Args:
            outputs: (n, n_outputs[, h, w]) of any floating type, which the answers have too.
        """

    def read(self, outputs: Array) -> Array:
        """Return the answers of outputs that numpy holds, computed in double precision."""
        with torch.no_grad():
            wide = torch.from_numpy(np.ascontiguousarray(outputs, np.float64))
            found: Array = self.decode(wide).numpy().astype(np.float32)
        return found

    def predictions(self, outputs: Array) -> Array:
        """Return (n, n_outputs[, h, w]) network outputs in the labels' units, (n, k).

        By default a row of the answers of each image.
        """
        found = self.read(outputs)
        return found.reshape(len(found), math.prod(found.shape[1:]))

    @abstractmethod
    def constant_baseline(self, targets: Array) -> Array:
        """Return the best prediction without looking at the image, (k,)."""

    @abstractmethod
    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return metric name -> value of (n, k) predictions against (n, k) targets."""

    def constant_metrics(self, known: Array, judged: Array) -> Mapping[str, float]:
        """Return the metrics of the best constant prediction.

        Args:
            known: (n, k) targets that the constant is the best for.
            judged: (m, k) targets that it is held against.
        """
        guess = self.constant_baseline(known)
        return self.metrics(np.broadcast_to(guess, (len(judged), *guess.shape)), judged)

    def minimising(self, error: Error) -> Self:
        """Return the task with the error that a search minimises: its metric, or its loss."""
        if error == "metric":
            return self
        made = copy(self)
        made.metric = HELD_OUT_LOSS
        return made

    def validate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """Return the metrics of outputs (n, n_outputs[, h, w]) against (n, k) targets.

        ``held_out_loss`` is among them only where it is the metric to minimise.
        """
        found = dict(self.metrics(self.predictions(outputs), targets))
        if self.metric == HELD_OUT_LOSS:
            found[HELD_OUT_LOSS] = self.held_out_loss(outputs, targets)
        return found

    def held_out_loss(self, outputs: Array, targets: Array) -> float:
        """Return the mean over images of the loss of batches of 256, in double precision.

        Batches of a fixed size in the order of the images: the result depends neither on the
        batches that are trained on nor on the device, and large maps need little memory.
        """
        # A copy, since a task may keep tensors on the device that it trains on.
        task, total = copy(self), 0.0
        with torch.no_grad():
            for start in range(0, len(outputs), _BATCH):
                rows = slice(start, start + _BATCH)
                said, truth = (
                    torch.from_numpy(np.ascontiguousarray(values[rows], np.float64))
                    for values in (outputs, targets)
                )
                total += float(task.loss(said, truth)) * len(said)
        return total / len(outputs)

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return all that a test reports: the metrics, and more that a search has no use for."""
        return self.metrics(predictions, targets)

    def matrix(self, predictions: Array, targets: Array) -> Matrix | None:
        """Return a confusion matrix, where the task has one."""
        return None
