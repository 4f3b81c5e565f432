"""Classification: one label with classes, such as the emotion; cross entropy, macro F1."""

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
from evonas.tasks.common.mirror_pairs import partner_of
from evonas.tasks.common.prediction_format import Answer


class Classification(Task):
    """One class out of several; targets and predictions are (n, 1) numbers of classes.

    How to come near the emotion setting of Singhi ("Facial recognition with neural
    network and transfer learning"; SFEW, seven emotions of 100 images, split 80/10/10,
    dropout 0.5 and one linear layer on the pooled features of a frozen network): this
    task with its default options, a data set with shares 0.8, 0.1 and 0.1, and
    ``epochs: 25, schedule: exponential, decay: 0.1`` in ``retraining`` (the rate falls
    to a tenth after every epoch, as the text says, so little happens after the third).
    The head is the network ``linear_probe`` with ``dropout: 0.5``. AdamW replaces
    stochastic gradient descent. One of its 70 test images is 1.4 percent: most of the
    differences that it reports are of that size.

    Args:
        labels: label name -> names of its classes.
        label: which to learn; by default the only one that has classes.
        label_smoothing: share of the target spread evenly over all classes, [0, 1)
            (Szegedy et al. 2016, arXiv 1512.00567).
        balanced: weigh classes by the inverse of their training frequency.
        weights: one positive weight a class for the loss. With ``balanced`` they are
            settled from the training targets unless they are given.
        pairs: classes that change places in a mirrored image (who looks to the left
            looks to the right in it); by default those that are named so (``left`` and
            ``right``, ``left_wink`` and ``right_wink``).

    Raises:
        InputError: no label, or several, can be meant; an option is out of its range.
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
        self._mirror = _exchanged(self.names, pairs)
        self.weights = None if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        each = {f"{kind} {name}" for kind in ("recall", "f1") for name in self.names}
        self.higher_is_better = frozenset({"accuracy", "macro_f1", *each})

    def targets(self, dataset: Dataset) -> Array:
        """Return the number of each image's class, (n, 1).

        Raises:
            InputError: a label is no number of a class.
        """
        found = np.asarray(dataset.labels[self.label], np.float32)
        wrong = np.flatnonzero((found != np.rint(found)) | (found < 0) | (found >= self.n_outputs))
        if len(wrong):
            raise InputError(
                f"task.label: expected numbers of the {self.n_outputs} classes of {self.label!r}, "
                f"0 to {self.n_outputs - 1}, got {found[wrong[0]]:g} of "
                f"{dataset.describe(int(wrong[0]))} and {len(wrong)} such images in all: "
                f"mend these labels or leave the images out"
            )
        return found[:, None]

    def flip_targets(self, targets: Array) -> Array:
        """Return the classes of mirrored images: those of a pair change places."""
        return self._mirror[_numbers(targets)][:, None]

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``weights`` if they are to be balanced: images / (classes * images of the class).

        A class without training images weighs 1, and does not count as a class.
        """
        if not self.balanced or self.weights is not None:
            return {}
        counts = np.bincount(_numbers(targets), minlength=self.n_outputs)
        there = counts > 0
        weights = np.ones(self.n_outputs)
        weights[there] = len(targets) / (there.sum() * counts[there])
        return {"weights": weights.tolist()}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy, weighted by the target's class.

        Raises:
            InputError: ``balanced`` without weights.
        """
        if self.balanced and self.weights is None:
            raise InputError(
                "task.weights: expected the weights that task.balanced=true asks for, got none: "
                "add what settled(training targets) returns to the options"
            )
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)  # once: to copy is to wait
        return functional.cross_entropy(
            outputs,
            targets[:, 0].long(),
            weight=None if self.weights is None else self.weights.to(outputs),
            label_smoothing=self.label_smoothing,
        )

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the outputs with classes of two sides exchanged, (n, classes)."""
        return outputs[:, self._mirror.astype(np.intp)]

    @property
    def answer(self) -> Answer:
        """The share of each class, (n, classes)."""
        return Answer("classes", self.names, "share", self.label)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the softmax of (n, classes) outputs: shares that add up to 1."""
        return outputs.softmax(1)

    def predictions(self, outputs: Array) -> Array:
        """Return the number of the largest output, and share, (n, 1)."""
        found: Array = outputs.argmax(1)[:, None].astype(np.float32)
        return found

    def constant_baseline(self, targets: Array) -> Array:
        """Return the most frequent class."""
        return np.array([np.bincount(_numbers(targets)).argmax()], np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``error`` (100 - accuracy), ``accuracy`` and ``macro_f1``, percent.

        Macro F1 is the mean F1 of the classes that occur among targets or predictions,
        each counting the same, as scikit-learn defines it.
        """
        counts = self._confusion(predictions, targets)
        accuracy = 100.0 * float(np.trace(counts) / counts.sum())
        macro_f1 = float(np.nanmean(_f1(counts)))
        return {"error": 100.0 - accuracy, "accuracy": accuracy, "macro_f1": macro_f1}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, and ``recall NAME`` and ``f1 NAME`` of the classes, percent.

        A class that no image shows has no recall; one that is not predicted either
        has no F1.
        """
        counts = self._confusion(predictions, targets)
        found = dict(self.metrics(predictions, targets))
        shown = counts.sum(1)
        for number, name in enumerate(self.names):
            if shown[number]:
                found[f"recall {name}"] = 100.0 * float(counts[number, number] / shown[number])
        for name, value in zip(self.names, _f1(counts), strict=True):
            if np.isfinite(value):
                found[f"f1 {name}"] = float(value)
        return found

    def matrix(self, predictions: Array, targets: Array) -> Matrix:
        """Return how many images of each class (rows) are taken for each class (columns)."""
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
    among = counts.sum(0) + counts.sum(1)
    right = np.diagonal(counts)
    found: NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(200.0 * right, among, out=found, where=among > 0)
    return found


def _exchanged(names: Sequence[str], pairs: tuple[tuple[str, str], ...] | None) -> Array:
    """Return the number of each class in a mirrored image."""
    found = {name: partner_of(name) for name in names if partner_of(name) in names}
    if pairs is not None:
        found = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
        said = [name for pair in pairs for name in pair]
        if len(set(said)) < len(said) or not set(said) <= set(names):
            raise InputError(
                f"task.pairs: expected pairs of {', '.join(names)}, each class once at most, "
                f"got {[list(pair) for pair in pairs]}"
            )
    return np.array([names.index(found.get(name, name)) for name in names], np.float32)


def _chosen(labels: Labels, label: str | None) -> str:
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
            f"task.label: the data set has {len(known)} labels with classes, got none of them: "
            f"choose one with task.label=..., of {', '.join(known)}"
        )
    name = known[0] if label is None else label
    if len(labels[name]) < 2:
        raise InputError(
            f"task.label: expected at least two classes, got only {labels[name][0]!r} of "
            f"{name!r}: there is nothing to learn"
        )
    return name
