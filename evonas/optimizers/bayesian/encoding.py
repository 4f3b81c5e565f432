"""Encoding of genomes as inputs of the kernel: values of active genes and logarithm of the cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.bayesian.kernel import INACTIVE
from evonas.optimizers.common.arguments import Cost, Excess
from evonas.space import SearchSpace

Array = NDArray[np.float64]


class Encoding:
    """Map genomes to points, such that genomes of the same architecture get the same point.

    The column of a gene is its bin index, or the position of a ``log_float``, scaled to [0, 1];
    ``INACTIVE`` if the condition ``when`` of the gene does not hold.

    Args:
        space: the search space.
        macs: cost of an architecture; None: the points have no column for the cost.
        max_macs: limit on the cost; None: no limit.
        sample: (n, dim) genomes, n at least 1, whose costs standardise the cost column.
        excess: violation of further limits, 0 if all hold; None: there are none.
    """

    def __init__(
        self,
        space: SearchSpace,
        macs: Cost | None,
        max_macs: int | None,
        sample: Array,
        excess: Excess | None = None,
    ) -> None:
        self._space = space
        self._macs = macs
        self._excess = excess
        self._limit = np.inf if max_macs is None else float(max_macs)
        logs = np.log(self._costs(sample))
        self._centre, self._scale = float(logs.mean()), max(float(logs.std()), 1e-6)

    def feasible(self, genomes: Array) -> tuple[Array, Array]:
        """Return the (m, dim) genomes within the limits of (n, dim) genomes, and their points.

        The points have shape (m, dim) or, with ``macs``, (m, dim + 1).
        """
        costs = self._costs(genomes)
        within = costs <= self._limit
        if self._excess is not None:
            for index in np.flatnonzero(within):
                within[index] = self._excess(self._space.decode(genomes[index])) <= 0.0
        genomes = genomes[within]
        columns = self._genes(genomes)
        if self._macs is not None:
            columns.append((np.log(costs[within]) - self._centre) / self._scale)
        return genomes, np.array(columns, dtype=np.float64).T

    def _costs(self, genomes: Array) -> Array:
        if self._macs is None:
            return np.ones(len(genomes))
        costs = [self._macs(self._space.decode(genome)) for genome in genomes]
        return np.maximum(np.array(costs, dtype=np.float64), 1.0)

    def _genes(self, genomes: Array) -> list[Array]:
        genes = self._space.genes
        active: dict[str, NDArray[np.bool_]] = {}
        index: dict[str, NDArray[np.int64]] = {}
        columns: list[Array] = []
        for i, gene in enumerate(genes):
            n = len(gene.values)
            if n:
                at = np.maximum(np.ceil(genomes[:, i] * n).astype(np.int64), 1) - 1
                column = at / max(n - 1, 1)
            else:
                at = np.zeros(len(genomes), dtype=np.int64)
                column = np.array([gene.encode(gene.decode(x)) for x in genomes[:, i].tolist()])
            is_active = np.ones(len(genomes), dtype=bool)
            for other, values in gene.when:
                j = next(k for k, g in enumerate(genes) if g.name == other)
                holds = np.array([value in values for value in genes[j].values], dtype=bool)
                fulfilled = (
                    holds[index[other]]
                    if len(holds)
                    else np.array([genes[j].decode(x) in values for x in genomes[:, j].tolist()])
                )
                is_active &= active[other] & fulfilled
            active[gene.name], index[gene.name] = is_active, at
            columns.append(np.where(is_active, column, INACTIVE))
        return columns
