"""One gene changes: mutation by the rules of a space file.

Where a gene says ``step: 1`` and the others nothing, this is the mutation of EvoPose2D
(McNally et al. 2021, arXiv 2011.08446): repeats by one, the rest to any value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.space.gene import Gene
from evonas.space.search_space import Genome, SearchSpace

#: Standard deviation of a mutation where a gene has no bins.
CONTINUOUS_STEP = 0.2


class Mutation:
    """Draws children of genomes, and tells which keep the limits of their space.

    Args:
        space: the search space.

    Attributes:
        movable: coordinates of the genes that a mutation may change, in order.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.movable = [
            i for i, gene in enumerate(space.genes) if gene.size > 1 and gene.mutable != ()
        ]
        self._places = {i: _places(space.genes[i]) for i in self.movable}

    def child(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """Return a (dim,) copy with one gene, any that may move alike, given another draw.

        A gene with ``step`` goes 1 to ``step`` values up or down, all within reach alike; one
        without goes to any value, its own included. So the child may be the parent's equal,
        also where the gene does not count, nothing is within reach or nothing may move:
        callers draw again. It may break a limit, see ``fits``.

        Args:
            genome: (dim,) numbers in [0, 1].
            rng: where the draw comes from.
        """
        child = np.array(genome, dtype=np.float64)
        if self.movable:
            i = self.movable[rng.integers(len(self.movable))]
            child[i] = self._moved(i, float(child[i]), rng)
        return child

    def fits(self, genome: Genome) -> bool:
        """Whether a (dim,) genome's architecture keeps all limits of the space."""
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
    """Where a mutation may put a gene, bin centres; None: anywhere in [0, 1]."""
    values = gene.values if gene.mutable is None else gene.mutable
    return np.array([gene.encode(value) for value in values]) if values else None
