"""What is to be learnt from pooled features: labels of a data set, each as columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.errors import InputError, nearest

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: A label that is a number, and means a name.
_NAMING = "identity"


@dataclass(frozen=True)
class Target:
    """One label, or several columns that belong together.

    Attributes:
        name: of the label.
        values: (n, k) float; k = 1 for a quantity, 2 for a key point (x, y), and numbers of
            classes as (n, 1).
        classes: their names; empty for quantities.
    """

    name: str
    values: Floats
    classes: tuple[str, ...] = ()

    @property
    def numbers(self) -> NDArray[np.intp]:
        """The number of each image's class, (n,)."""
        return np.rint(self.values[:, 0]).astype(np.intp)

    @property
    def columns(self) -> Floats:
        """What is regressed: the values; of classes their indicators, 0 or 1, (n, classes)."""
        if not self.classes:
            return self.values
        found: Flags = self.numbers[:, None] == np.arange(len(self.classes))
        return found.astype(np.float64)

    def of(self, rows: NDArray[np.intp]) -> Target:
        """Return the target of some images."""
        return Target(self.name, self.values[rows], self.classes)


def read(dataset: Dataset, name: str) -> tuple[Target, Flags]:
    """Return a label as a target, and which images have it, (n,).

    ``nose`` is the key point of the labels ``nose.x`` and ``nose.y``; an image has it where
    ``nose.v`` is not 0. ``identity`` is a class for each number that occurs.

    Raises:
        InputError: there is no such label (the nearest is offered).
    """
    labels, everywhere = dataset.labels, np.ones(len(dataset), bool)
    if name in labels:
        values, classes = _column(labels[name]), tuple(dataset.classes.get(name, ()))
        if name == _NAMING and not classes:
            found, numbers = np.unique(values, return_inverse=True)
            values, classes = _column(numbers), tuple(f"{value:g}" for value in found)
        return Target(name, values, classes), everywhere
    points = [
        label[:-2] for label in labels if label.endswith(".x") and f"{label[:-2]}.y" in labels
    ]
    if name not in points:
        known = nearest(name, [*labels, *points])
        raise InputError(f"probe.labels: the data set has no label {name!r}: {known}")
    values = np.stack([labels[f"{name}.x"], labels[f"{name}.y"]], 1).astype(np.float64)
    seen = labels.get(f"{name}.v")
    return Target(name, values), everywhere if seen is None else np.asarray(seen) > 0


def _column(values: Sequence[float] | NDArray[np.generic]) -> Floats:
    return np.asarray(values, np.float64).reshape(-1, 1)
