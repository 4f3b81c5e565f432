"""Learning curves of paused trainings, and what they would reach at the end of the training.

Freeze-thaw Bayesian optimization (Swersky, Snoek and Adams 2014, https://arxiv.org/abs/1406.3896)
weighs a paused training by a forecast of its end. The forecast here is a random walk: from one
epoch to the next, the logarithm of the lowest fitness so far changes by a mean and a variance that
all trainings share and that are estimated from those that were trained so far. It needs no shape
of the curve, such as a power law, which schedules of the learning rate and moving averages of the
weights break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Array = NDArray[np.float64]

#: A fitness below this share of the median is taken as this share, since 0 has no logarithm.
LEAST = 1e-3
#: Before a change from one epoch to the next was seen, its standard deviation is this share of its
#: mean; this is weighed like PRIOR_COUNT trainings.
SPREAD, PRIOR_COUNT = 0.7, 2.0
#: Least standard deviation of a change.
FLOOR = 0.002
#: Changes of epochs that nobody has been trained for shrink with this power of the epoch.
DECAY = 2.0


class LearningCurves:
    """Fitness of architectures after each epoch of their trainings.

    Args:
        steps: epochs at which a training pauses, increasing; the last is its end.

    Attributes:
        steps: the same.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = tuple(steps)
        self._curves: dict[str, Array] = {}

    @property
    def any_paused(self) -> bool:
        """Whether the training of any architecture can go on."""
        return any(len(curve) < self.steps[-1] for curve in self._curves.values())

    def update(
        self, digests: Sequence[str], fitness: Array, curves: Sequence[Iterable[float]] | None
    ) -> None:
        """Replace the curves of architectures that were trained.

        Args:
            digests: n digests.
            fitness: (n,) of them, nan for a failed training.
            curves: n curves, each the fitness after every epoch so far.

        Raises:
            InputError: curves are missing.
        """
        if curves is None or len(curves) != len(digests):
            came = "none" if curves is None else str(len(curves))
            raise InputError(f"tell() expected {len(digests)} curves with steps, got {came}")
        for digest, value, curve in zip(digests, fitness.tolist(), curves, strict=True):
            self.record(digest, () if np.isnan(value) else curve)

    def record(self, digest: str, fitness: Iterable[float]) -> None:
        """Replace the curve of an architecture; an empty one: its training failed.

        Args:
            digest: of the architecture.
            fitness: after each epoch so far.
        """
        curve = np.array([*fitness], dtype=np.float64)
        if len(curve):
            self._curves[digest] = np.minimum.accumulate(curve)
        else:
            self._curves.pop(digest, None)

    def epochs(self, digest: str) -> int:
        """Return the epochs of an architecture so far; 0 before its first, or after a failure."""
        return len(self._curves.get(digest, ()))

    def until(self, digest: str) -> int:
        """Return the epochs that an architecture has after its next step."""
        done = self.epochs(digest)
        return next((step for step in self.steps if step > done), self.steps[-1])

    def paused(self, digest: str) -> bool:
        """Whether the training of an architecture can go on."""
        return 0 < self.epochs(digest) < self.steps[-1]

    def forecast(self, fitness: Mapping[str, float]) -> tuple[Array, Array]:
        """Return logarithms of the fitness at the end of the training, and standard deviations.

        Args:
            fitness: digest -> fitness; of those without a curve it is taken as it is.

        Returns:
            (n,) values and (n,) deviations, 0 for a training that has ended.
        """
        known = [curve[-1] for curve in self._curves.values()] or list(fitness.values())
        least = LEAST * max(float(np.median(known)), 1e-12)
        mean, variance = self._changes(least)
        values, deviations = np.zeros(len(fitness)), np.zeros(len(fitness))
        for index, (digest, value) in enumerate(fitness.items()):
            done = self.epochs(digest)
            value = float(self._curves[digest][-1]) if done else value
            values[index] = np.log(max(value, least))
            if done:
                values[index] += mean[done - 1 :].sum()
                deviations[index] = np.sqrt(variance[done - 1 :].sum())
        return values, deviations

    def _changes(self, least: float) -> tuple[Array, Array]:
        """Return mean and variance of the change after each epoch but the last, as logarithms."""
        total = self.steps[-1]
        mean, variance = np.zeros(total - 1), np.zeros(total - 1)
        logs = [np.log(np.maximum(curve, least)) for curve in self._curves.values()]
        for epoch in range(1, total):
            changes = np.array([log[epoch] - log[epoch - 1] for log in logs if len(log) > epoch])
            if len(changes):
                mean[epoch - 1] = changes.mean()
            elif epoch > 1:
                mean[epoch - 1] = mean[epoch - 2] * ((epoch - 1) / epoch) ** DECAY
            prior = (SPREAD * mean[epoch - 1]) ** 2
            squares = PRIOR_COUNT * prior + ((changes - mean[epoch - 1]) ** 2).sum()
            variance[epoch - 1] = squares / (PRIOR_COUNT + len(changes)) + FLOOR**2
        return mean, variance
