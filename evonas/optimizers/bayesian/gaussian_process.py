"""Gaussian process regression with maximum a posteriori hyperparameters.

Rasmussen and Williams 2006, "Gaussian processes for machine learning",
https://gaussianprocess.org/gpml: posterior algorithm 2.1, gradient equation 5.9.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from evonas.optimizers.bayesian.kernel import Kernel

Array = NDArray[np.float64]

#: Jitter on the diagonal, relative to its mean, so that nearly equal points can be factorised.
JITTER = 1e-8
#: Largest number of iterations of one fit; a warm start needs fewer.
ITERATIONS = 60
#: Largest distance of a hyperparameter's logarithm from its prior mean.
REACH = 6.0


class GaussianProcess:
    """Gaussian process regression, with the same noise on all targets and a known one on some.

    Args:
        kernel: covariance function, with its hyperparameters and their priors.

    Attributes:
        log: (p,) logarithms of the hyperparameters; the last is the noise variance.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.log = kernel.prior_mean.copy()

    def fit(self, points: Array, targets: Array, extra: Array | float = 0.0) -> float:
        """Maximise marginal likelihood times prior over the hyperparameters, starting at ``log``.

        A single start: under these priors, other starts ended at the same optimum.

        Args:
            points: (n, d) inputs of the kernel.
            targets: (n,) approximately standardised values.
            extra: (n,) known noise variances of the targets, beside the one that is fitted.

        Returns:
            The negative log posterior at the optimum, up to a constant; see ``objective``.
        """
        distances = self.kernel.distances(points, points)
        optimum = minimize(
            self.objective,
            self.log,
            args=(distances, points, targets - self.kernel.mean(points), extra),
            jac=True,
            method="L-BFGS-B",
            bounds=[(mean - REACH, mean + REACH) for mean in self.kernel.prior_mean.tolist()],
            options={"maxiter": ITERATIONS},
        )
        self.log = np.array(optimum.x, dtype=np.float64)
        return float(optimum.fun)

    def objective(
        self,
        log: Array,
        distances: Array,
        points: Array,
        targets: Array,
        extra: Array | float = 0.0,
    ) -> tuple[float, Array]:
        """Return the negative log posterior of the hyperparameters, up to a constant, and gradient.

        Args:
            log: (p,) logarithms of the hyperparameters.
            distances: (d, n, n) from ``Kernel.distances``.
            points: (n, d) inputs.
            targets: (n,) values minus their prior means.
            extra: as in ``fit``.
        """
        covariance, gradient = self.kernel.with_gradient(log, distances, points)
        n = len(targets)
        covariance[np.diag_indices(n)] += np.exp(log[-1]) + extra
        factor = _factor(covariance)
        weights = cho_solve((factor, True), targets, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
        value = 0.5 * float(targets @ weights) + float(np.log(np.diag(factor)).sum())
        pull = 0.5 * (inverse - np.outer(weights, weights))
        slope = np.append(gradient(pull), np.exp(log[-1]) * np.trace(pull))
        deviation = (log - self.kernel.prior_mean) / self.kernel.prior_deviation
        value += 0.5 * float(deviation @ deviation)
        return value, slope + deviation / self.kernel.prior_deviation

    @property
    def noise(self) -> float:
        """Noise variance of one evaluation."""
        return float(np.exp(self.log[-1]))

    def condition(self, points: Array, targets: Array, extra: Array | float = 0.0) -> None:
        """Condition the process on (n, d) points and (n,) targets; ``extra`` as in ``fit``."""
        self._points = points
        covariance = self.kernel(self.log, points, points)
        covariance[np.diag_indices(len(points))] += self.noise + extra
        self._lower = _factor(covariance)
        residuals = targets - self.kernel.mean(points)
        self._weights = cho_solve((self._lower, True), residuals, check_finite=False)

    def predict(self, points: Array) -> tuple[Array, Array, Array]:
        """Return the posterior of the noise-free function.

        Args:
            points: (m, d) inputs.

        Returns:
            (m,) means, (m,) variances, and the (n, m) whitened covariances with the
            conditioning points, which ``CandidatePosterior`` updates.
        """
        cross = self.kernel(self.log, self._points, points)
        white = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        variance = self.kernel.diagonal(self.log, points) - (white**2).sum(axis=0)
        mean = self.kernel.mean(points) + cross.T @ self._weights
        return mean, np.maximum(variance, 1e-12), white


def _factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor, with the least sufficient jitter."""
    jitter = JITTER * float(np.mean(np.diag(covariance)))
    while True:
        try:
            shifted = covariance + jitter * np.eye(len(covariance))
            factor = np.asarray(np.linalg.cholesky(shifted), dtype=np.float64)
        except np.linalg.LinAlgError:
            jitter *= 100.0
        else:
            return factor
