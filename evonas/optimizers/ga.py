"""Genetic algorithm: the fittest few mate, genes cross uniformly, one gene mutates.

Holland 1975; in architecture search Real et al. 2017, https://arxiv.org/abs/1703.01041.
Tournaments of three follow Matak 2020, https://github.com/jmatak/HeadPoseNAS.
Library: pymoo, https://pymoo.org/algorithms/soo/ga.html.

Its tournaments deal out permutations, by which a tournament as large as the population
has one winner only; these draw with replacement. What mutates, and which children are
kept, is in ``_mating``. Children are free and trainings are not: several times as many are
made as are asked, and a small model of what is known chooses (pre-selection, see
``_screen``).
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.config import Config
from pymoo.core.problem import Problem
from pymoo.core.selection import Selection
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover

from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.common.preselection import Preselection
from evonas.optimizers.pymoo_support.operators import OneGene, UnknownOnly
from evonas.space import SearchSpace

#: Parents compared in one tournament.
TOURNAMENT = 3


class Genetic(Optimizer):
    """A (mu + lambda) genetic algorithm: mu is ``parents``, lambda population_size.

    Few parents, since trainings are few: what is known best is built upon at once, and
    diversity is left to mating, which makes nothing twice. What failed never becomes a
    parent; the model of the pre-selection ranks it last.

    An ask may be shorter than population_size: children that repeat a known
    architecture, or are infeasible, are drawn again a hundred times, in the end with
    more genes mutated, and then left out.

    Args:
        mutation: probability that a child is mutated, in (0, 1]; the others only mix
            their parents.
        step: standard deviation of a mutation where values are ordered, in (0, 1] of the
            range; never below one value. Where they are not, any other value is drawn.
        crossover: probability that two parents exchange genes, in [0, 1].
        parents: how many of the best ever asked may mate, at least 2.
        screen: children made for one that is asked, among which the model chooses, at least
            1; 1: no choice.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float = 0.5,
        step: float = 0.2,
        crossover: float = 1.0,
        parents: int = 3,
        screen: int = 6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._mutation = number_in("mutation", mutation, 1e-3, 1.0)
        self._step = number_in("step", step, 1e-3, 1.0)
        self._crossover = number_in("crossover", crossover, 0.0, 1.0)
        self._parents = whole_number("parents", parents, 2)
        self._draws_each = whole_number("screen", screen, 1)
        self._screen = Preselection(space)
        self._ga: Any = None

    def _default_population_size(self) -> int:
        return 5

    def _restart(self) -> None:
        self._ga = None

    def _begin(self) -> None:
        # a hint about compiled modules, which a genetic algorithm does not use
        Config.warnings["not_compiled"] = False
        self._mutate = OneGene(self.space, self._mutation, self._step)
        self._ga = GA(
            pop_size=self._parents,
            n_offsprings=self._draws_each * self.population_size,
            sampling=self.sample(self.population_size),
            selection=_Tournaments(self._parents),
            crossover=UniformCrossover(prob=self._crossover),
            mutation=self._mutate,
            eliminate_duplicates=UnknownOnly(self),
            output=None,
        )
        problem = Problem(n_var=self.space.dim, n_obj=1, xl=0.0, xu=1.0)
        self._ga.setup(problem, termination=NoTermination(), verbose=False)
        self._ga.random_state = self.rng

    def _ask(self) -> NDArray[np.float64]:
        if self._ga is None:
            self._begin()
        self._mutate.matings = 0
        self._offspring = self._ga.ask()
        if self._offspring is None:
            return np.empty((0, self.space.dim))
        if len(self._offspring) > self.population_size:
            genomes, fitness = zip(*self.archive.history(), strict=True)
            self._screen.learn(list(genomes), fitness)
            order = self._screen.order(list(self._offspring.get("X")))
            self._offspring = self._offspring[order[: self.population_size]]
        return np.array(self._offspring.get("X"), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._offspring.set("X", genomes)
        self._offspring.set("F", fitness[:, None])
        good = [self.success(self.identify(genome)[0]) is not None for genome in genomes]
        if any(good):
            self._ga.tell(infills=self._offspring[np.flatnonzero(good)])
        elif not self._ga.is_initialized:
            self.restarts += 1  # a first generation without a parent
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of those that may mate, the fittest first."""
        if self._ga is None or not self._ga.is_initialized:
            return []
        fittest = self._ga.pop[_fittest(self._ga.pop, self._parents)]
        return [self.identify(genome)[0] for genome in fittest.get("X")]


class _Tournaments(Selection):  # type: ignore[misc]
    """The fittest of TOURNAMENT draws, with replacement, from the fittest few."""

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
    """Return the indices of the fittest n: a first generation is whole, before any survival."""
    order: NDArray[np.int64] = np.argsort(population.get("F")[:, 0], kind="stable")
    return order[:n]
