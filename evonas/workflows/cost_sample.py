"""Costs of random architectures of a search space, known before any training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.estimation.cost.limits import KnownCosts
from evonas.space import SearchSpace

_SAMPLES = 2000


@dataclass(frozen=True)
class CostSample:
    """Random genomes of a search space and the costs of their architectures.

    Attributes:
        space: the search space.
        known: costs of an architecture, and the limits on them.
        seed: seed of the genomes.
        points: the genomes, (n, dim).
        macs: multiply-adds of the head networks, (n,).
        counted: multiply-adds that count, (n,); more than ``macs`` with ``counts=total``.
        figures: what each limit bounds, (n, limits), in the order of ``known.limits``.
    """

    space: SearchSpace
    known: KnownCosts
    seed: int
    points: NDArray[np.float64]
    macs: NDArray[np.int64]
    counted: NDArray[np.int64]
    figures: NDArray[np.float64]

    @classmethod
    def drawn(
        cls, space: SearchSpace, known: KnownCosts, seed: int = 0, n: int = _SAMPLES
    ) -> CostSample:
        """Return n random genomes with their costs; a larger sample begins with the smaller one."""
        points = np.random.default_rng(seed).random((n, space.dim))
        macs, counted, figures = [], [], []
        for point in points:
            architecture = space.decode(point)
            macs.append(known.macs(architecture))
            counted.append(macs[-1] + known.share(architecture).macs)
            figures.append([*known.figures(architecture, macs[-1]).values()])
        return cls(
            space,
            known,
            seed,
            points,
            np.array(macs, np.int64),
            np.array(counted, np.int64),
            np.array(figures, np.float64).reshape(n, len(known.limits)),
        )

    def enlarged(self, n: int) -> CostSample:
        """Return the sample of n genomes that begins with this one."""
        return CostSample.drawn(self.space, self.known, self.seed, n)
