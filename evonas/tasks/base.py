"""What every task offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evonas.data.base import Dataset

Array = NDArray[np.float32]


class Task(ABC):
    """A learning problem on the labels of a data set.

    The constructor takes the names of the data set's labels first, then options.

    Attributes:
        n_outputs: length of the network's output.
        metric: name of the metric that a search minimises.
        unit: the metric's unit, for people.
    """

    n_outputs: int
    metric: str
    unit: str

    @abstractmethod
    def targets(self, dataset: Dataset) -> Array:
        """Return the labels to learn, (n, k), in their own units."""

    @abstractmethod
    def mirrored(self, targets: Array) -> Array:
        """Return the targets of the mirrored images, (n, k)."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean training loss of (n, n_outputs) against (n, k)."""

    @abstractmethod
    def predictions(self, outputs: Array) -> Array:
        """Return (n, n_outputs) network outputs as (n, k) in the labels' units."""

    @abstractmethod
    def constant(self, targets: Array) -> Array:
        """Return the best prediction without looking at the image, (k,)."""

    @abstractmethod
    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return metric name -> value of (n, k) predictions against (n, k) targets."""
