"""Racing: all of a generation train for a first rung, and only the better part goes on.

Maron and Moore 1994 raced models so; successive halving is Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943. Here there is one rung, within a generation: strategies
live by the ranks that they are told, and whoever is stopped is told as worse than all that
went on. A training that goes on is the one that would have run without a race, to the bit:
it is written down at the rung and taken up again, by any worker.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evonas.core.settings import FidelitySettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.runs.run_store import Trial


class Race:
    """How the generations of one search are raced.

    Args:
        settings: with ``name: racing``.
        training: of a candidate that goes on.
        folder: where trainings wait at the rung; removed after each generation.

    Attributes:
        rung: epochs of the first rung.

    Raises:
        InputError: the training is too short to have a rung.
    """

    def __init__(
        self, settings: FidelitySettings, training: TrainingSettings, folder: Path
    ) -> None:
        self.rung = max(1, round(settings.rung * training.epochs))
        if self.rung >= training.epochs:
            raise InputError(
                f"fidelity=racing: expected more than {self.rung} training.epochs, as that many "
                f"are the first rung, got {training.epochs}: train longer, or take fidelity=full"
            )
        self._share, self._folder = settings.go_on, folder

    def first_rung(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs, up to the rung."""
        return [self._waiting(job, self.rung) for job in jobs]

    def second_rung(self, jobs: Iterable[Job], ahead: set[int]) -> list[Job]:
        """Return those jobs that go on, from the rung to the end."""
        return [self._waiting(job, 0) for job in jobs if job.index in ahead]

    def survivors(self, fitness: Mapping[int, float]) -> set[int]:
        """Return the indices that go on, given the fitness of each at the rung.

        The better part, at least one, of those that succeeded; earlier ones among equals.
        """
        known = {index: value for index, value in fitness.items() if math.isfinite(value)}
        ranked = sorted(known, key=lambda index: (known[index], index))
        return set(ranked[: max(1, math.ceil(self._share * len(ranked)))])

    def clear(self) -> None:
        """Remove what waited."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _waiting(self, job: Job, until: int) -> Job:
        place = self._folder.absolute() / f"{job.architecture.digest}.safetensors"
        return replace(job, until=until, paused=str(place))


def saved(trials: Sequence[Trial], epochs: int) -> str:
    """Return a line on the epochs that a race saved; empty where nobody was stopped.

    Args:
        trials: of the search.
        epochs: of a whole training.
    """
    trained = [trial for trial in trials if trial.trained]
    stopped = [trial for trial in trained if trial.status == "stopped"]
    if not stopped:
        return ""
    spared = sum(epochs - trial.epochs for trial in stopped)
    whole = epochs * len(trained)
    return (
        f"Racing: {len(stopped)} of {len(trained)} networks were stopped after "
        f"{stopped[0].epochs} of {epochs} epochs: {spared} of {whole} epochs saved "
        f"({100 * spared / whole:.0f} %)."
    )
