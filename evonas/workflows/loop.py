"""The search loop: ask, decode, train or reuse, evaluate, record, tell; then finals and baselines.

Resuming needs no code of its own: the optimizer is rebuilt from the seed and asks for the same
genomes again, and a trial that is in the journal is not trained twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from evonas.core.settings import FinalsSettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.runs.callbacks import Callback, TrainedBaseline
from evonas.runs.finals import due
from evonas.runs.run_store import LARGEST, RunStore, Trial
from evonas.runs.training_curves import training_losses
from evonas.space import Architecture, SearchSpace
from evonas.workflows.inheritance import WeightInheritance
from evonas.workflows.racing import Race

_CHECKED = 8  # a genome is decoded again in one of so many generations of a journal


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
        race: successive halving within a generation; None: every candidate trains to the end.
        inheritance: weight inheritance; None: every candidate starts from random weights.
    """

    space: SearchSpace
    optimizer: Optimizer
    executor: Executor
    objective: Objective
    training: TrainingSettings
    cost: Callable[[Architecture], int]
    race: Race | None = None
    inheritance: WeightInheritance | None = None


class Search:
    """A search, from the first ask to the last training.

    A trial is in the journal before the callbacks receive it.

    Args:
        components: what the search consists of.
        store: the run directory; trials of its journal are not trained again.
        callbacks: receives ``on_trial``, ``on_generation``, ``on_stage`` and ``on_baseline``.
    """

    def __init__(
        self, components: SearchComponents, store: RunStore, callbacks: Callback | None = None
    ) -> None:
        self._parts, self._store = components, store
        self._callbacks = callbacks or Callback()
        self._objective, self._executor = components.objective, components.executor
        self._rows: dict[int, dict[int, Trial]] = {}  # of the journal, until they are replayed
        for trial in store.trials():
            if not trial.repeat:
                self._rows.setdefault(trial.generation, {})[trial.index] = trial
        self._expected = _identified(store.trials(), components.space.dim, self._objective)
        components.optimizer.preload(self._expected)
        self._known: dict[str, Trial] = {}
        self._lowest = float("inf")

    def begin(self, first: Iterable[Trial]) -> None:
        """Record trials of another run or initial designs, before ``run``.

        Args:
            first: with status ``earlier``, ``suggested`` or ``design``, in generation -1; those
                that the journal of a resumed run lacks.
        """
        rows = list(first)
        self._store.append(*rows)
        self._rows.setdefault(-1, {}).update({trial.index: trial for trial in rows})

    def run(self, seed: int) -> Trial | None:
        """Search until the optimizer asks for nothing more; return the best trial.

        ``on_trial`` receives every new trial, ``on_generation`` every generation with one.

        Args:
            seed: seed of the run; the seeds of candidates are derived from it.
        """
        self._add_warm_start()
        optimizer, generation = self._parts.optimizer, 0
        while len(genomes := optimizer.ask()):
            before = self._store.count
            trials = self._generation(generation, genomes, seed)
            values = np.array([trial.value for trial in trials])
            optimizer.tell(values, np.array([self._objective.axes(t) for t in trials]))
            new = self._store.count > before
            if self._parts.inheritance is not None:
                self._parts.inheritance.learn(trials)
                if new:  # the weights of later parents are still needed during a replay
                    self._parts.inheritance.clear_away()
            if new:
                self._callbacks.on_generation(generation, trials)
            generation += 1
        return self._store.best()

    def run_finals(self, settings: FinalsSettings, seed: int) -> None:
        """Train the best networks again with further seeds; see ``evonas.runs.finals``.

        Args:
            settings: which networks, and how many further seeds. Trainings that are in the
                journal are left out.
            seed: seed of the run.
        """
        waiting, left = due(self._store.trials(), settings)
        if waiting:
            self._callbacks.on_stage("finals", left)
        while waiting:
            rows = sorted(waiting, key=lambda trial: -trial.macs)  # as in ``_jobs``
            jobs = [replace(self._job(trial, seed), index=n) for n, trial in enumerate(rows)]
            for number, measurement in self._executor.evaluate(jobs):
                trial = self._evaluated(rows[number], measurement)
                trial = changed(trial, status="final", at=self._store.elapsed)
                self._store.append(trial)
                self._callbacks.on_trial(trial)
            waiting, _ = due(self._store.trials(), settings)

    def run_baselines(self, baselines: Sequence[tuple[str, Architecture]], seed: int) -> None:
        """Train hand-made networks as briefly as candidates with random initial weights.

        Args:
            baselines: name and architecture of each.
            seed: seed of the run.
        """
        self._callbacks.on_stage("baselines", len(baselines))
        parts, jobs = self._parts, []
        training = parts.inheritance.fresh if parts.inheritance else parts.training
        for index, (name, architecture) in enumerate(baselines):
            own = candidate_seed(seed, architecture.digest, training.epochs)
            timed = self._objective.timed
            jobs.append(Job(index, architecture, own, training, name, latency=timed))
        measured = dict(self._executor.evaluate(jobs))
        for job in jobs:
            digest, measurement = job.architecture.digest, measured[job.index]
            over = not self._objective.admits(job.architecture, measurement.macs)
            baseline = TrainedBaseline(job.label, digest, measurement, over_limit=over)
            self._callbacks.on_baseline(baseline)

    def _add_warm_start(self) -> None:
        """Pass the trials of generation -1 to the optimizer, before the first ask."""
        rows = [row for _, row in sorted(self._rows.pop(-1, {}).items())]
        known = [row for row in rows if row.status == "earlier"]
        if known:
            for row in known:
                self._know(row)
            values = [row.value for row in known]
            axes = [self._objective.axes(row) for row in known]
            self._parts.optimizer.add_observations([row.genome for row in known], values, axes)
        suggested = [row.genome for row in rows if row.status in ("suggested", "design")]
        if suggested:
            self._parts.optimizer.enqueue(suggested)

    def _generation(self, generation: int, genomes: NDArray[np.float64], seed: int) -> list[Trial]:
        """Evaluate the genomes of a generation; return one trial for each, in order."""
        trials: dict[int, Trial] = {}
        fresh: dict[int, Trial] = {}
        repeats: list[Trial] = []
        digests: set[str] = set()
        rows = self._rows.pop(generation, {})
        if not self._rows:
            self._expected.clear()
        for index, genome in enumerate(genomes):
            if (row := rows.get(index)) is not None:
                self._check(row, genome)
                trials[index] = row
                if row.settled:
                    self._know(row)
                digests.add(row.digest)
                continue
            proposal = self._proposal(generation, index, genome)
            if proposal.status == "infeasible":
                trials[index] = self._record(proposal)
            elif proposal.digest in self._known or proposal.digest in digests:
                repeats.append(proposal)
            else:
                digests.add(proposal.digest)
                inheritance = self._parts.inheritance
                parent = inheritance.parent(proposal) if inheritance else ""
                fresh[index] = changed(proposal, parent=parent)
        trials |= self._trained(fresh, trials, seed)
        for proposal in repeats:
            first = self._known[proposal.digest]
            repeat = changed(
                first, generation=generation, index=proposal.index, genome=proposal.genome
            )
            repeat = changed(repeat, status="repeat", seconds=0.0, epochs=0, rung=None)
            repeat = changed(repeat, parent="", inherited=0.0, curve=(), losses=())
            trials[proposal.index] = self._record(repeat)
        return [trials[index] for index in range(len(genomes))]

    def _trained(
        self, fresh: Mapping[int, Trial], done: Mapping[int, Trial], seed: int
    ) -> dict[int, Trial]:
        """Train the new candidates of a generation; ``done``: its trials in the journal."""
        jobs, race = self._jobs(fresh.values(), seed), self._parts.race
        if race is None:
            return {
                index: self._record(self._evaluated(fresh[index], measurement))
                for index, measurement in self._executor.evaluate(jobs)
            }
        opened = {
            index: self._evaluated(fresh[index], measurement)
            for index, measurement in self._executor.evaluate(race.first_rung(jobs))
        }
        rungs = {i: trial.rung for i, trial in done.items() if trial.rung is not None}
        rungs |= {i: trial.fitness for i, trial in opened.items() if trial.fitness is not None}
        survivors = race.survivors(rungs)
        found = {
            index: self._record(trial) for index, trial in opened.items() if trial.fitness is None
        }
        for index, measurement in self._executor.evaluate(race.second_rung(jobs, survivors)):
            trial = self._evaluated(fresh[index], measurement)
            seconds = round(trial.seconds + opened[index].seconds, 3)
            found[index] = self._record(changed(trial, seconds=seconds, rung=rungs[index]))
        ended = [trial for trial in (*done.values(), *found.values()) if trial.status == "ok"]
        worst = max((trial.value for trial in ended), default=0.0)
        for index in sorted(opened.keys() - found.keys()):
            trial = changed(opened[index], status="stopped", rung=rungs[index])
            trial = changed(trial, fitness=max(trial.value, worst))
            found[index] = self._record(trial)
        race.clear()
        return found

    def _know(self, trial: Trial) -> None:
        self._known[trial.digest] = trial
        self._lowest = min(self._lowest, trial.value)

    def _check(self, row: Trial, genome: NDArray[np.float64]) -> None:
        """Refuse a trial of the journal whose genome is not the one that the optimizer asks for.

        Whether genomes still decode to the same networks is checked in some generations only.
        """
        same = row.genome == tuple(genome.tolist())
        if same and (row.index or row.generation % _CHECKED):
            return
        asked = self._parts.space.decode(genome).digest
        if same and row.digest == asked:
            return
        other = "another genome of it" if row.digest == asked else asked
        raise InputError(
            f"the journal does not fit: generation {row.generation}, trial {row.index} is "
            f"{row.digest}, but this optimizer asks {other} there: resume with the "
            f"versions in environment.json, or start a new run"
        )

    def _proposal(self, generation: int, index: int, genome: NDArray[np.float64]) -> Trial:
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

    def _jobs(self, proposals: Iterable[Trial], seed: int) -> list[Job]:
        """Return jobs, the longest first: a long one that starts last leaves workers idle."""
        rows = sorted(proposals, key=lambda trial: (-trial.macs, trial.index))
        return [self._job(trial, seed) for trial in rows]

    def _job(self, trial: Trial, seed: int) -> Job:
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
        if (inheritance := self._parts.inheritance) is not None:
            # Finals compare networks, not their ancestors: there all start from random weights.
            final = replace(job, training=inheritance.fresh)
            job = final if trial.repeat else inheritance.job(job, trial.parent)
        epochs = job.training.epochs
        return replace(job, seed=candidate_seed(seed, trial.digest, epochs, trial.repeat))

    def _evaluated(self, proposal: Trial, measurement: Measurement) -> Trial:
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

    def _errors(self, measurement: Measurement) -> Iterable[float]:
        return (row[self._objective.metric] for row in measurement.history)

    def _record(self, trial: Trial) -> Trial:
        trial = changed(trial, at=self._store.elapsed)
        self._store.append(trial)
        if trial.settled:
            self._know(trial)
        if trial.trained:
            self._executor.observe(trial.status, trial.seconds, self._lowest)
        self._callbacks.on_trial(trial)
        return trial


def _identified(
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
