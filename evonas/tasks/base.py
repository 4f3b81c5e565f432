"""Base class of all tasks: targets, loss, metrics and decoding of network outputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS, Answer

#: The error that a search minimises: the task's metric, or its loss on held-out images.
Error = Literal["metric", "loss"]
_BATCH = 256  # images per batch of held_out_loss

#: Label name -> names of its classes, empty for a quantity.
Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Matrix:
    """A square table of counts, such as a confusion matrix.

    Attributes:
        title: description of rows and columns.
        names: names of the rows, which are those of the columns too.
        counts: (n, n).
    """

    title: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The targets of a task that has the network for itself, or of one of several tasks.

    Attributes:
        name: of the task among several; empty for a task of its own.
        task: the task.
        targets: (n, k) its own targets.
        known: (n,) which images have its labels.
        columns: place of its targets, and predictions, among those of all tasks.
    """

    name: str
    task: Task
    targets: Array
    known: NDArray[np.bool_]
    columns: slice

    @property
    def judged(self) -> Array:
        """The targets of the images with labels.

        Raises:
            InputError: there is none.
        """
        if not self.known.any():
            raise InputError(
                f"task.tasks.{self.name}: expected images with {' and '.join(self.task.labels)}, "
                f"got none among {len(self.known)}: leave the task out, or choose other images"
            )
        return self.targets[self.known]


class Task(ABC):
    """A learning problem on the labels of a data set.

    The first argument of a constructor is ``Dataset.schema``: label name -> names of its
    classes, none for a quantity. The task's options follow.

    Attributes:
        n_outputs: length of the network's output, or its channels if ``dense``.
        metric: name of the metric that a search minimises and that selects the epoch whose
            weights are kept; ``minimising`` replaces it by the loss.
        unit: the metric's unit, for display.
        labels: names of the labels to learn; ``nose`` means the key point with the labels
            ``nose.x`` and ``nose.y``.
        dense: whether the output is a map, (n, n_outputs, height, width), instead of a vector.
        higher_is_better: names of the metrics for which higher is better.
        takes_missing: whether targets may be nan, where an image lacks a label.
        members: the tasks that share the network, in the order of their outputs, targets and
            predictions; empty for a task of its own.
    """

    n_outputs: int
    metric: str
    unit: str
    labels: tuple[str, ...]
    dense: bool = False
    higher_is_better: frozenset[str] = frozenset()
    takes_missing: bool = False
    members: Mapping[str, Task] = MappingProxyType({})

    @abstractmethod
    def targets(self, dataset: Dataset) -> Array:
        """Return the labels to learn, (n, k), in the units of the data set."""

    def refuse_missing(self, dataset: Dataset) -> None:
        """Refuse a data set in which images lack labels of the task, unless it allows that.

        Raises:
            InputError: the data set's message on the first such image.
        """
        for name, message in () if self.takes_missing else dataset.missing.items():
            if name in self.labels or name.rpartition(".")[0] in self.labels:
                raise InputError(message)

    @property
    def ends(self) -> Sequence[Task]:
        """The tasks whose outputs and predictions stand side by side: the members, or the task."""
        return (*self.members.values(),) or (self,)

    def split(self, targets: Array) -> Iterable[Part]:
        """Return the targets of each of ``ends``, of (n, k) targets; by default all in one part."""
        return [Part("", self, targets, np.ones(len(targets), np.bool_), slice(None))]

    def combined(self, errors: Mapping[str, float]) -> float:
        """Return the error to minimise, of the errors of the parts of ``split`` by their names."""
        (error,) = errors.values()
        return error

    @abstractmethod
    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of the mirrored images, (n, k)."""

    def crop_targets(self, targets: Array, corner: Array, side: Array) -> Array:
        """Return the targets of other crops of the same images, (n, k).

        Args:
            targets: (n, k) targets of the standard crops.
            corner: (n, 2) x and y of the upper left corner of each new crop, in sides of the
                standard crop.
            side: (n,) sides of the new crops, in the same unit.
        """
        return targets

    def unflip_outputs(self, outputs: Array) -> Array:
        """Convert outputs for mirrored images to outputs for the original images.

        A flip test averages them with the network's outputs for the original images.

        Args:
            outputs: (n, n_outputs[, h, w]); n may be 0, to check that the task has a flip test.

        Raises:
            InputError: the task has no flip test.
        """
        raise InputError(
            f"task {type(self).__name__}: has no flip test, since it does not define how outputs "
            f"for a mirrored image are converted: test without --flip"
        )

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return options that are computed from the training targets (n, k), such as a scale.

        They are added to the user's options before any network is trained, so that workers,
        evaluation and exported files use the same values.
        """
        return {}

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean training loss of (n, n_outputs[, h, w]) against (n, k)."""

    @property
    @abstractmethod
    def answer(self) -> Answer:
        """Format of the predictions of ``decode``: kind, columns and unit."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> Tensor:
        """Return the predictions of network outputs in the labels' units; shape: see ``answer``.

        This function is part of exported files: it may use only operators that ONNX has, the
        same ones for every image and any number of images.

        Args:
            outputs: (n, n_outputs[, h, w]) of any floating type, which the predictions have too.
        """

    def read(self, outputs: Array) -> Array:
        """Return the decoded predictions of a numpy array, computed in double precision."""
        with torch.no_grad():
            wide = torch.from_numpy(np.ascontiguousarray(outputs, np.float64))
            decoded: Array = self.decode(wide).numpy().astype(np.float32)
        return decoded

    def predictions(self, outputs: Array) -> Array:
        """Return (n, k) predictions in the labels' units for (n, n_outputs[, h, w]) outputs.

        By default these are the decoded predictions, one row per image.
        """
        decoded = self.read(outputs)
        return decoded.reshape(len(decoded), math.prod(decoded.shape[1:]))

    @abstractmethod
    def constant_baseline(self, targets: Array) -> Array:
        """Return the best constant prediction for (n, k) targets, (k,)."""

    @abstractmethod
    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return metric name -> value of (n, k) predictions against (n, k) targets."""

    def constant_metrics(self, known: Array, judged: Array) -> Mapping[str, float]:
        """Return the metrics of the best constant prediction.

        Args:
            known: (n, k) targets from which the constant is computed.
            judged: (m, k) targets on which it is evaluated.
        """
        constant = self.constant_baseline(known)
        return self.metrics(np.broadcast_to(constant, (len(judged), *constant.shape)), judged)

    def minimising(self, error: Error) -> Self:
        """Return the task with ``metric`` set for a search that minimises metric or loss."""
        if error == "metric":
            return self
        task = copy(self)
        task.metric = HELD_OUT_LOSS
        return task

    def validate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """Return the metrics of outputs (n, n_outputs[, h, w]) against (n, k) targets.

        They contain ``held_out_loss`` only if it is the metric to minimise.
        """
        metrics = dict(self.metrics(self.predictions(outputs), targets))
        if self.metric == HELD_OUT_LOSS:
            metrics[HELD_OUT_LOSS] = self.held_out_loss(outputs, targets)
        return metrics

    def held_out_loss(self, outputs: Array, targets: Array) -> float:
        """Return the mean loss per image over batches of 256, in double precision on the CPU.

        The batches have a fixed size and order, so that the result depends neither on the
        training batches nor on the device, and large maps need little memory.
        """
        # A copy, since a task may keep tensors on its training device.
        task, total = copy(self), 0.0
        with torch.no_grad():
            for start in range(0, len(outputs), _BATCH):
                rows = slice(start, start + _BATCH)
                batch, truth = (
                    torch.from_numpy(np.ascontiguousarray(values[rows], np.float64))
                    for values in (outputs, targets)
                )
                total += float(task.loss(batch, truth)) * len(batch)
        return total / len(outputs)

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics and the additional ones that only an evaluation reports."""
        return self.metrics(predictions, targets)

    def matrix(self, predictions: Array, targets: Array) -> Matrix | None:
        """Return a confusion matrix; None if the task has none."""
        return None
