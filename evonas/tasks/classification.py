"""Classification of one label with classes, such as the emotion; cross entropy, macro F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.tasks.base import Labels, Matrix, Task
from evonas.tasks.common.mirror_pairs import mirrored_places
from evonas.tasks.common.prediction_format import Answer


class Classification(Task):
    """Predict one of several classes; targets and predictions are (n, 1) class indices.

    To reproduce the emotion setting of Singhi ("Facial recognition with neural network and
    transfer learning"; SFEW, seven emotions of 100 images, split 80/10/10, dropout 0.5 and one
    linear layer on the pooled features of a frozen network) approximately, use this task with
    its default options, a data set with shares 0.8, 0.1 and 0.1, the network ``linear_probe``
    with ``dropout: 0.5``, and ``epochs: 25, schedule: exponential, decay: 0.1`` in
    ``retraining`` (the rate falls to a tenth after every epoch, as the text says, so little
    changes after the third). AdamW replaces stochastic gradient descent. One of the 70 test
    images is 1.4 percent: most of the reported differences are of that size.

    Args:
        labels: label name -> names of its classes.
        label: label to learn; default: the only one with classes.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, arXiv 1512.00567).
        balanced: weight classes by the inverse of their training frequency.
        weights: a positive loss weight per class. With ``balanced`` they are computed from the
            training targets unless they are given.
        pairs: classes that are exchanged in a mirrored image, such as "looks left" and "looks
            right"; default: pairs recognised by name (``left`` and ``right``, ``left_wink`` and
            ``right_wink``).

    Raises:
        InputError: no label or more than one qualifies; an option is out of its range.
    """

    metric = "error"
    unit = "percent"

    def __init__(
        self,
        labels: Labels,
        label: str | None = None,
        label_smoothing: float = 0.0,
        balanced: bool = False,
        weights: Sequence[float] | None = None,
        pairs: tuple[tuple[str, str], ...] | None = None,
    ) -> None:
        self.label = _chosen(labels, label)
        self.labels = (self.label,)
        self.names = tuple(labels[self.label])
        self.n_outputs = len(self.names)
        if not 0 <= label_smoothing < 1:
            raise InputError(
                f"task.label_smoothing: expected a number of at least 0 and below 1, "
                f"got {label_smoothing}"
            )
        if weights is not None and not (
            len(weights) == self.n_outputs and all(0 < w < np.inf for w in weights)
        ):
            raise InputError(
                f"task.weights: expected {self.n_outputs} positive numbers, one for each of "
                f"{', '.join(self.names)}, got {list(weights)}"
            )
        self.label_smoothing, self.balanced = label_smoothing, balanced
        self._mirror = mirrored_places(self.names, pairs)
        self.weights = None if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        each = {f"{kind} {name}" for kind in ("recall", "f1") for name in self.names}
        self.higher_is_better = frozenset({"accuracy", "macro_f1", *each})

    def targets(self, dataset: Dataset) -> Array:
        """Return the class index of each image, (n, 1).

        Raises:
            InputError: a label is not a class index.
        """
        classes = np.asarray(dataset.labels[self.label], np.float32)
        wrong = np.flatnonzero(
            (classes != np.rint(classes)) | (classes < 0) | (classes >= self.n_outputs)
        )
        if len(wrong):
            raise InputError(
                f"task.label: expected indices of the {self.n_outputs} classes of {self.label!r}, "
                f"0 to {self.n_outputs - 1}, got {classes[wrong[0]]:g} for "
                f"{dataset.describe(int(wrong[0]))}, {len(wrong)} such images in total: "
                f"correct these labels or leave the images out"
            )
        return classes[:, None]

    def flip_targets(self, targets: Array) -> Array:
        """Return the classes of mirrored images: the classes of a pair are exchanged."""
        return self._mirror[_numbers(targets)][:, None].astype(np.float32)

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``weights`` if ``balanced``: images / (classes * images of the class).

        A class without training images has the weight 1 and does not count as a class.
        """
        if not self.balanced or self.weights is not None:
            return {}
        counts = np.bincount(_numbers(targets), minlength=self.n_outputs)
        present = counts > 0
        weights = np.ones(self.n_outputs)
        weights[present] = len(targets) / (present.sum() * counts[present])
        return {"weights": weights.tolist()}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy, weighted by the target's class.

        Raises:
            InputError: ``balanced`` without weights.
        """
        if self.balanced and self.weights is None:
            raise InputError(
                "task.weights: expected the weights that task.balanced=true needs, got none: add "
                "what fit_options(training targets) returns to the options"
            )
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)  # kept, since a copy blocks the host
        return functional.cross_entropy(
            outputs,
            targets[:, 0].long(),
            weight=None if self.weights is None else self.weights.to(outputs),
            label_smoothing=self.label_smoothing,
        )

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the (n, classes) outputs with the classes of each mirror pair exchanged."""
        return outputs[:, self._mirror]

    @property
    def answer(self) -> Answer:
        """Probability of each class, (n, classes)."""
        return Answer("classes", self.names, "share", self.label)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the softmax of (n, classes) outputs."""
        return outputs.softmax(1)

    def predictions(self, outputs: Array) -> Array:
        """Return the index of the most probable class, (n, 1)."""
        indices: Array = outputs.argmax(1)[:, None].astype(np.float32)
        return indices

    def constant_baseline(self, targets: Array) -> Array:
        """Return the index of the most frequent class, (1,)."""
        return np.array([np.bincount(_numbers(targets)).argmax()], np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``error`` (100 - accuracy), ``accuracy`` and ``macro_f1``, percent.

        Macro F1 is the unweighted mean F1 of the classes that occur among targets or
        predictions, as scikit-learn defines it.
        """
        counts = self._confusion(predictions, targets)
        accuracy = 100.0 * float(np.trace(counts) / counts.sum())
        macro_f1 = float(np.nanmean(_f1(counts)))
        return {"error": 100.0 - accuracy, "accuracy": accuracy, "macro_f1": macro_f1}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, and ``recall NAME`` and ``f1 NAME`` of each class, percent.

        A class without images has no recall; if it is not predicted either, it has no F1.
        """
        counts = self._confusion(predictions, targets)
        details = dict(self.metrics(predictions, targets))
        images = counts.sum(1)
        for index, name in enumerate(self.names):
            if images[index]:
                details[f"recall {name}"] = 100.0 * float(counts[index, index] / images[index])
        for name, value in zip(self.names, _f1(counts), strict=True):
            if np.isfinite(value):
                details[f"f1 {name}"] = float(value)
        return details

    def matrix(self, predictions: Array, targets: Array) -> Matrix:
        """Return the confusion matrix: true classes in rows, predicted classes in columns."""
        title = f"{self.label}: truth in rows, prediction in columns"
        return Matrix(title, self.names, self._confusion(predictions, targets))

    def _confusion(self, predictions: Array, targets: Array) -> NDArray[np.int64]:
        size = self.n_outputs
        pairs = _numbers(targets) * size + _numbers(predictions)
        return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.int64)


def _numbers(column: Array) -> NDArray[np.intp]:
    return np.rint(column[:, 0]).astype(np.intp)


def _f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each class's F1 in percent; nan for a class that does not occur."""
    occurrences = counts.sum(0) + counts.sum(1)
    f1: NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(200.0 * np.diagonal(counts), occurrences, out=f1, where=occurrences > 0)
    return f1


def _chosen(labels: Labels, label: str | None) -> str:
    """Return the label to learn."""
    known = [name for name, classes in labels.items() if classes]
    if label is not None and label not in known:
        raise InputError(
            f"task.label: expected a label with classes, got {label!r}: {nearest(label, known)}"
        )
    if not known:
        raise InputError(
            f"task.label: expected a data set with a label that has classes, got only "
            f"{', '.join(labels) or 'none'}: use another data set, or the task regression"
        )
    if label is None and len(known) > 1:
        raise InputError(
            f"task.label: expected the label to learn, got none, and the data set has {len(known)} "
            f"labels with classes: set task.label to one of {', '.join(known)}"
        )
    name = known[0] if label is None else label
    if len(labels[name]) < 2:
        raise InputError(
            f"task.label: expected at least two classes, got only {labels[name][0]!r} of "
            f"{name!r}: there is nothing to learn"
        )
    return name
