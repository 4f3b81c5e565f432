"""Racing: a generation trains for a few epochs, and only its better part trains to the end.

Maron and Moore 1994 raced models; successive halving is Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943. Here there is one rung, within a generation: strategies use the
ranks of fitness, and a candidate that is stopped gets a worse fitness than all survivors. A
survivor's training equals one without a race, to the bit: its state is saved at the rung, and any
worker continues from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from evonas.core.settings import FidelitySettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.workflows.paused_trainings import PausedTrainings, first_rung


class Race:
    """Race of the generations of a search.

    Args:
        settings: with ``name: racing``.
        training: settings of a whole training.
        folder: holds the paused trainings of a generation; removed after it.

    Attributes:
        rung: epochs of the first rung.

    Raises:
        InputError: the training is too short to have a rung.
    """

    def __init__(
        self, settings: FidelitySettings, training: TrainingSettings, folder: Path
    ) -> None:
        self.rung = first_rung(settings, training)
        self._share, self._epochs = settings.go_on, training.epochs
        self._paused = PausedTrainings(folder)

    def first_rung(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs, each up to the rung."""
        return [self._paused.part(job, 0, self.rung) for job in jobs]

    def second_rung(self, jobs: Iterable[Job], survivors: set[int]) -> list[Job]:
        """Return the jobs of the survivors, from the rung to the end."""
        return [
            self._paused.part(job, self.rung, self._epochs)
            for job in jobs
            if job.index in survivors
        ]

    def survivors(self, fitness: Mapping[int, float]) -> set[int]:
        """Return the indices of the candidates that train to the end.

        Args:
            fitness: index -> fitness at the rung, of the candidates that succeeded.

        Returns:
            The better part, at least one; of equal fitness the lower index.
        """
        known = {index: value for index, value in fitness.items() if math.isfinite(value)}
        ranked = sorted(known, key=lambda index: (known[index], index))
        return set(ranked[: max(1, math.ceil(self._share * len(ranked)))])

    def clear(self) -> None:
        """Remove the paused trainings."""
        self._paused.clear()
