"""Acquisition functions: expected improvement in batches, and variance reduction for designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri
from scipy.stats import rankdata

from evonas.optimizers.bayesian.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

#: Assumed noise variance of an evaluation, in normal scores, while there is no fitness yet.
DESIGN_NOISE = 0.05


def normal_scores(fitness: Array) -> Array:
    """Return (n,) quantiles of the standard normal by rank; ties get one score.

    Ranks are invariant under monotone transformations, so a few very bad values or failures do
    not distort the model, and the scale near the best is as fine as elsewhere.
    """
    scores: Array = ndtri((rankdata(fitness) - 0.5) / len(fitness))
    return scores


def score_deviations(values: Array, deviations: Array, scores: Array) -> Array:
    """Return (n,) standard deviations of normal scores, from those of the values.

    Args:
        values: (n,) whose ranks gave the scores.
        deviations: (n,) standard deviations of the values.
        scores: (n,) of ``normal_scores``.
    """
    order = np.argsort(values, kind="stable")
    low, high = values[order[0]], values[order[-1]]
    # The slope over all values holds beyond their ends, where no rank says more.
    slope = (scores[order[-1]] - scores[order[0]]) / max(float(high - low), 1e-12)
    ends = np.interp(
        [values - deviations, values + deviations], values[order], scores[order]
    ) + slope * np.array(
        [np.minimum(values - deviations - low, 0.0), np.maximum(values + deviations - high, 0.0)]
    )
    found: Array = (ends[1] - ends[0]) / 2.0
    return found


def log_expected_improvement(mean: Array, variance: Array, best: float) -> Array:
    """Return the (m,) logarithms of the expected improvement below ``best``.

    Jones, Schonlau and Welch 1998, "Efficient global optimization of expensive black-box
    functions"; the logarithm, which does not underflow, after Ament et al. 2023,
    https://arxiv.org/abs/2310.20708.

    Args:
        mean: (m,) posterior means.
        variance: (m,) posterior variances, above 0.
        best: value to improve on.
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


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of the ends of paused trainings.

    Attributes:
        scores: (n,) normal scores of the forecasts, on which the process is conditioned.
        variances: (n,) their variances.
        left: (n,) epochs that the trainings have left.
    """

    scores: Array
    variances: Array
    left: Array


class CandidatePosterior:
    """Posterior at the candidates of a batch, updated with each candidate that is taken.

    Taking a candidate assumes that its fitness equals its mean (kriging believer, Ginsbourger,
    Le Riche and Carraro 2010): the means stay, and the variance of similar candidates shrinks,
    so that the next candidate is chosen elsewhere.

    Args:
        process: conditioned Gaussian process.
        points: (m, d) candidates.
        best: value to improve on.
    """

    def __init__(self, process: GaussianProcess, points: Array, best: float) -> None:
        self._process = process
        self._points = points
        self._best = best
        self._mean, self._variance, self._white = process.predict(points)

    def scores(self) -> Array:
        """Return the (m,) current logarithms of the expected improvement."""
        return log_expected_improvement(self._mean, self._variance, self._best)

    def use(self, own: Forecasts) -> None:
        """Let the first candidates, whose trainings are paused, be what these trainings reach.

        The fitness at the end of a training is the function plus the noise of that training, of
        which its own forecast tells more than the process: it is combined with the posterior that
        the process has without it (Gaussian product; Rasmussen and Williams 2006, equation 5.12).
        """
        n, noise = len(own.scores), self._process.noise
        mean, variance, told = self._mean[:n], self._variance[:n], noise + own.variances
        without = 1.0 / np.maximum(1.0 / variance - 1.0 / told, 1e-3)
        mean = without * (mean / variance - own.scores / told)
        model, forecast = 1.0 / (without + noise), 1.0 / np.maximum(own.variances, 1e-6)
        self._mean[:n] = (model * mean + forecast * own.scores) / (model + forecast)
        self._variance[:n] = 1.0 / (model + forecast)

    def take(self, index: int) -> None:
        """Condition the posterior on candidate ``index`` having its mean as fitness."""
        process = self._process
        covariance = process.kernel(process.log, self._points, self._points[[index]])[:, 0]
        covariance -= self._white.T @ self._white[:, index]
        row = covariance / np.sqrt(self._variance[index] + process.noise)
        self._white = np.vstack([self._white, row])
        self._variance = np.maximum(self._variance - row**2, 1e-12)
        self._best = min(self._best, float(self._mean[index]))


def variance_reductions(
    process: GaussianProcess, known: Array, candidates: Array, reference: Array
) -> Array:
    """Return how much each candidate lowers the mean variance at the reference points.

    It needs no fitness. Choosing the largest reduction repeatedly spreads an initial design
    over the values of each gene and over the cost: Cohn 1996, "Neural network exploration using
    optimal experiment design", https://doi.org/10.1016/0893-6080(95)00137-9.

    Args:
        process: gives the kernel; its prior hyperparameters are used.
        known: (n, d) points already in the design, n may be 0.
        candidates: (m, d).
        reference: (r, d) points that represent the space.

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
    # Where the prior expects lower fitness, the variance counts more.
    weights = np.exp(-kernel.offset(reference))
    gains: Array = (covariance**2 * weights).mean(axis=1) / (variance + DESIGN_NOISE)
    return gains
