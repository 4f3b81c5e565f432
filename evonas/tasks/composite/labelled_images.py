"""The images of a data set that have the labels of one task, where others lack them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset

Rows = NDArray[np.intp]


class LabelledImages(Dataset):
    """Some images of a data set, in its order, without splits.

    Args:
        dataset: the data set.
        rows: (n,) indices of the images.
    """

    def __init__(self, dataset: Dataset, rows: Rows) -> None:
        self._dataset, self._rows = dataset, rows
        self.labels = {name: values[rows] for name, values in dataset.labels.items()}
        self.classes, self.groups, self.splits = dataset.classes, dataset.groups[rows], {}
        self.fingerprint = dataset.fingerprint

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an image of the data set."""
        return self._dataset.image(int(self._rows[index]))

    def margin_of(self, index: int) -> float:
        """Return the margin of an image in the data set."""
        return self._dataset.margin_of(int(self._rows[index]))

    def describe(self, index: int) -> str:
        """Return the name of an image in the data set."""
        return self._dataset.describe(int(self._rows[index]))


class NoImages(Dataset):
    """A data set without images, with the labels of a schema.

    Args:
        schema: label name -> names of its classes.
    """

    def __init__(self, schema: Mapping[str, Sequence[str]]) -> None:
        self.labels = {name: np.zeros(0, np.float32) for name in schema}
        self.classes = {name: tuple(names) for name, names in schema.items() if names}
        self.groups, self.splits, self.fingerprint = np.zeros(0, np.str_), {}, ""

    def image(self, index: int) -> Any:
        """Raise an error: there is none."""
        raise IndexError(f"image {index} of 0")


def labelled(dataset: Dataset, labels: Iterable[str]) -> NDArray[np.bool_]:
    """Return which images have all of some labels, (n,).

    Raises:
        KeyError: the data set does not have the label at all.
    """
    known = np.ones(len(dataset), np.bool_)
    for name in labels:
        known &= np.isfinite(dataset.labels[name])
    return known
