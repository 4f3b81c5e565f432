"""Evolution by mutation: (mu + lambda) selection, or regularized evolution with ``ageing``.

The (mu + lambda) strategy of EvoPose2D, McNally et al. 2021, https://arxiv.org/abs/2011.08446;
regularized evolution: Real et al. 2019, https://arxiv.org/abs/1802.01548.

Mutation follows the rules, limits and ancestors of the space file, see ``evonas.space.mutation``.
A mutation changes one gene and every child has a known parent, so that a child can start its
training with its parent's weights.
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
from evonas.space import Genome, Mutation, SearchSpace

#: Draws of a child without a new architecture after which one more gene is mutated.
DRAWS = 200
#: Default of ``parents`` without ageing (the fittest) and with ageing (the most recent).
FITTEST, YOUNGEST = 4, 32


@dataclass(frozen=True, eq=False)
class _Individual:
    """A successfully evaluated architecture that may become a parent; ``genome`` is (dim,)."""

    digest: str
    genome: Genome
    fitness: float


class Evolution(Optimizer):
    """(mu + lambda) evolution: mu is ``parents``, lambda is ``population_size``.

    The first generation consists of the best architectures of an earlier search if there are
    any, else of the space's ancestors, else of random ones. Each later generation has
    ``population_size`` children, spread evenly over the parents, the fitter first. A failed
    evaluation never becomes a parent.

    An ask may have fewer genomes than ``population_size``: a child that repeats a seen
    architecture, is infeasible or violates a limit of the space is drawn again, after 200 draws
    with one more gene mutated, up to all mutable genes, and then left out.

    Args:
        parents: number of parents, at least 1: the fittest of children and parents, with
            ``ageing`` the most recent; default: 4, with ``ageing`` 32.
        ageing: select each parent as the fittest of ``sample`` draws, with replacement, from
            the most recent architectures, and discard the oldest whatever their fitness.
        sample: draws for one parent, at least 1; used with ``ageing`` only.
        crossover: probability of uniform crossover with a second parent before the mutation,
            in [0, 1].
        generation0: size of the first generation, at least 1, if no ancestor is asked; default:
            ``population_size``.
        population_size: genomes per ask, other arguments as in ``Optimizer``, but at least 1;
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
        """Return the digest of a child's parent; "" if it has none.

        The parent is known as soon as the child is asked. Of two parents it is the one that
        shares more settings with the child, and with equally many the fitter one.
        """
        return self._parent_of.get(digest, "")

    def parents(self) -> list[str]:
        """Return the digests of the parents of the next generation, the fittest first."""
        return [member.digest for member in sorted(self._alive, key=lambda member: member.fitness)]

    def living(self) -> frozenset[str]:
        """Return the digests of the architectures that may still become parents.

        They are the current parents and the genomes of the last ask that have not failed, also
        if the budget cut that generation short, since a larger budget would continue from it.
        Before the first generation they are all known successes.
        """
        known = self.archive.genomes
        candidates = self._waiting if self._started else known
        waiting = {
            d
            for d in candidates
            if not self.is_new(d) and (d not in known or self.success(d) is not None)
        }
        return frozenset(waiting.union(member.digest for member in self._alive))

    def sample_new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) random feasible genomes of m <= n distinct unseen architectures.

        They satisfy the limits of the space.
        """
        if not self.space.limits:
            return super().sample_new(n)
        drawn = super().sample_new(max(n, LISTABLE))
        within = np.array([self._mutation.fits(genome) for genome in drawn], dtype=bool)
        selected: NDArray[np.float64] = drawn[within][:n]
        return selected

    # ---------------------------------------------------------------- strategy

    def _default_population_size(self) -> int:
        return 16

    def _restart(self) -> None:
        # in order of evaluation with ageing, else the fittest first
        self._alive: list[_Individual] = []
        self._waiting: tuple[str, ...] = ()

    def _ask(self) -> NDArray[np.float64]:
        generation = self._children() if self._alive else self._start()
        self._started = True
        self._waiting = tuple(generation)
        return np.array(list(generation.values()), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        alive = {member.digest: member for member in self._alive}
        for digest, genome in zip(self._waiting, genomes, strict=True):
            value = self.success(digest)
            if value is not None:
                alive[digest] = _Individual(digest, genome, value)
        members = list(alive.values())
        if self._ageing:
            self._alive = members[-self._parents :]
        else:
            self._alive = sorted(members, key=lambda member: member.fitness)[: self._parents]
        self._waiting = ()

    def _start(self) -> dict[str, Genome]:
        """Return the first generation by digest: initial_genomes, else ancestors, else random.

        After a restart it is random, since initial_genomes and ancestors are used up.
        """
        known = filter(self._mutation.fits, self.initial_genomes(self.population_size))
        generation = {self.identify(genome)[0]: genome for genome in known}
        ancestors = self.space.ancestors
        if not generation:
            generation = self._new(map(self.space.encode, ancestors))
        missing = self._generation0 - len(generation)
        if missing > 0 and not (generation and ancestors):
            # ``sample`` finds rare feasible regions better, but ignores the limits of the space
            draw = self.sample_new if self.space.limits else self.sample
            generation |= self._new(draw(missing))
        return generation

    def _new(self, genomes: Iterable[Genome]) -> dict[str, Genome]:
        """Return the feasible unseen genomes by digest."""
        new: dict[str, Genome] = {}
        for genome in genomes:
            digest, violation = self.identify(genome)
            if violation == 0.0 and self.is_new(digest):
                new.setdefault(digest, genome)
        return new

    def _children(self) -> dict[str, Genome]:
        """Return the children of the next generation by digest, and record their parents."""
        children: dict[str, Genome] = {}
        mutations: dict[str, int] = {}  # parent -> genes to mutate, since fewer gave nothing new
        for turn in range(self.population_size):
            # parents take turns, so that a generation cut short by the budget is spread evenly
            alive = self._alive
            parent = self._winner(alive) if self._ageing else alive[turn % len(alive)]
            self._add_child(parent, children, mutations)
        return children

    def _add_child(
        self, parent: _Individual, children: dict[str, Genome], mutations: dict[str, int]
    ) -> None:
        """Add a new child of a parent to ``children``, if the draws give one."""
        mate = self._mate(parent)
        for count in range(mutations.get(parent.digest, 1), len(self._mutation.movable) + 1):
            for _ in range(DRAWS):
                child = self._crossed(parent, mate)
                for _ in range(count):
                    child = self._mutation.child(child, self.rng)
                digest, violation = self.identify(child)
                new = self.is_new(digest) and digest not in children
                if new and violation == 0.0 and self._mutation.fits(child):
                    children[digest] = child
                    self._parent_of[digest] = self._nearer(child, parent, mate).digest
                    return
            mutations[parent.digest] = count + 1

    def _winner(self, members: list[_Individual]) -> _Individual:
        """Return the fittest of ``sample`` draws with replacement."""
        draws: list[int] = self.rng.integers(len(members), size=self._draws).tolist()
        return min((members[i] for i in draws), key=lambda member: member.fitness)

    def _mate(self, parent: _Individual) -> _Individual:
        """Return the second parent of a child; the first one if there is no crossover."""
        if self.rng.random() >= self._crossover:
            return parent
        others = [member for member in self._alive if member.digest != parent.digest]
        if not others:
            return parent
        return self._winner(others) if self._ageing else others[int(self.rng.integers(len(others)))]

    def _crossed(self, parent: _Individual, mate: _Individual) -> Genome:
        if mate is parent:
            return parent.genome
        return np.where(self.rng.random(self.space.dim) < 0.5, parent.genome, mate.genome)

    def _nearer(self, child: Genome, parent: _Individual, mate: _Individual) -> _Individual:
        """Return the parent that shares more settings with a child; on a tie the fitter one."""
        if mate is parent:
            return parent
        settings = self.space.decode(child).settings.items()

        def similarity(member: _Individual) -> tuple[int, float]:
            shared = settings & self.space.decode(member.genome).settings.items()
            return len(shared), -member.fitness

        return max(parent, mate, key=similarity)
