"""NSGA-II: a front of trade-offs, by non-dominated sorting and crowding distance.

Deb, Pratap, Agarwal and Meyarivan 2002, https://doi.org/10.1109/4235.996017.
Library: pymoo, https://pymoo.org/algorithms/moo/nsga2.html, with the mating of ``ga``.

Trainings are dear and memory is free, so parents are not chosen from the last two
generations but from everything ever told: crowding may pass over an architecture in one
generation and take it up again later, and nothing good is forgotten. Children are free as
well, so several times as many are made as are asked, and small models of what is known,
one an axis, choose among them, by rank and crowding again (pre-selection, see
``_screen``). What failed is data of these models, where it ranks last, and never a parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo import nsga2
from pymoo.config import Config
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.common.preselection import Preselection
from evonas.optimizers.pymoo_support.operators import OneGene, UnknownOnly
from evonas.space import SearchSpace

CROWDING = get_crowding_function("cd")


class NSGA2(Optimizer):
    """NSGA-II on the axes that are told; on the fitness, where there are none.

    Few parents and small generations, since trainings are few. Eight parents hold both
    ends of each of three axes.

    An ask may be shorter than population_size: children that repeat a known
    architecture, or are infeasible, are drawn again a hundred times, in the end with
    more genes mutated, and then left out.

    Args:
        mutation: probability that a child is mutated, in (0, 1]; the others only mix
            their parents.
        step: standard deviation of a mutation where values are ordered, in (0, 1] of the
            range; never below one value. Where they are not, any other value is drawn.
        crossover: probability that two parents exchange genes, in [0, 1].
        parents: how many of all ever told may mate, by rank and crowding, at least 2.
        screen: children made for one that is asked, among which the models choose, at
            least 1; 1: no choice.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        mutation: float = 1.0,
        step: float = 0.2,
        crossover: float = 0.25,
        parents: int = 8,
        screen: int = 6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._mutation = number_in("mutation", mutation, 1e-3, 1.0)
        self._step = number_in("step", step, 1e-3, 1.0)
        self._crossover = number_in("crossover", crossover, 0.0, 1.0)
        self._parents = whole_number("parents", parents, 2)
        self._draws_each = whole_number("screen", screen, 1)
        self._nsga2: Any = None
        self._elite: list[str] = []  # digests, in the order in which they were told

    def _default_population_size(self) -> int:
        return 5

    def _preferred(
        self, fitness: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        return _order(*_rank_and_crowding(axes))

    def _restart(self) -> None:
        self._nsga2 = None

    def _begin(self) -> None:
        # a hint about compiled modules; sorting a few hundred rows needs none
        Config.warnings["not_compiled"] = False
        self._mutate = OneGene(self.space, self._mutation, self._step)
        self._nsga2 = nsga2.NSGA2(
            pop_size=self._parents,
            n_offsprings=self._draws_each * self.population_size,
            sampling=self.sample(self.population_size),
            crossover=UniformCrossover(prob=self._crossover),
            mutation=self._mutate,
            survival=_ArchiveSurvival(self._successes, self._parents, self._survived),
            eliminate_duplicates=UnknownOnly(self),
            output=None,
        )
        # pymoo never looks at n_obj here: how many axes there are, the first tell shows
        problem = Problem(n_var=self.space.dim, n_obj=1, xl=0.0, xu=1.0)
        self._nsga2.setup(problem, termination=NoTermination(), verbose=False)
        self._nsga2.random_state = self.rng

    def _ask(self) -> NDArray[np.float64]:
        if self._nsga2 is None:
            self._begin()
        self._mutate.matings = 0
        self._offspring = self._nsga2.ask()
        if self._offspring is None:
            return np.empty((0, self.space.dim))
        if len(self._offspring) > self.population_size:
            self._offspring = self._offspring[self._promising(self._offspring.get("X"))]
        return np.array(self._offspring.get("X"), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        # what it is worth, the survival looks up, with everything told before
        self._nsga2.tell(infills=self._offspring)
        if not self._elite:  # only failures are remembered
            self.restarts += 1
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of those that may mate, by rank and crowding."""
        if self._nsga2 is None or not self._nsga2.is_initialized:
            return []
        return list(self._nsga2.pop.get("digest").tolist())

    def _promising(self, children: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return (population_size,) indices of (n, dim) children that models see in front.

        The models order children along an axis, and no more: so rank and crowding are
        those of places in these orders.
        """
        archive = self._archive()
        genomes, told = list(archive.get("X")), archive.get("F")
        places = np.empty((len(children), told.shape[1]))
        for axis in range(told.shape[1]):
            model = Preselection(self.space)
            model.learn(genomes, told[:, axis])
            places[model.order(list(children)), axis] = np.arange(len(children))
        return _order(*_rank_and_crowding(places))[: self.population_size]

    def _archive(self) -> Any:
        """Return what was told of late, and who survived before, with axes as known by now."""
        latest = self.archive.latest()
        recent = set(latest)
        told = [*(digest for digest in self._elite if digest not in recent), *latest]
        rows = [self.archive.axes_of(digest) for digest in told]
        if any(row is None for row in rows):  # nothing succeeded with axes that are numbers
            rows = [np.array([self.fitness_of(digest)], dtype=np.float64) for digest in told]
        genomes = np.array([self.archive.genomes[digest] for digest in told])
        return Population.new("X", genomes, "F", np.array(rows), "digest", np.array(told))

    def _successes(self) -> Any:
        """Return the archive without what failed."""
        archive = self._archive()
        good = [self.success(digest) is not None for digest in archive.get("digest")]
        return archive[np.flatnonzero(good)]

    def _survived(self, digests: list[str]) -> None:
        self._elite = digests


class _ArchiveSurvival(Survival):  # type: ignore[misc]
    """The best of all ever told survive, by rank and crowding, not those of two generations.

    Ties go to who was told first: pymoo's own sorting breaks them as the processor does,
    and a search must be the same on every machine.
    """

    def __init__(
        self, archive: Callable[[], Any], parents: int, survived: Callable[[list[str]], None]
    ) -> None:
        super().__init__(filter_infeasible=False)
        self._archive, self._survived = archive, survived
        self._parents = parents

    def _do(self, problem: Any, pop: Any, *args: Any, **kwargs: Any) -> Any:
        archive = self._archive()
        rank, crowding = _rank_and_crowding(archive.get("F"))
        archive.set("rank", rank)
        archive.set("crowding", crowding)
        chosen = _order(rank, crowding)[: self._parents]
        self._survived(archive[np.sort(chosen)].get("digest").tolist())
        return archive[chosen]


def _rank_and_crowding(
    axes: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the (n,) front of each of (n, m) rows, 0 the best, and crowding distance in it."""
    rank = np.zeros(len(axes), dtype=np.intp)
    crowding = np.zeros(len(axes))
    for number, front in enumerate(NonDominatedSorting().do(axes)):
        rank[front] = number
        crowding[front] = CROWDING.do(axes[front])
    return rank, crowding


def _order(rank: NDArray[np.intp], crowding: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return (n,) indices by front, in a front those with most room around them first."""
    return np.lexsort((-crowding, rank))
