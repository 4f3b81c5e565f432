"""Average of two models: one whose fitness depends on the cost, one that ignores it.

Bayesian model averaging (Hoeting et al. 1999, https://doi.org/10.1214/ss/1009212519): the prior
slope in cost fades as fast as data are better explained without any cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from evonas.optimizers.bayesian.acquisition import CandidatePosterior, Forecasts
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

#: Logarithm of the prior odds of the model with the cost, which has three more hyperparameters.
ODDS = 1.0


class ModelAverage:
    """Gaussian processes weighted by their posterior probability.

    Args:
        processes: the processes; the first has the prior odds exp(ODDS) against each other one.

    Attributes:
        log_weights: (p,) logarithms of the posterior probabilities.
    """

    def __init__(self, processes: Sequence[GaussianProcess]) -> None:
        self.processes = list(processes)
        self._prior = np.array([ODDS] + [0.0] * (len(self.processes) - 1))
        self.log_weights: Array = log_softmax(self._prior)

    def fit(self, points: Array, targets: Array, extra: Array | float = 0.0) -> None:
        """Fit the hyperparameters of each process, and compute the weights.

        The evidence of a process is its marginal likelihood times prior at the fitted
        hyperparameters.

        Args:
            points: (n, d) inputs.
            targets: (n,) approximately standardised values.
            extra: (n,) known noise variances of the targets, beside the one that is fitted.
        """
        evidence = np.array([-process.fit(points, targets, extra) for process in self.processes])
        self.log_weights = log_softmax(self._prior + evidence)

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one evaluation, averaged over the processes."""
        noise = np.array([process.noise for process in self.processes])
        return float(np.sqrt(np.exp(self.log_weights) @ noise))

    def condition(self, points: Array, targets: Array, extra: Array | float = 0.0) -> None:
        """Condition each process on (n, d) points and (n,) targets; ``extra`` as in ``fit``."""
        for process in self.processes:
            process.condition(points, targets, extra)


class AveragedPosterior:
    """Expected improvement at the candidates of a batch, averaged over the processes.

    Args:
        models: conditioned processes.
        points: (m, d) candidates.
        known: (k, d) points of the architectures to improve on.
    """

    def __init__(self, models: ModelAverage, points: Array, known: Array) -> None:
        self._log_weights = models.log_weights
        # The lowest posterior mean, since the lowest observed fitness may be due to noise.
        self._posteriors = [
            CandidatePosterior(process, points, float(process.predict(known)[0].min()))
            for process in models.processes
        ]

    def scores(self) -> Array:
        """Return the (m,) current logarithms of the averaged expected improvement."""
        scores = np.array([posterior.scores() for posterior in self._posteriors])
        averaged: Array = logsumexp(scores + self._log_weights[:, None], axis=0)
        return averaged

    def use(self, own: Forecasts) -> None:
        """Let the first candidates in each process be what their paused trainings reach."""
        for posterior in self._posteriors:
            posterior.use(own)

    def take(self, index: int) -> None:
        """Assume in each process that candidate ``index`` has its mean as fitness."""
        for posterior in self._posteriors:
            posterior.take(index)
