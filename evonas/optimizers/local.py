"""Local search: hill climbing by changes of one gene, restarted at a local optimum.

White, Nolen, Savani 2020, "Exploring the loss landscape in neural architecture search",
https://arxiv.org/abs/2005.02960: competitive with other strategies on small spaces.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.optimizers.base import Common, Optimizer
from evonas.space import Genome, SearchSpace

#: Step of a gene without bins.
CONTINUOUS_STEP = 0.1
ACCEPTANCE = ("first", "steepest")


class LocalSearch(Optimizer):
    """Hill climbing on the values of the genes, in batches of ``population_size``.

    Neighbours differ in one gene: by one value if the values are ordered, by any value if they
    are not. No architecture is asked twice.

    Args:
        acceptance: ``first`` moves to the best genome of a batch as soon as one improves,
            ``steepest`` evaluates all neighbours before it moves.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 10.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        acceptance: str = "first",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        if acceptance not in ACCEPTANCE:
            raise InputError(f"acceptance: expected one of {list(ACCEPTANCE)}, got {acceptance!r}")
        self._steepest = acceptance == "steepest"
        self._restart()

    def _restart(self) -> None:
        self._centre: Genome | None = None
        self._centre_fitness = float("inf")
        self._untried: list[Genome] = []
        self._next: tuple[float, Genome] | None = None

    def _ask(self) -> NDArray[np.float64]:
        if self._centre is not None:
            batch = self._batch()
            while not batch and self._next is not None:
                self._move()
                batch = self._batch()
            if batch:
                return np.array(batch)
            self.restarts += 1  # a local optimum
            self._restart()
        start = self.initial_genomes(self.population_size)
        return start if len(start) else self.sample_new(self.population_size)

    def parents(self) -> list[str]:
        """Return the digest of the architecture whose neighbours are asked, if there is one."""
        return [] if self._centre is None else [self.identify(self._centre)[0]]

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        for genome, value in zip(genomes, fitness.tolist(), strict=True):
            if self.success(self.identify(genome)[0]) is not None:
                self._consider(genome, value)
        if self._next is not None and (self._centre is None or not self._steepest):
            self._move()

    def _consider(self, genome: Genome, fitness: float) -> None:
        if fitness < (self._next[0] if self._next else self._centre_fitness):
            self._next = (fitness, genome)

    def _move(self) -> None:
        """Move to the best candidate, on to better known neighbours, and list unseen neighbours."""
        while self._next is not None:
            self._centre_fitness, self._centre = self._next
            self._next = None
            self._untried = []
            for neighbour in self._neighbours(self._centre):
                digest, violation = self.identify(neighbour)
                known = self.success(digest)
                if known is not None:
                    self._consider(neighbour, known)
                elif violation == 0.0 and self.is_new(digest):
                    self._untried.append(neighbour)

    def _batch(self) -> list[Genome]:
        batch: dict[str, Genome] = {}
        while self._untried and len(batch) < self.population_size:
            genome = self._untried.pop()
            digest, _ = self.identify(genome)
            if self.is_new(digest):
                batch.setdefault(digest, genome)
        return list(batch.values())

    def _neighbours(self, genome: Genome) -> list[Genome]:
        neighbours = []
        for i, gene in enumerate(self.space.genes):
            for place in _places(float(genome[i]), len(gene.values), bool(self.space.ordered[i])):
                neighbour = genome.copy()
                neighbour[i] = place
                neighbours.append(neighbour)
        return [neighbours[k] for k in self.rng.permutation(len(neighbours))]


def _places(x: float, bins: int, ordered: bool) -> list[float]:
    """Return the neighbouring values of a gene at x: bin centres, or steps without bins."""
    if bins == 0:
        steps = (x - CONTINUOUS_STEP, x + CONTINUOUS_STEP)
        return [min(max(place, 0.0), 1.0) for place in steps]
    own = max(int(np.ceil(x * bins)), 1) - 1
    others = (own - 1, own + 1) if ordered else range(bins)
    return [(other + 0.5) / bins for other in others if other != own and 0 <= other < bins]
