"""How alike two architectures are: a kernel over genes by kind, and over their cost.

    k = 1 + a * mean_i k_i + b * prod_i k_i * k_cost + linear and quadratic terms in cost

k_i = exp(-theta_i * distance_i) is one gene's kernel: for a choice the distance is 0 or
1 (Hamming), for ordered values the distance of the bins as a share of the range. On
an ordered gene of many values this is rough, as tables of trained networks are. The
sum holds main effects, the product what genes do together (Duvenaud et al. 2011,
"Additive Gaussian processes", https://arxiv.org/abs/1112.4394); theta_i is the learned
relevance of a gene (Rasmussen and Williams 2006, section 5.1). The constant and the
polynomial in cost are a mean function whose coefficients are integrated out (section
2.7): how much the cost says is learned, and fades where it says little. The slope is
expected to be SLOPE: larger networks tend to be better. Data overrule that where it is
not so; where it is, the first few architectures need not find it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Gradient = Callable[[Array], Array]

#: What stands for a gene that does not count: its distance to every value is 1.
INACTIVE = -1.0
#: Logarithms of the hyperparameters: prior mean and standard deviation. Targets are
#: standardised and costs are in standard deviations, so no scale is left to guess.
#: A relevance starts at RELEVANCE / genes: with many genes each says little.
RELEVANCE = 2.0
GENE = (0.0, 1.0)
COST = (-2.5, 1.0)
LINEAR = (-1.5, 1.5)
QUADRATIC = (-4.0, 1.5)
ADDITIVE = (1.0, 1.0)
PRODUCT = (-0.7, 1.0)
NOISE = (-3.5, 1.5)
#: Normal scores of the fitness per standard deviation of the logarithm of the cost.
SLOPE = -0.5


class Kernel:
    """Covariance of points (n, d) or (n, d + 1), in the order of the genes, then the cost.

    Hyperparameters, as logarithms: d relevances; with cost its relevance, the variances
    of its linear and of its quadratic coefficient; those of the sum and the product;
    last the noise, which ``GaussianProcess`` adds.

    Args:
        ordered: (d,) whether neighbouring values of a gene are alike.
        cost: whether the points' last column is a cost, about standardised.

    Attributes:
        prior_mean: (p,) of the hyperparameters' logarithms.
        prior_deviation: (p,) standard deviations of the same, independent and normal.
    """

    def __init__(self, ordered: Sequence[bool] | NDArray[np.bool_], cost: bool) -> None:
        self._ordered = [bool(o) for o in ordered]
        self._genes = len(self._ordered)
        self._cost = cost
        gene = (GENE[0] + float(np.log(RELEVANCE / self._genes)), GENE[1])
        costs = [COST, LINEAR, QUADRATIC] if cost else []
        prior = np.array([gene] * self._genes + costs + [ADDITIVE, PRODUCT, NOISE])
        self.prior_mean: Array = prior[:, 0]
        self.prior_deviation: Array = prior[:, 1]

    def __call__(self, log: Array, a: Array, b: Array) -> Array:
        """Return the (n, m) covariance of (n, ...) and (m, ...) points."""
        product = np.ones((len(a), len(b)))
        if self._cost:
            product = np.exp(-np.exp(log[self._genes]) * self._distance(self._genes, a, b))
        total = np.zeros_like(product)
        for i in range(self._genes):
            # Few values, many points: the exponential of each value once, then a look-up.
            levels, at = np.unique(a[:, i], return_inverse=True)
            table = np.zeros((len(levels), a.shape[1]))
            table[:, i] = levels
            own = np.exp(-np.exp(log[i]) * self._distance(i, table, b))[at]
            product *= own
            total += own
        return self._assembled(log, a, b, total / self._genes, product)[0]

    def diagonal(self, log: Array, a: Array) -> Array:
        """Return the (n,) prior variances of (n, ...) points."""
        additive, product, linear, quadratic = self._variances(log)
        variance = np.full(len(a), 1.0 + additive + product)
        if self._cost:
            variance += linear * a[:, -1] ** 2 + quadratic * a[:, -1] ** 4
        return variance

    def mean(self, a: Array) -> Array:
        """Return the (n,) prior means of (n, ...) points."""
        return SLOPE * a[:, -1] if self._cost else np.zeros(len(a))

    def distances(self, a: Array, b: Array) -> Array:
        """Return (d or d + 1, n, m) distances, one matrix a column; the cost's is squared."""
        return np.array([self._distance(i, a, b) for i in range(self._genes + self._cost)])

    def with_gradient(self, log: Array, distances: Array, points: Array) -> tuple[Array, Gradient]:
        """Return the covariance of points with themselves, and a map for its derivatives.

        Args:
            log: (p,) hyperparameters.
            distances: of the points to themselves, from ``distances``.
            points: (n, ...).

        Returns:
            The (n, n) covariance, and a function from a symmetric (n, n) matrix A to the
            (p - 1,) sums over A * d covariance / d log, the noise left out.
        """
        relevance = np.exp(log[: len(distances)])
        own = np.exp(-relevance[:, None, None] * distances)
        genes = own[: self._genes]
        product, mean = own.prod(axis=0), genes.mean(axis=0)
        additive, together, linear, quadratic = self._variances(log)
        covariance, slope, bend = self._assembled(log, points, points, mean, product)

        def gradient(pull: Array) -> Array:
            by_product = together * pull * product
            relevances = np.einsum("ijk,jk->i", distances, by_product)
            relevances[: self._genes] += (additive / self._genes) * np.einsum(
                "ijk,ijk,jk->i", distances[: self._genes], genes, pull
            )
            costs = [linear * np.sum(pull * slope), quadratic * np.sum(pull * bend)]
            return np.concatenate(
                [
                    -relevance * relevances,
                    costs if self._cost else [],
                    [additive * np.sum(pull * mean), by_product.sum()],
                ]
            )

        return covariance, gradient

    def _assembled(
        self, log: Array, a: Array, b: Array, mean: Array, product: Array
    ) -> tuple[Array, Array, Array]:
        """Return the covariance, and of it the linear and the quadratic part at variance 1."""
        additive, together, linear, quadratic = self._variances(log)
        covariance = 1.0 + additive * mean + together * product
        if not self._cost:
            return covariance, np.zeros((1, 1)), np.zeros((1, 1))
        slope = np.outer(a[:, -1], b[:, -1])
        bend = slope**2
        return covariance + linear * slope + quadratic * bend, slope, bend

    def _variances(self, log: Array) -> tuple[float, float, float, float]:
        """Return the variances of sum, product, linear and quadratic term."""
        linear, quadratic = np.exp(log[-5:-3]) if self._cost else (0.0, 0.0)
        additive, product = np.exp(log[-3:-1])
        return float(additive), float(product), float(linear), float(quadratic)

    def _distance(self, column: int, a: Array, b: Array) -> Array:
        x, y = a[:, column, None], b[None, :, column]
        if column == self._genes:
            squared: Array = (x - y) ** 2
            return squared
        if self._ordered[column]:
            return np.where((x == INACTIVE) != (y == INACTIVE), 1.0, np.abs(x - y))
        return np.asarray(x != y, dtype=np.float64)
