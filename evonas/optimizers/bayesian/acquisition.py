"""What to train next under a posterior: expected improvement, and batches of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri
from scipy.stats import rankdata

from evonas.optimizers.bayesian.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

#: Variance of a training's noise in normal scores, before any is known.
DESIGN_NOISE = 0.05


def normal_scores(fitness: Array) -> Array:
    """Return (n,) quantiles of the standard normal by rank; ties get one score.

    Ranks survive any monotone change of the fitness, so a few terrible networks, or
    failures, bend no model, and near the best the scale is as fine as anywhere.
    """
    scores: Array = ndtri((rankdata(fitness) - 0.5) / len(fitness))
    return scores


def log_expected_improvement(mean: Array, variance: Array, best: float) -> Array:
    """Return the logarithm of how far below ``best`` a value is expected to fall.

    Jones, Schonlau and Welch 1998, "Efficient global optimization of expensive
    black-box functions"; as a logarithm, stable where nothing is expected, after Ament
    et al. 2023, https://arxiv.org/abs/2310.20708.

    Args:
        mean, variance: (m,) of normal distributions, variance above 0.
        best: the value to improve on.
    """
    deviation = np.sqrt(variance)
    u = (best - mean) / deviation
    density = -0.5 * u**2 - 0.5 * np.log(2.0 * np.pi)
    near = np.exp(density) + u * ndtr(u)
    # Phi(u) / phi(u) by erfcx, which does not underflow; beyond -1e3 its limit 1 / u^2.
    tail = np.minimum(u, -1.0)
    ratio = 1.0 + tail * np.sqrt(np.pi / 2.0) * erfcx(-tail / np.sqrt(2.0))
    far = density + np.log(np.where(tail < -1e3, tail**-2.0, np.maximum(ratio, 1e-16)))
    logs: Array = np.where(u > -1.0, np.log(np.maximum(near, 1e-300)), far)
    return logs + np.log(deviation)


class Belief:
    """The posterior at candidates, and how it changes when one of them is taken.

    Taking a candidate assumes that its fitness will be its mean (kriging believer,
    Ginsbourger, Le Riche and Carraro 2010): no mean moves, the variance of whatever is
    alike shrinks, and so the next of a batch is looked for elsewhere.

    Args:
        process: conditioned on what is known.
        points: (m, ...) candidates.
        best: the value to improve on.
    """

    def __init__(self, process: GaussianProcess, points: Array, best: float) -> None:
        self._process = process
        self._points = points
        self._best = best
        self._mean, self._variance, self._white = process.predict(points)

    def scores(self) -> Array:
        """Return the (m,) log expected improvements as things stand."""
        return log_expected_improvement(self._mean, self._variance, self._best)

    def take(self, index: int) -> None:
        """Believe the mean of one candidate."""
        process = self._process
        covariance = process.kernel(process.log, self._points, self._points[[index]])[:, 0]
        covariance -= self._white.T @ self._white[:, index]
        row = covariance / np.sqrt(self._variance[index] + process.noise)
        self._white = np.vstack([self._white, row])
        self._variance = np.maximum(self._variance - row**2, 1e-12)
        self._best = min(self._best, float(self._mean[index]))


def knowledge_gains(
    process: GaussianProcess, known: Array, candidates: Array, reference: Array
) -> Array:
    """Return how much each candidate lowers the mean variance at the reference points.

    Needs no fitness. Maximised one after another it spreads a start over the values of
    each gene and over the cost, whatever their kinds: Cohn 1996, "Neural network
    exploration using optimal experiment design", https://doi.org/10.1016/0893-6080(95)00137-9.

    Args:
        process: its hyperparameters say what is alike.
        known: (n, ...) points trained or about to be, n may be 0.
        candidates: (m, ...).
        reference: (r, ...) points that stand for the space.

    Returns:
        (m,) reductions of the mean variance.
    """
    kernel, log = process.kernel, process.kernel.prior_mean
    covariance = kernel(log, candidates, reference)
    variance = kernel.diagonal(log, candidates)
    if len(known):
        own = kernel(log, known, known) + DESIGN_NOISE * np.eye(len(known))
        white = np.linalg.solve(np.linalg.cholesky(own), kernel(log, known, candidates))
        at_reference = np.linalg.solve(np.linalg.cholesky(own), kernel(log, known, reference))
        covariance = covariance - white.T @ at_reference
        variance = variance - (white**2).sum(axis=0)
    gains: Array = (covariance**2).mean(axis=1) / (variance + DESIGN_NOISE)
    return gains
