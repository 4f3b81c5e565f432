"""The objective as a rival meets it: repeats are free, distinct trainings are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from replay import Problem, Trace, trace

from evonas.space import Architecture, SearchSpace

#: Calls, as a multiple of the budget, after which a rival that repeats itself is stopped.
PATIENCE = 20
#: Repeats in a row after which it starts anew from other random numbers.
STANDSTILL = 100


class Spent(Exception):
    """The budget is spent, or far too many calls were repeats: the run is over."""


class Stuck(Exception):
    """The rival met nothing new for long: it starts anew, as its user would let it."""


class Memo:
    """The objective as a rival meets it.

    Args:
        problem: what is searched.
        budget: number of distinct trainings.
        seed: of the training that the noisy protocol tells.
        noisy: whether one training is told, instead of the mean.
    """

    def __init__(self, problem: Problem, budget: int, seed: int, noisy: bool = False) -> None:
        self.problem, self.budget, self.calls = problem, budget, 0
        self._latest = 0  # call that met something new, or raised Stuck
        self._seed, self._noisy = seed, noisy
        self._met: dict[str, tuple[float, float]] = {}  # digest -> what was told, and the truth
        self._axes: dict[str, tuple[float, float]] = {}

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return self.problem.space

    @property
    def sizes(self) -> list[int]:
        """Number of values of each gene."""
        return [len(gene.values) for gene in self.space.genes]

    @property
    def trained(self) -> int:
        """Number of distinct trainings so far."""
        return len(self._met)

    def __call__(self, genome: Sequence[float] | NDArray[np.float64]) -> float:
        """Return the objective at a point, clipped to the unit cube.

        Raises:
            Spent: this would be a training too many, or there were too many calls.
            Stuck: it has been repeating itself for long.
        """
        return self._told(self.space.decode(np.clip(np.asarray(genome, dtype=float), 0.0, 1.0)))

    def at(self, indices: Sequence[int]) -> float:
        """Return the objective where each gene takes the value of an index."""
        return self(self._centre(indices))

    def axes(self, genome: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
        """Return error and cost at a point; counts, and raises, as a call does."""
        architecture = self.space.decode(np.clip(np.asarray(genome, dtype=float), 0.0, 1.0))
        self._told(architecture)
        if architecture.digest not in self._axes:
            self._axes[architecture.digest] = self.problem.axes(architecture)
        return self._axes[architecture.digest]

    def axes_at(self, indices: Sequence[int]) -> tuple[float, float]:
        """Return error and cost where each gene takes the value of an index."""
        return self.axes(self._centre(indices))

    def met_axes(self) -> NDArray[np.float64]:
        """Return (n, 2) error and cost, in the order of training, of who asked for axes."""
        return np.array(list(self._axes.values()))

    def trace(self) -> Trace:
        """Return what the rival met."""
        return trace(list(self._met.values()))

    def _centre(self, indices: Sequence[int]) -> list[float]:
        return [(index + 0.5) / size for index, size in zip(indices, self.sizes, strict=True)]

    def _told(self, architecture: Architecture) -> float:
        self.calls += 1
        if architecture.digest not in self._met:
            if self.trained >= self.budget:
                raise Spent
            truth = self.problem.value(architecture)
            seen = self.problem.told(architecture, self._seed) if self._noisy else truth
            self._met[architecture.digest] = (seen, truth)
            self._latest = self.calls
        if self.calls > PATIENCE * self.budget:
            raise Spent
        if self.calls - self._latest >= STANDSTILL:
            self._latest = self.calls
            raise Stuck
        return self._met[architecture.digest][0]
