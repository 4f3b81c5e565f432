"""Genetic algorithm: tournaments, uniform crossover, Gaussian mutation, the best survive.

Holland 1975; in architecture search Real et al. 2017, https://arxiv.org/abs/1703.01041.
Gaussian mutation and tournaments of three follow Matak 2020,
https://github.com/jmatak/HeadPoseNAS, which has mutation=0.3 step=0.3 crossover=0.
Library: pymoo, https://pymoo.org/algorithms/soo/ga.html.

pymoo compares floats to eliminate duplicates, and so lets through genomes that
decode to a known architecture. Here digests are compared, against everything that
was ever asked, before anything is asked.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.config import Config
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.selection.tournament import TournamentSelection

from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.space import SearchSpace

#: Parents compared in one tournament.
TOURNAMENT = 3


class Genetic(Optimizer):
    """A (mu + lambda) genetic algorithm; population_size is both mu and lambda.

    An ask may be shorter than population_size: offspring that repeat a known
    architecture, or are infeasible, are drawn again a hundred times and then left out.

    Args:
        mutation: probability that a gene is mutated, in (0, 1].
        step: standard deviation of a mutation, in (0, 1]; never below half a bin.
        crossover: probability that two parents exchange genes, in [0, 1].
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 10.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float = 0.15,
        step: float = 0.2,
        crossover: float = 0.5,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._mutation = number_in("mutation", mutation, 1e-3, 1.0)
        self._step = number_in("step", step, 1e-3, 1.0)
        self._crossover = number_in("crossover", crossover, 0.0, 1.0)
        self._ga: Any = None

    def _restart(self) -> None:
        self._ga = None

    def _begin(self) -> None:
        # a hint about compiled modules, which a genetic algorithm does not use
        Config.warnings["not_compiled"] = False
        self._ga = GA(
            pop_size=self.population_size,
            n_offsprings=self.population_size,
            sampling=self.sample(self.population_size),
            selection=TournamentSelection(func_comp=_fittest, pressure=TOURNAMENT),
            crossover=UniformCrossover(prob=self._crossover),
            mutation=_Gaussian(self._mutation, np.maximum(self._step, self.space.bins / 2.0)),
            eliminate_duplicates=_UnknownOnly(self),
            output=None,
        )
        problem = Problem(n_var=self.space.dim, n_obj=1, xl=0.0, xu=1.0)
        self._ga.setup(problem, termination=NoTermination(), verbose=False)
        self._ga.random_state = self.rng

    def _ask(self) -> NDArray[np.float64]:
        if self._ga is None:
            self._begin()
        self._offspring = self._ga.ask()
        if self._offspring is None:
            return np.empty((0, self.space.dim))
        return np.array(self._offspring.get("X"), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._offspring.set("X", genomes)
        self._offspring.set("F", fitness[:, None])
        self._ga.tell(infills=self._offspring)


class _Gaussian(Mutation):  # type: ignore[misc]
    """Add N(0, step) to some genes, at least one; clip to [0, 1]."""

    def __init__(self, probability: float, step: NDArray[np.float64]) -> None:
        super().__init__()
        self._probability = probability
        self._step = step

    def _do(self, problem: Any, parents: Any, random_state: Any = None, **kwargs: Any) -> Any:
        genomes = np.asarray(parents, dtype=np.float64)
        chosen = random_state.random(genomes.shape) < self._probability
        chosen[
            np.arange(len(genomes)), random_state.integers(genomes.shape[1], size=len(genomes))
        ] = True
        steps = random_state.normal(size=genomes.shape) * self._step
        return np.clip(genomes + np.where(chosen, steps, 0.0), 0.0, 1.0)


class _UnknownOnly(DuplicateElimination):  # type: ignore[misc]
    """Keep offspring whose architecture is feasible, was never asked, and is not in this ask."""

    def __init__(self, optimizer: Genetic) -> None:
        super().__init__()
        self._identify = optimizer.identify
        self._is_new = optimizer.is_new

    def do(self, pop: Any, *others: Any, **kwargs: Any) -> Any:
        # The last of the others is the offspring kept so far; the population has been
        # asked, and at the start there is none.
        kept_so_far = others[-1] if len(others) > 1 else Population.empty()
        known = {self._identify(individual.X)[0] for individual in kept_so_far}
        keep = []
        for i, individual in enumerate(pop):
            digest, violation = self._identify(individual.X)
            if violation == 0.0 and self._is_new(digest) and digest not in known:
                known.add(digest)
                keep.append(i)
        return pop[np.array(keep, dtype=int)]


def _fittest(pop: Any, rounds: NDArray[np.int64], **kwargs: Any) -> NDArray[np.int64]:
    """Return the winner of each tournament, (n, 1) indices from (n, k)."""
    fitness = np.asarray(pop.get("F"))[:, 0]
    winners: NDArray[np.int64] = rounds[np.arange(len(rounds)), fitness[rounds].argmin(axis=1)]
    return winners[:, None]
