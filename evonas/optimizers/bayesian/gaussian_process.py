"""A Gaussian process whose hyperparameters are learned, with priors, by gradients.

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

#: Added to the diagonal, relative to it: keeps near-twins factorisable.
JITTER = 1e-8
#: Iterations of one fit; a warm start needs fewer.
ITERATIONS = 60
#: How far a hyperparameter's logarithm may go from its prior mean.
REACH = 6.0


class GaussianProcess:
    """Regression on a kernel's points; the noise is the last hyperparameter.

    Args:
        kernel: covariance of two points, its hyperparameters and their priors.

    Attributes:
        log: (p,) logarithms of the kernel's hyperparameters, last that of the noise variance.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.log = kernel.prior_mean.copy()

    def fit(self, points: Array, targets: Array) -> None:
        """Maximise marginal likelihood times prior, from ``log`` as it stands.

        One start: under these priors others were seen to end at the same place.

        Args:
            points: (n, d) as the kernel reads them.
            targets: (n,) about standardised.
        """
        distances = self.kernel.distances(points, points)
        found = minimize(
            self.objective,
            self.log,
            args=(distances, points, targets - self.kernel.mean(points)),
            jac=True,
            method="L-BFGS-B",
            bounds=[(mean - REACH, mean + REACH) for mean in self.kernel.prior_mean.tolist()],
            options={"maxiter": ITERATIONS},
        )
        self.log = np.array(found.x, dtype=np.float64)

    def objective(
        self, log: Array, distances: Array, points: Array, targets: Array
    ) -> tuple[float, Array]:
        """Return minus the log posterior of the hyperparameters, but for a constant, and its slope.

        Args:
            log: (p,) hyperparameters.
            distances: (d, n, n) from ``Kernel.distances``.
            points: (n, d).
            targets: (n,) less their prior means.
        """
        covariance, gradient = self.kernel.with_gradient(log, distances, points)
        n = len(targets)
        covariance[np.diag_indices(n)] += np.exp(log[-1])
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
        """Variance of one training's noise."""
        return float(np.exp(self.log[-1]))

    def condition(self, points: Array, targets: Array) -> None:
        """Take (n, d) points and their (n,) targets as known."""
        self._points = points
        covariance = self.kernel(self.log, points, points)
        covariance[np.diag_indices(len(points))] += self.noise
        self._lower = _factor(covariance)
        surprise = targets - self.kernel.mean(points)
        self._weights = cho_solve((self._lower, True), surprise, check_finite=False)

    def predict(self, points: Array) -> tuple[Array, Array, Array]:
        """Return the posterior of the noiseless function.

        Args:
            points: (m, d).

        Returns:
            (m,) means, (m,) variances, and the (n, m) whitened covariances with the known
            points, from which ``Belief`` goes on.
        """
        cross = self.kernel(self.log, self._points, points)
        white = solve_triangular(self._lower, cross, lower=True, check_finite=False)
        variance = self.kernel.diagonal(self.log, points) - (white**2).sum(axis=0)
        mean = self.kernel.mean(points) + cross.T @ self._weights
        return mean, np.maximum(variance, 1e-12), white


def _factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor, with as little jitter as it takes."""
    jitter = JITTER * float(np.mean(np.diag(covariance)))
    while True:
        try:
            shifted = covariance + jitter * np.eye(len(covariance))
            factor = np.asarray(np.linalg.cholesky(shifted), dtype=np.float64)
        except np.linalg.LinAlgError:
            jitter *= 100.0
        else:
            return factor
