"""Evolution by mutation: children of the fittest few, or of the winners among the youngest.

The (mu + lambda) strategy of EvoPose2D, McNally et al. 2021, https://arxiv.org/abs/2011.08446;
with ``ageing`` regularized evolution, Real et al. 2019, https://arxiv.org/abs/1802.01548.

The rules of mutation, limits and ancestors are those of the space file, see
``evonas.space.mutation``. One gene changes and every child has a known parent, so a child can
begin its training with its parent's weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.common.sampling import LISTABLE
from evonas.space import Architecture, Genome, Mutation, SearchSpace

#: Draws of a child that bring nothing new, after which one gene more is mutated.
DRAWS = 200
#: Default of ``parents``, without and with ageing: the fittest few, the most recent many.
FITTEST, YOUNGEST = 4, 32


@dataclass(frozen=True, eq=False)
class _Individual:
    """An architecture that succeeded and may have children; ``genome`` is (dim,)."""

    digest: str
    genome: Genome
    fitness: float


class Evolution(Optimizer):
    """(mu + lambda) evolution: mu is ``parents``, lambda population_size.

    The first generation is the space's ancestors, where it names any; what was known before
    the search comes in their place. Every later one is population_size children, spread
    evenly over the parents, the fitter first. What failed never becomes a parent.

    An ask may be shorter than population_size: a child that repeats a known architecture, is
    infeasible or breaks a limit of the space is drawn again, after 200 draws with one gene more
    mutated, in the end with as many as may move, and then left out.

    Args:
        parents: how many may have children, at least 1: the fittest of children and parents,
            with ``ageing`` the most recent; default: 4, with ``ageing`` 32.
        ageing: a child's parent is the fittest of ``sample`` draws, with replacement, from
            the most recent, and the oldest die, however fit.
        sample: draws for one parent, at least 1; only ``ageing`` draws.
        crossover: probability that a child takes each gene from either of two parents alike,
            before it mutates, in [0, 1].
        generation0: how many are in the first generation, at least 1, where no ancestor is
            asked; default: population_size.
        population_size: and the rest of ``common``: as in ``Optimizer``, but at least 1;
            default: 16.
    """

    least_population_size: ClassVar[int] = 1

    def __init__(
        self,
        space: SearchSpace,
        *,
        parents: int | None = None,
        ageing: bool = False,
        sample: int = 16,
        crossover: float = 0.0,
        generation0: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        if not isinstance(ageing, bool):
            raise InputError(f"ageing: expected true or false, got {ageing!r}")
        default = YOUNGEST if ageing else FITTEST
        self._parents = default if parents is None else whole_number("parents", parents, 1)
        self._ageing = ageing
        self._draws = whole_number("sample", sample, 1)
        self._crossover = number_in("crossover", crossover, 0.0, 1.0)
        self._generation0 = (
            self.population_size
            if generation0 is None
            else whole_number("generation0", generation0, 1)
        )
        self._mutation = Mutation(space)
        self._parent_of: dict[str, str] = {}
        self._started = False
        self._restart()

    # ------------------------------------------------------------------ public

    def parent_of(self, digest: str) -> str:
        """Return the digest of the parent that a child came from; "" if it came from none.

        It is known as soon as the child is asked. Of two parents it is the one with which the
        child shares more settings, the fitter if they share as many.
        """
        return self._parent_of.get(digest, "")

    def parents(self) -> list[str]:
        """Return the digests of those that have children in the next generation, fittest first."""
        return [one.digest for one in sorted(self._alive, key=lambda one: one.fitness)]

    def living(self) -> frozenset[str]:
        """Return the digests of those that may still become parents of later children.

        They are the parents, or the most recent ones; before the first generation all that
        is known; beside them what was asked and not yet judged: a last generation that the
        budget cut short as well, since a larger budget would go on from it.
        """
        known = self.archive.genomes
        waiting = self._waiting if self._started else known
        ahead = {
            d
            for d in waiting
            if not self.is_new(d) and (d not in known or self.success(d) is not None)
        }
        return frozenset(ahead.union(one.digest for one in self._alive))

    def sample_new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) random feasible genomes of m <= n architectures never asked.

        They keep the limits of the space.
        """
        if not self.space.limits:
            return super().sample_new(n)
        drawn = super().sample_new(max(n, LISTABLE))
        within = np.array([self._mutation.fits(genome) for genome in drawn], dtype=bool)
        kept: NDArray[np.float64] = drawn[within][:n]
        return kept

    # ---------------------------------------------------------------- strategy

    def _default_population_size(self) -> int:
        return 16

    def _restart(self) -> None:
        # in the order of birth with ageing, else the fittest first
        self._alive: list[_Individual] = []
        self._waiting: tuple[str, ...] = ()

    def _ask(self) -> NDArray[np.float64]:
        found = self._children() if self._alive else self._start()
        self._started = True
        self._waiting = tuple(found)
        return np.array(list(found.values()), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        alive = {one.digest: one for one in self._alive}
        for digest, genome in zip(self._waiting, genomes, strict=True):
            value = self.success(digest)
            if value is not None:
                alive[digest] = _Individual(digest, genome, value)
        members = list(alive.values())
        if self._ageing:
            self._alive = members[-self._parents :]
        else:
            self._alive = sorted(members, key=lambda one: one.fitness)[: self._parents]
        self._waiting = ()

    def _start(self) -> dict[str, Genome]:
        """Return the first generation, by digest: initial_genomes, or ancestors, or random ones.

        After a restart initial_genomes and ancestors are known, so it is random.
        """
        known = filter(self._mutation.fits, self.initial_genomes(self.population_size))
        found = {self.identify(genome)[0]: genome for genome in known}
        ancestors = self.space.ancestors
        if not found:
            found = self._new(map(self.space.encode, ancestors))
        missing = self._generation0 - len(found)
        if missing > 0 and not (found and ancestors):
            # ``sample`` finds what is feasible more surely, but knows no limits
            draw = self.sample_new if self.space.limits else self.sample
            found |= self._new(draw(missing))
        return found

    def _new(self, genomes: Iterable[Genome]) -> dict[str, Genome]:
        found: dict[str, Genome] = {}
        for genome in genomes:
            digest, violation = self.identify(genome)
            if violation == 0.0 and self.is_new(digest):
                found.setdefault(digest, genome)
        return found

    def _children(self) -> dict[str, Genome]:
        """Return children by digest, and write down their parents."""
        found: dict[str, Genome] = {}
        mutations: dict[str, int] = {}  # of each parent: fewer bring nothing any more
        for turn in range(self.population_size):
            # in turns, so that a generation cut short is spread evenly as well
            some = self._alive
            parent = self._winner(some) if self._ageing else some[turn % len(some)]
            self._bear(parent, found, mutations)
        return found

    def _bear(
        self, parent: _Individual, found: dict[str, Genome], mutations: dict[str, int]
    ) -> None:
        """Add a child of a parent to ``found``, unless nothing new is within reach."""
        mate = self._mate(parent)
        for count in range(mutations.get(parent.digest, 1), len(self._mutation.movable) + 1):
            for _ in range(DRAWS):
                child = self._crossed(parent, mate)
                for _ in range(count):
                    child = self._mutation.child(child, self.rng)
                digest, violation = self.identify(child)
                new = self.is_new(digest) and digest not in found
                if new and violation == 0.0 and self._mutation.fits(child):
                    found[digest] = child
                    self._parent_of[digest] = self._nearer(child, parent, mate).digest
                    return
            mutations[parent.digest] = count + 1

    def _winner(self, some: list[_Individual]) -> _Individual:
        """Return the fittest of ``sample`` draws with replacement."""
        draws: list[int] = self.rng.integers(len(some), size=self._draws).tolist()
        return min((some[i] for i in draws), key=lambda one: one.fitness)

    def _mate(self, parent: _Individual) -> _Individual:
        """Return the second parent; the first itself, where there is to be no other."""
        if self.rng.random() >= self._crossover:
            return parent
        others = [one for one in self._alive if one.digest != parent.digest]
        if not others:
            return parent
        return self._winner(others) if self._ageing else others[int(self.rng.integers(len(others)))]

    def _crossed(self, parent: _Individual, mate: _Individual) -> Genome:
        if mate is parent:
            return parent.genome
        return np.where(self.rng.random(self.space.dim) < 0.5, parent.genome, mate.genome)

    def _nearer(self, child: Genome, parent: _Individual, mate: _Individual) -> _Individual:
        """Return the parent with which a child shares more settings; the fitter of equals."""
        if mate is parent:
            return parent
        own = self.space.decode(child)

        def kinship(one: _Individual) -> tuple[int, float]:
            return _shared(own, self.space.decode(one.genome)), -one.fitness

        return max(parent, mate, key=kinship)


def _shared(one: Architecture, other: Architecture) -> int:
    """Return how many settings are the same in both."""
    return len(one.settings.items() & other.settings.items())
