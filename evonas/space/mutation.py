"""Mutation of one gene, by the rules ``step``, ``mutable`` and ``limits`` of a search space.

With ``step: 1`` for the gene of repeats and no rules for the others, this is the mutation of
EvoPose2D (McNally et al. 2021, arXiv 2011.08446).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.space.gene import Gene
from evonas.space.search_space import Genome, SearchSpace

#: Standard deviation of the mutation of a gene without bins.
CONTINUOUS_STEP = 0.2


class Mutation:
    """Draw mutated copies of genomes, and check the limits of the space.

    Args:
        space: the search space.

    Attributes:
        movable: indices of the genes that a mutation may change, in order.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.movable = [
            i for i, gene in enumerate(space.genes) if gene.size > 1 and gene.mutable != ()
        ]
        self._places = {i: _places(space.genes[i]) for i in self.movable}

    def child(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a (dim,) copy in which one uniformly chosen movable gene is drawn again.

        A gene with ``step`` moves by 1 to ``step`` values up or down, a gene without it to any
        value, including its own, all with equal probability. The child can therefore be the same
        architecture as the parent, also if the gene is inactive or cannot move; callers then draw
        again. It may violate a limit, see ``fits``.

        Args:
            genome: (dim,) values in [0, 1].
            rng: random generator.
        """
        child = np.array(genome, dtype=np.float64)
        if self.movable:
            i = self.movable[rng.integers(len(self.movable))]
            child[i] = self._moved(i, float(child[i]), rng)
        return child

    def fits(self, genome: Genome) -> bool:
        """Return whether the architecture of a (dim,) genome satisfies all limits of the space."""
        if not self._space.limits:
            return True
        settings = self._space.decode(genome).settings
        return all(limit.holds(settings) for limit in self._space.limits)

    def _moved(self, i: int, x: float, rng: np.random.Generator) -> float:
        gene, places = self._space.genes[i], self._places[i]
        if places is None:
            return float(np.clip(x + CONTINUOUS_STEP * rng.normal(), 0.0, 1.0))
        if gene.step:
            away = np.abs(places - gene.encode(gene.decode(x))) * len(gene.values)
            places = places[(away > 0.5) & (away < gene.step + 0.5)]
        return float(places[rng.integers(len(places))]) if len(places) else x


def _places(gene: Gene) -> NDArray[np.float64] | None:
    """Return the bin centres that a mutation may choose; None: all of [0, 1]."""
    values = gene.values if gene.mutable is None else gene.mutable
    return np.array([gene.encode(value) for value in values]) if values else None
