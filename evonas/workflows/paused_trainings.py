"""Trainings of a search that pause at certain epochs, and go on from there if it is worth it.

A training that goes on equals one without a pause, to the bit: its whole state is in a file, from
which any worker goes on. Where the file is missing or does not fit, the network is trained from the
start, to the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evonas.core.settings import FidelitySettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.runs.trial import Trial


class PausedTrainings:
    """Files of paused trainings, one for each network.

    Args:
        folder: where they lie.
        steps: epochs at which a training pauses if its strategy decides how it goes on; the last is
            its end.
    """

    def __init__(self, folder: Path, steps: Sequence[int] = ()) -> None:
        self._folder, self._steps = folder.absolute(), tuple(steps)

    def next_step(self, job: Job, known: Trial | None) -> Job:
        """Return a job up to the next step of its training.

        Args:
            job: the whole training.
            known: the trial of the network so far; None: there is none.
        """
        done = known.epochs if known is not None else 0
        return self.part(job, done, next(step for step in self._steps if step > done))

    def part(self, job: Job, done: int, until: int) -> Job:
        """Return a job from one epoch to another, of which the last needs no file behind it."""
        path = self._folder / f"{job.architecture.digest}.safetensors"
        last = until == job.training.epochs
        return replace(job, done=done, until=0 if last else until, paused=str(path))

    def ended(self, digest: str) -> None:
        """Remove the file of a network whose training has ended."""
        (self._folder / f"{digest}.safetensors").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def steps_of(fidelity: FidelitySettings, training: TrainingSettings) -> tuple[int, ...]:
    """Return the epochs at which trainings pause; empty unless ``fidelity`` is ``curves``.

    One pause, after ``fidelity.rung`` of the training: with more of them a search came no sooner to
    its best networks, since what is promising after the first rung mostly is so to the end.

    Raises:
        InputError: the training is too short to pause.
    """
    if fidelity.name != "curves":
        return ()
    return first_rung(fidelity, training), training.epochs


def first_rung(fidelity: FidelitySettings, training: TrainingSettings) -> int:
    """Return the epochs after which a training pauses first.

    Raises:
        InputError: the training is too short to pause.
    """
    rung = max(1, round(fidelity.rung * training.epochs))
    if rung >= training.epochs:
        raise InputError(
            f"fidelity={fidelity.name}: expected more than {rung} training.epochs, as that many "
            f"are the first rung, got {training.epochs}: train longer, or take fidelity=full"
        )
    return rung


def statement(trials: Sequence[Trial], epochs: int) -> str:
    """Return a line on the epochs that pauses saved; empty if every training went on to its end.

    Args:
        trials: trials of the search.
        epochs: epochs of a whole training.
    """
    trained = [trial for trial in trials if trial.trained]
    stopped = sum(trial.status == "stopped" for trial in trained)
    if not stopped:
        return ""
    spent, whole = sum(trial.epochs for trial in trained), epochs * len(trained)
    return (
        f"Fidelity: {stopped} of {len(trained)} networks were stopped before {epochs} epochs: "
        f"{whole - spent} of {whole} epochs saved ({100 * (1 - spent / whole):.0f} %)."
    )
