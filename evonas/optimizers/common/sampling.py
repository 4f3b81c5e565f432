"""Random genomes that are worth asking: feasible, and new where that can be had.

The cost of an architecture is known without training it, so a strategy need not
spend generations on finding the feasible region: it starts inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.common.identity import Identity
from evonas.space import Genome

#: Draws for one genome of a start; a region rarer than this is walked to by cost.
DRAWS_PER_GENOME = 64
#: Draws without anything new after which a space counts as exhausted.
FRUITLESS_DRAWS = 4000
#: A space up to this size is listed in full, which settles exhaustion exactly.
LISTABLE = 4096
#: Places tried for a gene without bins when cost is lowered coordinate by coordinate.
PLACES = 9


class Sampler:
    """Draws genomes uniformly, resampled into the feasible region.

    Args:
        rng: the optimizer's own random state.
        identity: tells what is feasible and what was asked already. It knows nothing of its
            optimizer: held here, that would be a reference cycle, and a forgotten optimizer
            would hold its threads until the next full collection.
    """

    def __init__(self, rng: np.random.Generator, identity: Identity) -> None:
        self._space = identity.space
        self._rng = rng
        self._identify = identity
        self._seen = identity.met
        self._listing: list[tuple[str, Genome]] | None = None

    def start(self, n: int) -> NDArray[np.float64]:
        """Return (n, dim) genomes: feasible, distinct and new as far as draws can find.

        A row is infeasible only where neither draws nor a descent in cost found a
        feasible architecture.
        """
        taken: set[str] = set()
        rows = [self._one(taken) for _ in range(n)]
        return np.array(rows, dtype=np.float64).reshape(n, self._space.dim)

    def new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) feasible new distinct genomes, m <= n; m == 0: none is left."""
        found: dict[str, Genome] = {}
        misses = 0
        while len(found) < n and misses < FRUITLESS_DRAWS and self._listing is None:
            genome = self._rng.random(self._space.dim)
            digest, violation = self._identify(genome)
            if violation == 0.0 and digest not in found and digest not in self._seen:
                found[digest] = genome
                misses = 0
            else:
                misses += 1
        if len(found) < n:
            for digest, genome in self._rest():
                if len(found) == n:
                    break
                if digest not in found and digest not in self._seen:
                    found[digest] = genome
        return np.array(list(found.values()), dtype=np.float64).reshape(-1, self._space.dim)

    def _one(self, taken: set[str]) -> Genome:
        repeat: Genome | None = None
        cheapest, least = self._rng.random(self._space.dim), np.inf
        for _ in range(DRAWS_PER_GENOME):
            genome = self._rng.random(self._space.dim)
            digest, violation = self._identify(genome)
            if violation > 0.0:
                if violation < least:
                    cheapest, least = genome, violation
            elif digest in taken or digest in self._seen:
                repeat = genome
            else:
                taken.add(digest)
                return genome
        return repeat if repeat is not None else self._descend(cheapest)

    def _rest(self) -> Iterator[tuple[str, Genome]]:
        """Feasible architectures that mere draws miss: all of a small space, else cheap ones."""
        if self._space.size <= LISTABLE:
            if self._listing is None:
                self._listing = self._list()
            for index in self._rng.permutation(len(self._listing)):
                yield self._listing[index]
            return
        for _ in range(DRAWS_PER_GENOME):
            genome = self._descend(self._rng.random(self._space.dim))
            digest, violation = self._identify(genome)
            if violation == 0.0:
                yield digest, genome

    def _list(self) -> list[tuple[str, Genome]]:
        listing: dict[str, Genome] = {}
        centres = [(np.arange(len(g.values)) + 0.5) / len(g.values) for g in self._space.genes]
        for point in itertools.product(*centres):
            genome = np.array(point, dtype=np.float64)
            digest, violation = self._identify(genome)
            if violation == 0.0:
                listing.setdefault(digest, genome)
        return list(listing.items())

    def _descend(self, genome: Genome) -> Genome:
        """Lower the cost one gene at a time until feasible or until no gene lowers it."""
        genome = genome.copy()
        violation = self._identify(genome)[1]
        moved = True
        while violation > 0.0 and moved:
            moved = False
            for i in self._rng.permutation(self._space.dim):
                places = len(self._space.genes[i].values) or PLACES
                for place in self._rng.permutation(places):
                    trial = genome.copy()
                    trial[i] = (place + 0.5) / places
                    cost = self._identify(trial)[1]
                    if cost < violation:
                        genome, violation, moved = trial, cost, True
                    if violation == 0.0:
                        return genome
        return genome
