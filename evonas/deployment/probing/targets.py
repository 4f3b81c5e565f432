"""Targets of linear probes: labels of a data set as arrays of quantities or class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.errors import InputError, nearest

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Label whose numbers are names of persons, so that it is treated as classes.
_IDENTITY = "identity"


@dataclass(frozen=True)
class Target:
    """The values of one label for n images.

    Attributes:
        name: name of the label.
        values: (n, k) float; k = 1 for a quantity and for class indices, 2 for a key point (x, y).
        classes: names of the classes; empty for quantities.
    """

    name: str
    values: Floats
    classes: tuple[str, ...] = ()

    @property
    def numbers(self) -> NDArray[np.intp]:
        """The class index of each image, (n,)."""
        return np.rint(self.values[:, 0]).astype(np.intp)

    @property
    def columns(self) -> Floats:
        """The columns for regression: the values, or the indicators 0 or 1 of classes."""
        if not self.classes:
            return self.values
        indicators: Flags = self.numbers[:, None] == np.arange(len(self.classes))
        return indicators.astype(np.float64)

    def of(self, rows: NDArray[np.intp]) -> Target:
        """Return the target for a selection of images."""
        return Target(self.name, self.values[rows], self.classes)


def read(dataset: Dataset, name: str) -> tuple[Target, Flags]:
    """Return a label as a target, and (n,) whether each image has the label.

    ``nose`` is the key point of the labels ``nose.x`` and ``nose.y``; an image has it if
    ``nose.v`` is not 0. An image lacks a label that is nan. The values of ``identity`` are classes.

    Raises:
        InputError: the data set has no such label; the message offers the nearest.
    """
    labels, everywhere = dataset.labels, np.ones(len(dataset), bool)
    if name in labels:
        everywhere = np.isfinite(labels[name])
        values, classes = _column(labels[name]), tuple(dataset.classes.get(name, ()))
        if name == _IDENTITY and not classes:
            identities, numbers = np.unique(values, return_inverse=True)
            values, classes = _column(numbers), tuple(f"{value:g}" for value in identities)
        return Target(name, values, classes), everywhere
    points = [
        label[:-2] for label in labels if label.endswith(".x") and f"{label[:-2]}.y" in labels
    ]
    if name not in points:
        known = nearest(name, [*labels, *points])
        raise InputError(f"probe.labels: the data set has no label {name!r}: {known}")
    values = np.stack([labels[f"{name}.x"], labels[f"{name}.y"]], 1).astype(np.float64)
    visibility = labels.get(f"{name}.v")
    return Target(name, values), everywhere if visibility is None else np.asarray(visibility) > 0


def _column(values: Sequence[float] | NDArray[np.generic]) -> Floats:
    return np.asarray(values, np.float64).reshape(-1, 1)
