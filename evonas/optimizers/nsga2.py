"""NSGA-II: multi-objective genetic algorithm by non-dominated sorting and crowding distance.

Deb, Pratap, Agarwal and Meyarivan 2002, https://doi.org/10.1109/4235.996017.
Library: pymoo, https://pymoo.org/algorithms/moo/nsga2.html, with the mating of ``ga``.

Parents are selected from all evaluated architectures, not only from the last two generations:
an architecture that loses by crowding in one generation can become a parent later. Several
times as many children are generated as are asked, and one model per axis predicts their ranks,
by which non-dominated sorting and crowding choose (``common.preselection``). A failed evaluation
ranks last in these models and never becomes a parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo import nsga2
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from evonas.optimizers.common.preselection import Preselection
from evonas.optimizers.pymoo_support.genetic_optimizer import GeneticOptimizer, GeneticOptions
from evonas.space import SearchSpace

CROWDING = get_crowding_function("cd")


class NSGA2(GeneticOptimizer):
    """NSGA-II on the axes given to ``tell``, or on the fitness if there are none.

    Parents and generations are small because trainings are few. Eight parents can hold both
    ends of each of three axes.

    An ask may have fewer genomes than ``population_size``: children that are infeasible or
    repeat a seen architecture are generated again, up to a hundred times and with more and more
    genes mutated, and then left out.

    Args:
        mutation: probability that a child is mutated, in (0, 1]; the others only combine
            their parents.
        step: standard deviation of a mutation of ordered values, in (0, 1] of the range and
            at least one value; unordered genes take any other value. Default: 0.2.
        crossover: probability that two parents exchange genes, in [0, 1].
        parents: number of evaluated architectures that may mate, selected by rank and
            crowding, at least 2.
        preselection: children generated for each asked one, from which the models choose, at
            least 1; 1: no preselection. Default: 6.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float = 1.0,
        crossover: float = 0.25,
        parents: int = 8,
        **options: Unpack[GeneticOptions],
    ) -> None:
        super().__init__(space, mutation=mutation, crossover=crossover, parents=parents, **options)
        self._elite: list[str] = []  # digests, in order of evaluation

    def _preferred(
        self, fitness: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        return _order(*_rank_and_crowding(axes))

    def _create(self, **settings: Any) -> Any:
        survival = _ArchiveSurvival(self._successes, self._parents, self._set_elite)
        return nsga2.NSGA2(survival=survival, **settings)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        # the survival reads the axes from the archive, together with all earlier ones
        self._algorithm.tell(infills=self._offspring)
        if not self._elite:  # every evaluation failed
            self.restarts += 1
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of the architectures that may mate, by rank and crowding."""
        if self._algorithm is None or not self._algorithm.is_initialized:
            return []
        return list(self._algorithm.pop.get("digest").tolist())

    def _promising(self, children: NDArray[np.float64]) -> NDArray[np.intp]:
        # A model predicts only an order along its axis: sort by the positions in these orders.
        population = self._population()
        genomes, axes = list(population.get("X")), population.get("F")
        positions = np.empty((len(children), axes.shape[1]))
        for axis in range(axes.shape[1]):
            model = Preselection(self.space)
            model.fit(genomes, axes[:, axis])
            positions[model.order(list(children)), axis] = np.arange(len(children))
        return _order(*_rank_and_crowding(positions))

    def _population(self) -> Any:
        """Return the elite and the latest evaluations as a population, failures penalised."""
        latest = self.archive.latest()
        recent = set(latest)
        digests = [*(digest for digest in self._elite if digest not in recent), *latest]
        rows = [self.archive.axes_of(digest) for digest in digests]
        if any(row is None for row in rows):  # no success with finite axes
            rows = [np.array([self.fitness_of(digest)], dtype=np.float64) for digest in digests]
        genomes = np.array([self.archive.genomes[digest] for digest in digests])
        return Population.new("X", genomes, "F", np.array(rows), "digest", np.array(digests))

    def _successes(self) -> Any:
        """Return the population without failed evaluations."""
        population = self._population()
        good = [self.success(digest) is not None for digest in population.get("digest")]
        return population[np.flatnonzero(good)]

    def _set_elite(self, digests: list[str]) -> None:
        self._elite = digests


class _ArchiveSurvival(Survival):  # type: ignore[misc]
    """Select the survivors by rank and crowding from all evaluations, not two generations.

    Ties go to the architecture evaluated first. pymoo's own sorting breaks ties depending on
    the processor, and a search must be the same on every machine.

    Args:
        successes: returns the population of successful evaluations.
        parents: number of survivors.
        survived: called with the digests of the survivors, in order of evaluation.
    """

    def __init__(
        self, successes: Callable[[], Any], parents: int, survived: Callable[[list[str]], None]
    ) -> None:
        super().__init__(filter_infeasible=False)
        self._successes, self._survived = successes, survived
        self._parents = parents

    def _do(self, problem: Any, pop: Any, *args: Any, **kwargs: Any) -> Any:
        population = self._successes()
        rank, crowding = _rank_and_crowding(population.get("F"))
        population.set("rank", rank)
        population.set("crowding", crowding)
        chosen = _order(rank, crowding)[: self._parents]
        self._survived(population[np.sort(chosen)].get("digest").tolist())
        return population[chosen]


def _rank_and_crowding(
    axes: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the (n,) non-domination ranks of (n, m) axes, 0 the best, and crowding distances."""
    rank = np.zeros(len(axes), dtype=np.intp)
    crowding = np.zeros(len(axes))
    for number, front in enumerate(NonDominatedSorting().do(axes)):
        rank[front] = number
        crowding[front] = CROWDING.do(axes[front])
    return rank, crowding


def _order(rank: NDArray[np.intp], crowding: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return (n,) indices by rank, within a rank by decreasing crowding distance."""
    return np.lexsort((-crowding, rank))
