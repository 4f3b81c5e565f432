"""Racing: a generation trains for a few epochs, and only its better part trains to the end.

Maron and Moore 1994 raced models; successive halving is Jamieson and Talwalkar 2016,
https://arxiv.org/abs/1502.07943. Here there is one rung, within a generation: strategies use the
ranks of fitness, and a candidate that is stopped gets a worse fitness than all survivors. A
survivor's training equals one without a race, to the bit: its state is saved at the rung, and any
worker continues from there.
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
        self.rung = max(1, round(settings.rung * training.epochs))
        if self.rung >= training.epochs:
            raise InputError(
                f"fidelity=racing: expected more than {self.rung} training.epochs, as that many "
                f"are the first rung, got {training.epochs}: train longer, or take fidelity=full"
            )
        self._share, self._folder = settings.go_on, folder

    def first_rung(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs, each up to the rung."""
        return [self._paused(job, self.rung) for job in jobs]

    def second_rung(self, jobs: Iterable[Job], survivors: set[int]) -> list[Job]:
        """Return the jobs of the survivors, from the rung to the end."""
        return [self._paused(job, 0) for job in jobs if job.index in survivors]

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
        shutil.rmtree(self._folder, ignore_errors=True)

    def _paused(self, job: Job, until: int) -> Job:
        path = self._folder.absolute() / f"{job.architecture.digest}.safetensors"
        return replace(job, until=until, paused=str(path))


def saved(trials: Sequence[Trial], epochs: int) -> str:
    """Return a line on the epochs that racing saved; empty if no candidate was stopped.

    Args:
        trials: trials of the search.
        epochs: epochs of a whole training.
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
