"""Covariance function of two architectures, from the values of their genes and their cost.

    k = 1 + a * mean_i k_i + b * prod_i k_i * k_cost + linear and quadratic terms in cost

k_i = exp(-theta_i * distance_i) is the kernel of gene i: the distance is 0 or 1 (Hamming) for a
choice, and the distance of the bins as a share of the range for ordered values. This exponential
kernel gives rough functions, as tables of trained networks are. The mean models main effects, the
product interactions (Duvenaud et al. 2011, "Additive Gaussian processes",
https://arxiv.org/abs/1112.4394); theta_i is the relevance of a gene (Rasmussen and Williams 2006,
section 5.1).

The constant and the polynomial in cost are a mean function whose coefficients are integrated out
(section 2.7), so that the influence of the cost is learned. The prior mean of the slope is SLOPE,
since larger networks tend to be better: the first evaluations need not show this, and later ones
overrule it where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Gradient = Callable[[Array], Array]

#: Value of an inactive gene: its distance to every other value is 1.
INACTIVE = -1.0
#: Prior mean and standard deviation of the logarithms of the hyperparameters. They need no scale,
#: since targets and costs are standardised. The prior mean of a relevance is RELEVANCE / genes:
#: one of many genes has little influence.
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
    """Covariance of points with one column per gene and, with ``cost``, one for the cost.

    The hyperparameters are, as logarithms: d relevances; with cost, its relevance and the
    variances of its linear and quadratic coefficients; the variances of the mean and of the
    product; last the noise variance, which ``GaussianProcess`` adds.

    Args:
        ordered: (d,) whether the values of a gene are ordered.
        cost: whether the last column of the points is a cost, approximately standardised.
        offsets: gene index -> prior mean at each value of the gene. Their sum enters with a
            coefficient of prior mean 1 and variance 1, which is integrated out as well.

    Attributes:
        prior_mean: (p,) means of the independent normal priors of the logarithms.
        prior_deviation: (p,) standard deviations of these priors.
    """

    def __init__(
        self,
        ordered: Sequence[bool] | NDArray[np.bool_],
        cost: bool,
        offsets: Mapping[int, Array] = MappingProxyType({}),
    ) -> None:
        self._ordered = [bool(o) for o in ordered]
        self._genes = len(self._ordered)
        self._cost = cost
        self._offsets = dict(offsets)
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
            # A gene has few values: compute the exponential once per value, then look it up.
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
        return variance + self.offset(a) ** 2 if self._offsets else variance

    def mean(self, a: Array) -> Array:
        """Return the (n,) prior means of (n, ...) points."""
        return self.offset(a) + (SLOPE * a[:, -1] if self._cost else 0.0)

    def offset(self, a: Array) -> Array:
        """Return the (n,) sums of the offsets of the genes' values; inactive genes have none."""
        total = np.zeros(len(a))
        for column, values in self._offsets.items():
            at = np.rint(a[:, column] * (len(values) - 1)).astype(np.intp)
            total += np.where(a[:, column] == INACTIVE, 0.0, values[np.maximum(at, 0)])
        return total

    def distances(self, a: Array, b: Array) -> Array:
        """Return (d or d + 1, n, m) distances by column; that of the cost is squared."""
        return np.array([self._distance(i, a, b) for i in range(self._genes + self._cost)])

    def with_gradient(self, log: Array, distances: Array, points: Array) -> tuple[Array, Gradient]:
        """Return the covariance of points with themselves and a function for its derivatives.

        Args:
            log: (p,) logarithms of the hyperparameters.
            distances: of the points to themselves, from ``distances``.
            points: (n, d) inputs.

        Returns:
            The (n, n) covariance, and a function that maps a symmetric (n, n) matrix A to the
            (p - 1,) sums of A * d covariance / d log, without the noise.
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
        """Return the covariance, and its linear and quadratic terms in cost at variance 1."""
        additive, together, linear, quadratic = self._variances(log)
        covariance = 1.0 + additive * mean + together * product
        if self._offsets:
            covariance = covariance + np.outer(self.offset(a), self.offset(b))
        if not self._cost:
            return covariance, np.zeros((1, 1)), np.zeros((1, 1))
        slope = np.outer(a[:, -1], b[:, -1])
        bend = slope**2
        return covariance + linear * slope + quadratic * bend, slope, bend

    def _variances(self, log: Array) -> tuple[float, float, float, float]:
        """Return the variances of the mean, the product, the linear and the quadratic term."""
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
