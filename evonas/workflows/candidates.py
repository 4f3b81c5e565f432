"""Candidates: what a genome becomes before its training, and what a measurement makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from evonas.core.settings import TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import LARGEST
from evonas.runs.training_curves import training_losses
from evonas.runs.trial import Trial
from evonas.space import Architecture, SearchSpace
from evonas.workflows.fold_splits import final_fold
from evonas.workflows.inheritance import WeightInheritance
from evonas.workflows.paused_trainings import PausedTrainings
from evonas.workflows.racing import Race
from evonas.workflows.time_budget import TimeBudget


@dataclass(frozen=True)
class SearchComponents:
    """Components of a search.

    Attributes:
        space: decodes genomes into architectures.
        optimizer: asks for genomes and receives their fitness.
        executor: trains architectures.
        objective: computes fitness and axes from a measurement.
        training: how a candidate is trained.
        cost: multiply-adds of an architecture, without building it.
        race: successive halving within a generation; None: there is none.
        inheritance: weight inheritance; None: every candidate starts from random weights.
        time: budget in minutes; None: there is none.
        final_folds: number of folds that judge the finals in turn; 0: the images of the search do.
        paused: trainings that go on when the optimizer asks again; None: it asks none again.
    """

    space: SearchSpace
    optimizer: Optimizer
    executor: Executor
    objective: Objective
    training: TrainingSettings
    cost: Callable[[Architecture], int]
    race: Race | None = None
    inheritance: WeightInheritance | None = None
    time: TimeBudget | None = None
    final_folds: int = 0
    paused: PausedTrainings | None = None


class Candidates:
    """Makes proposals of genomes, jobs of proposals, and trials of measurements.

    Args:
        components: of the search.
    """

    def __init__(self, components: SearchComponents) -> None:
        self._parts, self._objective = components, components.objective

    def proposal(self, generation: int, index: int, genome: NDArray[np.float64]) -> Trial:
        """Return a trial without a result, ``proposed`` or ``infeasible``."""
        architecture = self._parts.space.decode(genome)
        macs = self._parts.cost(architecture)
        return Trial(
            generation,
            index,
            tuple(genome.tolist()),
            architecture.digest,
            architecture.to_dict(),
            "proposed" if self._objective.admits(architecture, macs) else "infeasible",
            None,
            macs,
        )

    def jobs(self, proposals: Iterable[Trial], seed: int) -> list[Job]:
        """Return jobs, the longest first: a long one that starts last leaves workers idle."""
        rows = sorted(proposals, key=lambda trial: (-trial.macs, trial.index))
        return [self.job(trial, seed) for trial in rows]

    def job(self, trial: Trial, seed: int) -> Job:
        """Return the training of a proposal or of a final.

        Args:
            trial: the proposal; its ``repeat`` says which further seed.
            seed: of the run.
        """
        label = f"generation {trial.generation} #{trial.index}"
        job = Job(
            index=trial.index,
            architecture=Architecture.from_dict(trial.architecture),
            seed=0,
            training=self._parts.training,
            label=f"final, seed {trial.repeat}" if trial.repeat else label,
            history=True,
            latency=self._objective.timed and not trial.latency,  # a final has its network's
            max_ms=0.0 if trial.repeat else self._objective.settings.max_ms or 0.0,
        )
        if trial.fold:
            job = replace(job, split=final_fold(trial.fold))
        if (inheritance := self._parts.inheritance) is not None:
            # Finals compare networks, not their ancestors: there all start from random weights.
            final = replace(job, training=inheritance.fresh)
            job = final if trial.repeat else inheritance.job(job, trial.parent)
        epochs = job.training.epochs
        return replace(job, seed=candidate_seed(seed, trial.digest, epochs, trial.repeat))

    def evaluated(self, proposal: Trial, measurement: Measurement) -> Trial:
        """Return a proposal with its measurement and fitness."""
        if proposal.latency:  # the same network: finals differ by their errors alone
            measurement = replace(measurement, latency=proposal.latency)
            measurement = replace(measurement, latency_noise=proposal.latency_noise)
        measurement = _with_finite_metrics(measurement)
        fitness = self._objective(measurement, proposal.architecture)
        error = measurement.error and f"{measurement.error_kind}: {measurement.error}"
        too_slow = measurement.error_kind == "infeasible"  # for max_ms: it was not trained
        return changed(
            proposal,
            status="infeasible" if too_slow else measurement.status,
            fitness=fitness if abs(fitness) <= LARGEST else None,
            params=measurement.params,
            seconds=round(measurement.seconds, 3),
            metrics=dict(measurement.metrics),
            latency=measurement.latency,
            latency_noise=measurement.latency_noise,
            epochs=measurement.epochs,
            inherited=measurement.inherited,
            error=error,
            curve=tuple(round(e, 6) for e in self._errors(measurement) if abs(e) <= LARGEST),
            losses=tuple(training_losses(measurement.history)),
        )

    def fitness_curve(self, trial: Trial) -> list[float]:
        """Return the fitness of a trial after each epoch; empty for a failed one."""
        if trial.fitness is None or not trial.curve:
            return []
        # Its fitness is that of its lowest error, and the same multiple of every error.
        lowest = min(trial.curve)
        return [error * trial.fitness / lowest if lowest else error for error in trial.curve]

    def _errors(self, measurement: Measurement) -> Iterable[float]:
        return (row[self._objective.metric] for row in measurement.history)


def repeated(first: Trial, proposal: Trial) -> Trial:
    """Return the trial of a proposal whose network has a result already.

    Args:
        first: the trial with the result.
        proposal: the later proposal of the same network.
    """
    place = {"generation": proposal.generation, "index": proposal.index}
    repeat = changed(first, **place, genome=proposal.genome, status="repeat")
    repeat = changed(repeat, seconds=0.0, epochs=0, rung=None)
    return changed(repeat, parent="", inherited=0.0, curve=(), losses=())


def candidate_seed(seed: int, digest: str, epochs: int, repeat: int = 0, purpose: str = "") -> int:
    """Return the seed of a training: a hash of all arguments, below 2^31.

    A repeat is hashed, not added: seed 2 again must not be the training of seed 3, whose luck
    may be why the network was chosen. Nor may a later training repeat that of the search, or
    one of its finals, so it names its purpose.

    Args:
        seed: of the run.
        digest: of the architecture.
        epochs: of the training.
        repeat: number of the training among several alike; 0: the first.
        purpose: what trains: ``""`` a search and its finals, ``retrain``, ``deploy``.
    """
    parts = [seed, digest, epochs, *([purpose] if purpose else [])]
    text = ":".join(map(str, [*parts, *([repeat] if repeat else [])])).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def _with_finite_metrics(measurement: Measurement) -> Measurement:
    """Return a measurement, as a failure if one of its metrics is not finite."""
    wrong = {name: x for name, x in measurement.metrics.items() if not abs(x) <= LARGEST}
    if not wrong:
        return measurement
    name, value = next(iter(wrong.items()))
    error = f"the task's metric {name} is {value}, expected a finite number"
    return replace(measurement, status="failed", metrics={}, error_kind="nan", error=error)


def identified(
    trials: Sequence[Trial], dim: int, objective: Objective
) -> dict[bytes, tuple[str, int]]:
    """Return digest and multiply-adds by the bytes of the genome; see ``Optimizer.preload``."""
    whole = [trial for trial in trials if len(trial.genome) == dim]
    points = np.array([trial.genome for trial in whole], dtype=np.float64)
    content, size = points.tobytes(), points.itemsize * dim
    return {
        content[n * size : (n + 1) * size]: (
            trial.digest,
            objective.counted(trial, trial.architecture)[0],
        )
        for n, trial in enumerate(whole)
    }
