"""Common part of the genetic algorithms: options, and the mating of pymoo with preselection."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.config import Config
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover

from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.pymoo_support.operators import OneGene, UnknownOnly
from evonas.space import SearchSpace


class GeneticOptions(Common, total=False):
    """The options that all genetic algorithms share with the same default."""

    step: float
    preselection: int


class GeneticOptimizer(Optimizer):
    """Generate children by uniform crossover and mutation, and ask the most promising ones.

    Args:
        mutation: probability that a child is mutated, in (0, 1].
        crossover: probability that two parents exchange genes, in [0, 1].
        parents: number of architectures that may mate, at least 2.
        step: standard deviation of a mutation of ordered values, in (0, 1] of the range.
        preselection: children generated for each asked one, at least 1.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float,
        crossover: float,
        parents: int,
        step: float = 0.2,
        preselection: int = 6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._mutation = number_in("mutation", mutation, 1e-3, 1.0)
        self._step = number_in("step", step, 1e-3, 1.0)
        self._crossover = number_in("crossover", crossover, 0.0, 1.0)
        self._parents = whole_number("parents", parents, 2)
        self._children_each = whole_number("preselection", preselection, 1)
        self._algorithm: Any = None

    @abstractmethod
    def _create(self, **settings: Any) -> Any:
        """Return the pymoo algorithm, given the settings that all of them have in common."""

    @abstractmethod
    def _promising(self, children: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return indices of (n, dim) children, the most promising first."""

    def _default_population_size(self) -> int:
        return 5

    def _restart(self) -> None:
        self._algorithm = None

    def _begin(self) -> None:
        # pymoo prints a hint about compiled modules, which are not needed for a few hundred rows
        Config.warnings["not_compiled"] = False
        self._mutate = OneGene(self.space, self._mutation, self._step)
        self._algorithm = self._create(
            pop_size=self._parents,
            n_offsprings=self._children_each * self.population_size,
            sampling=self.sample(self.population_size),
            crossover=UniformCrossover(prob=self._crossover),
            mutation=self._mutate,
            eliminate_duplicates=UnknownOnly(self),
            output=None,
        )
        # pymoo does not use n_obj here; the first tell determines the number of axes
        problem = Problem(n_var=self.space.dim, n_obj=1, xl=0.0, xu=1.0)
        self._algorithm.setup(problem, termination=NoTermination(), verbose=False)
        self._algorithm.random_state = self.rng

    def _ask(self) -> NDArray[np.float64]:
        if self._algorithm is None:
            self._begin()
        self._mutate.matings = 0
        self._offspring = self._algorithm.ask()
        if self._offspring is None:
            return np.empty((0, self.space.dim))
        if len(self._offspring) > self.population_size:
            order = self._promising(self._offspring.get("X"))
            self._offspring = self._offspring[order[: self.population_size]]
        return np.array(self._offspring.get("X"), dtype=np.float64).reshape(-1, self.space.dim)
