"""Identification of genomes, and random sampling of feasible, unseen architectures.

The cost of an architecture is known without training it, so that a strategy can start in the
feasible region.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.common.arguments import Cost, Excess
from evonas.space import Genome, SearchSpace

#: Draws for one genome of a start; if all are infeasible, the cost of the cheapest is lowered.
DRAWS_PER_GENOME = 64
#: Draws without a new architecture after which a space counts as exhausted.
FRUITLESS_DRAWS = 4000
#: A space up to this size is listed in full, so that exhaustion is decided exactly.
LISTABLE = 4096
#: Values tried for a gene without bins when the cost is lowered gene by gene.
PLACES = 9


class GenomeIdentifier:
    """Map a genome to its digest and its cost violation: max(0, macs / max_macs - 1) + excess.

    Args:
        space: the search space.
        macs: cost of an architecture in multiply-adds; None: everything is feasible.
        max_macs: limit on the cost; None: everything is feasible.
        seen: digest -> violation of the architectures asked or observed; only read here.
        excess: violation of further limits by an architecture, 0 if all hold; None: there are
            none.

    Attributes:
        space, seen: as given.
        preloaded: bytes of a genome -> (digest, multiply-adds), which saves decoding it.
    """

    def __init__(
        self,
        space: SearchSpace,
        macs: Cost | None,
        max_macs: int | None,
        seen: Mapping[str, float],
        excess: Excess | None = None,
    ) -> None:
        self.space = space
        self.seen = seen
        self.preloaded: Mapping[bytes, tuple[str, int]] = {}
        self._macs = macs
        self._max_macs = max_macs
        self._excess = excess

    def __call__(self, genome: Genome) -> tuple[str, float]:
        """Return digest and violation of a (dim,) genome."""
        if (known := self.preloaded.get(genome.tobytes())) is not None:
            digest, macs = known
            if digest in self.seen:
                return digest, self.seen[digest]
            if self._excess is None:
                return digest, self._violation(macs)
        architecture = self.space.decode(genome)
        digest = architecture.digest
        if digest in self.seen:
            return digest, self.seen[digest]
        violation = self._violation(self._macs(architecture) if self._macs else 0)
        return digest, violation + (self._excess(architecture) if self._excess else 0.0)

    @property
    def limited(self) -> bool:
        """Whether there is a limit on the cost."""
        return self._max_macs is not None or self._excess is not None

    def shortfall(self, genome: Genome) -> str:
        """Return words on by how much a genome, the nearest to the limits, violates them."""
        if self._excess is None and self._macs is not None:
            cheapest = self._macs(self.space.decode(genome))
            return f"cheapest has {cheapest} macs, max_macs is {self._max_macs}"
        return f"nearest is {100 * self(genome)[1]:.3g} % over the limits"

    def _violation(self, macs: int) -> float:
        return 0.0 if self._max_macs is None else max(0.0, macs / self._max_macs - 1.0)


class Sampler:
    """Draw genomes uniformly from the feasible region by rejection.

    Args:
        rng: the optimizer's random generator.
        identify: gives digest and violation of a genome. It has no reference to the
            optimizer: a reference cycle would keep a discarded optimizer and its threads
            until the next full garbage collection.
    """

    def __init__(self, rng: np.random.Generator, identify: GenomeIdentifier) -> None:
        self._space = identify.space
        self._rng = rng
        self._identify = identify
        self._seen = identify.seen
        self._listing: list[tuple[str, Genome]] | None = None

    def start(self, n: int) -> NDArray[np.float64]:
        """Return (n, dim) genomes: feasible, distinct and unseen if draws find such.

        A genome is infeasible only if neither draws nor lowering its cost gene by gene gave a
        feasible architecture.
        """
        taken: set[str] = set()
        rows = [self._draw(taken) for _ in range(n)]
        return np.array(rows, dtype=np.float64).reshape(n, self._space.dim)

    def shortfall(self) -> str:
        """Return a sentence on a space without a feasible architecture; empty: there is one."""
        if not self._identify.limited:
            return ""
        genome = self.start(1)[0]
        if self._identify(genome)[1] == 0.0:
            return ""
        return f"No feasible architecture was found: the {self._identify.shortfall(genome)}."

    def new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) feasible, distinct, unseen genomes, m <= n; m == 0: none is left."""
        drawn: dict[str, Genome] = {}
        misses = 0
        while len(drawn) < n and misses < FRUITLESS_DRAWS and self._listing is None:
            genome = self._rng.random(self._space.dim)
            digest, violation = self._identify(genome)
            if violation == 0.0 and digest not in drawn and digest not in self._seen:
                drawn[digest] = genome
                misses = 0
            else:
                misses += 1
        if len(drawn) < n:
            for digest, genome in self._rest():
                if len(drawn) == n:
                    break
                if digest not in drawn and digest not in self._seen:
                    drawn[digest] = genome
        return np.array(list(drawn.values()), dtype=np.float64).reshape(-1, self._space.dim)

    def _draw(self, taken: set[str]) -> Genome:
        """Return one genome for a start and add its digest to ``taken``; at worst a repeat."""
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
        """Yield feasible architectures that draws miss: all of a small space, else cheap ones."""
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
        """Lower the cost gene by gene until the genome is feasible or no change lowers it."""
        genome = genome.copy()
        violation = self._identify(genome)[1]
        improved = True
        while violation > 0.0 and improved:
            improved = False
            for i in self._rng.permutation(self._space.dim):
                places = len(self._space.genes[i].values) or PLACES
                for place in self._rng.permutation(places):
                    trial = genome.copy()
                    trial[i] = (place + 0.5) / places
                    cost = self._identify(trial)[1]
                    if cost < violation:
                        genome, violation, improved = trial, cost, True
                    if violation == 0.0:
                        return genome
        return genome
