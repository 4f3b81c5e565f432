"""Genetic algorithm: tournament selection, uniform crossover, mutation of one gene.

Holland 1975; in architecture search Real et al. 2017, https://arxiv.org/abs/1703.01041.
Tournaments of three follow Matak 2020, https://github.com/jmatak/HeadPoseNAS.
Library: pymoo, https://pymoo.org/algorithms/soo/ga.html.

pymoo's tournaments use permutations, so a tournament as large as the population has the same
winner each time; the tournaments here draw with replacement. Mutation and duplicate elimination
are in ``pymoo_support.operators``. Several times as many children are generated as are asked,
and a model of the fitness chooses among them (``common.preselection``).
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.selection import Selection

from evonas.optimizers.common.preselection import Preselection
from evonas.optimizers.common.stagnation import Stagnation
from evonas.optimizers.pymoo_support.genetic_optimizer import GeneticOptimizer, GeneticOptions
from evonas.space import SearchSpace

#: Parents compared in one tournament.
TOURNAMENT = 3
#: Generations without a better architecture after which the population is drawn anew: its parents
#: differ by then in a gene or two, and no child of one mutation is better.
STALE = 10


class Genetic(GeneticOptimizer):
    """A (mu + lambda) genetic algorithm: mu is ``parents``, lambda is ``population_size``.

    Parents are few because trainings are few: the search exploits the best architectures at
    once, and duplicate elimination preserves diversity. A failed evaluation never becomes a
    parent; the preselection model ranks it last.

    An ask may have fewer genomes than ``population_size``: children that are infeasible or
    repeat a seen architecture are generated again, up to a hundred times and with more and more
    genes mutated, and then left out.

    Args:
        mutation: probability that a child is mutated, in (0, 1]; the others only combine
            their parents.
        step: standard deviation of a mutation of ordered values, in (0, 1] of the range and
            at least one value; unordered genes take any other value. Default: 0.2.
        crossover: probability that two parents exchange genes, in [0, 1].
        parents: number of best architectures that may mate, at least 2.
        preselection: children generated for each asked one, from which the model chooses, at
            least 1; 1: no preselection. Default: 6.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float = 0.5,
        crossover: float = 1.0,
        parents: int = 3,
        **options: Unpack[GeneticOptions],
    ) -> None:
        super().__init__(space, mutation=mutation, crossover=crossover, parents=parents, **options)
        self._preselection = Preselection(space)
        self._stagnation = Stagnation(STALE)

    def _create(self, **settings: Any) -> Any:
        return GA(selection=_Tournaments(self._parents), **settings)

    def _promising(self, children: NDArray[np.float64]) -> NDArray[np.intp]:
        genomes, fitness = zip(*self.archive.history(), strict=True)
        self._preselection.fit(list(genomes), fitness)
        return self._preselection.order(list(children))

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._offspring.set("X", genomes)
        self._offspring.set("F", fitness[:, None])
        good = [self.success(self.identify(genome)[0]) is not None for genome in genomes]
        if self._stagnation.after(float(np.min(fitness[good], initial=np.inf))):
            self.restarts += 1
            self._restart()
        elif any(good):
            self._algorithm.tell(infills=self._offspring[np.flatnonzero(good)])
        elif not self._algorithm.is_initialized:
            self.restarts += 1  # no success in the first generation, hence no parent
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of the architectures that may mate, the fittest first."""
        if self._algorithm is None or not self._algorithm.is_initialized:
            return []
        fittest = self._algorithm.pop[_fittest(self._algorithm.pop, self._parents)]
        return [self.identify(genome)[0] for genome in fittest.get("X")]


class _Tournaments(Selection):  # type: ignore[misc]
    """Select the fittest of TOURNAMENT draws, with replacement, from the fittest individuals."""

    def __init__(self, parents: int) -> None:
        super().__init__()
        self._parents = parents

    def _do(
        self,
        problem: Any,
        pop: Any,
        n_select: int,
        n_parents: int,
        random_state: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.int64]:
        ranked = _fittest(pop, self._parents)
        draws = random_state.integers(len(ranked), size=(n_select, n_parents, TOURNAMENT))
        winners: NDArray[np.int64] = ranked[draws.min(axis=2)]
        return winners


def _fittest(population: Any, n: int) -> NDArray[np.int64]:
    """Return the indices of the n fittest; before the first survival pymoo keeps all."""
    order: NDArray[np.int64] = np.argsort(population.get("F")[:, 0], kind="stable")
    return order[:n]
