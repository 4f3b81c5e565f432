"""Mutation and duplicate elimination for pymoo on genes with discrete values.

pymoo's operators work on floats: on a gene with a few values most of their changes decode to
the same architecture, and equal architectures with different floats pass its elimination of
duplicates. The mutation here moves from value to value, and duplicates are recognised by digest
among all architectures asked so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population

from evonas.optimizers.base import Optimizer
from evonas.space import SearchSpace

#: Matings in one ask after which one more gene is mutated.
MATINGS_PER_GENE = 25


class OneGene(Mutation):  # type: ignore[misc]
    """Mutate one gene of a child, with a given probability, to another value.

    An ordered gene moves by N(0, step), rounded to whole values and at least one value; an
    unordered gene takes any other value. Near values are therefore more likely where there is
    an order, and every mutation changes the value.

    Args:
        space: the search space.
        probability: probability that a child is mutated.
        step: standard deviation of a move, as a share of the range.

    Attributes:
        matings: number of matings in this ask; it is set to 0 at each ask. Every
            ``MATINGS_PER_GENE`` matings one more gene is mutated.
    """

    def __init__(self, space: SearchSpace, probability: float, step: float) -> None:
        super().__init__()
        self._space = space
        self._probability = probability
        self._step = step
        self._movable = np.flatnonzero(space.bins < 1.0)
        self.matings = 0

    def _do(self, problem: Any, parents: Any, random_state: Any = None, **kwargs: Any) -> Any:
        genomes = np.array(parents, dtype=np.float64)
        genes = min(1 + self.matings // MATINGS_PER_GENE, len(self._movable))
        self.matings += 1
        for genome in genomes:
            if random_state.random() < self._probability:
                for i in random_state.choice(self._movable, genes, replace=False):
                    genome[i] = self._mutated(int(i), float(genome[i]), random_state)
        return genomes

    def _mutated(self, i: int, x: float, rng: np.random.Generator) -> float:
        """Return another value for gene i, which has the value x in [0, 1]."""
        values = len(self._space.genes[i].values)
        if values == 0:
            return float(np.clip(x + rng.normal() * self._step, 0.0, 1.0))
        own = max(int(np.ceil(x * values)), 1) - 1
        if not self._space.ordered[i]:
            return float((own + rng.integers(1, values)) % values + 0.5) / values
        size = max(round(abs(rng.normal()) * self._step * values), 1)
        size = min(size, max(own, values - 1 - own))
        to = own + size * int(rng.choice((-1, 1)))
        # a move out of the range goes in the other direction
        to = to if 0 <= to < values else 2 * own - to
        return (to + 0.5) / values


class UnknownOnly(DuplicateElimination):  # type: ignore[misc]
    """Keep the offspring whose architecture is feasible, unseen and not yet in this ask."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self._identify = optimizer.identify
        self._is_new = optimizer.is_new

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """Return the individuals of ``pop`` that are feasible and new (pymoo's interface)."""
        # pymoo passes the population and the offspring kept so far. For the first generation it
        # passes neither; genomes from add_observations are then allowed.
        kept_so_far = others[-1] if len(others) > 1 else Population.empty()
        known = {self._identify(individual.X)[0] for individual in kept_so_far}
        start = not others
        keep = []
        for i, individual in enumerate(pop):
            digest, violation = self._identify(individual.X)
            if violation == 0.0 and (start or self._is_new(digest)) and digest not in known:
                known.add(digest)
                keep.append(i)
        return pop[np.array(keep, dtype=int)]
