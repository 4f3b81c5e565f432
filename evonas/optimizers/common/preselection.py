"""Preselection: rank candidate genomes by a cheap model of the fitness before training any.

Preselection in evolution strategies: Ulmer, Streichert, Zell 2003, "Evolution strategies
assisted by Gaussian processes with improved pre-selection criterion",
https://doi.org/10.1109/CEC.2003.1299643. The model is linear-quadratic in ordered genes, as
in lq-CMA-ES (Hansen 2019, https://doi.org/10.1145/3321707.3321842) but without interaction
terms, and has one level for each value of an unordered gene.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from evonas.space import Genome, SearchSpace


class Preselection:
    """Ridge regression of fitness ranks on the main effects of the genes.

    The targets are ranks because the strategies use no more than ranks, and because a single
    failure or huge value would distort a model of the values.

    Args:
        space: the search space.
        ridge: weight of the penalty, in observations: an effect is estimated at half its
            least-squares value after about this many observations.
    """

    def __init__(self, space: SearchSpace, ridge: float = 1.0) -> None:
        self._space = space
        self._ridge = ridge
        self._centre: NDArray[np.float64] = np.zeros(0)
        self._effects: NDArray[np.float64] | None = None

    def fit(self, genomes: list[Genome], fitness: ArrayLike) -> None:
        """Fit n genomes of shape (dim,) and their (n,) finite fitness, smaller is better."""
        ranks = rankdata(np.asarray(fitness, dtype=np.float64))
        x = self._features(genomes)
        self._centre = x.mean(axis=0)
        x = x - self._centre
        penalty = self._ridge * np.eye(x.shape[1])
        ranks = (ranks - ranks.mean()) / len(ranks)
        self._effects = np.linalg.solve(x.T @ x + penalty, x.T @ ranks)

    def order(self, genomes: list[Genome]) -> NDArray[np.int64]:
        """Return (n,) indices of n genomes, lowest predicted fitness first; ties keep their order.

        Before ``fit`` the order is unchanged.
        """
        if self._effects is None or not genomes:
            return np.arange(len(genomes))
        predicted = (self._features(genomes) - self._centre) @ self._effects
        return np.argsort(np.round(predicted, 12), kind="stable")

    def _features(self, genomes: list[Genome]) -> NDArray[np.float64]:
        points = np.array(genomes, dtype=np.float64)
        columns = []
        for i, gene in enumerate(self._space.genes):
            x, n = points[:, i], len(gene.values)
            bins = np.clip(np.ceil(x * n), 1, max(n, 1)) - 1
            if gene.kind == "choice":
                columns.append(bins[:, None] == np.arange(n))
            else:
                # scaled to [-1, 1], the square to the same variance
                u = 2.0 * bins / (n - 1) - 1.0 if n > 1 else 2.0 * x - 1.0 if n == 0 else 0.0 * x
                columns.append(np.stack([u, 1.5 * u * u], axis=1))
        return np.concatenate(columns, axis=1).astype(np.float64)
