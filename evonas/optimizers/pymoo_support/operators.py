"""How architectures mate, whatever selects them: by whole values, and never known ones.

pymoo's own operators are for floats: on genes with a few values most of what they change
decodes to the same architecture, and equal architectures with unequal floats pass its
elimination of duplicates. So mutation here moves from value to value, and digests are
compared, against everything that was ever asked, before anything is asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population

from evonas.optimizers.base import Optimizer
from evonas.space import SearchSpace

#: Matings without enough new children after which one gene more is mutated.
MATINGS_PER_GENE = 25


class OneGene(Mutation):  # type: ignore[misc]
    """Give one gene of some children another value.

    A gene is moved by N(0, step) rounded to whole values, at least one, where values are
    ordered; to any other value where they are not. So neighbours are met more often than
    what is far, as far as there are neighbours, and no mutation is void.

    Attributes:
        matings: in this ask so far; where they bring too little, more genes are mutated.
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
                    genome[i] = self._moved(int(i), float(genome[i]), random_state)
        return genomes

    def _moved(self, i: int, x: float, rng: np.random.Generator) -> float:
        values = len(self._space.genes[i].values)
        if values == 0:
            return float(np.clip(x + rng.normal() * self._step, 0.0, 1.0))
        own = max(int(np.ceil(x * values)), 1) - 1
        if not self._space.ordered[i]:
            return float((own + rng.integers(1, values)) % values + 0.5) / values
        size = max(round(abs(rng.normal()) * self._step * values), 1)
        size = min(size, max(own, values - 1 - own))
        to = own + size * int(rng.choice((-1, 1)))
        # a wall reflects: what would leave on one side goes to the other
        to = to if 0 <= to < values else 2 * own - to
        return (to + 0.5) / values


class UnknownOnly(DuplicateElimination):  # type: ignore[misc]
    """Keep offspring whose architecture is feasible, was never asked, and is not in this ask."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self._identify = optimizer.identify
        self._is_new = optimizer.is_new

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        """Return the individuals of ``pop`` that are feasible and new (pymoo's interface)."""
        # The last of the others is the offspring kept so far; the population has been
        # asked. At the start there is none, and what was learned before may come again.
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
