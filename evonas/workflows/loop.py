"""The search loop: ask, decode, reuse or train, judge, write down, tell; then the finals.

Resuming needs no code of its own: the optimizer is rebuilt from the seed and asks
the same again, and what the journal knows is not trained twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import LARGEST, RunStore, Trial
from evonas.space import Architecture, SearchSpace
from evonas.workflows.inheritance import WeightInheritance
from evonas.workflows.racing import Race

Watch = Callable[[Trial], None]
#: Takes the number of a generation and its trials, in the order of the genomes.
WatchGeneration = Callable[[int, Sequence[Trial]], None]
_LOOKED_AT = 8  # every so many generations of a journal


class Search:
    """One search, from the first ask to the last tell.

    Args:
        space: decodes genomes.
        optimizer: asks and is told.
        executor: trains.
        objective: judges.
        store: remembers.
        training: how long a candidate trains, and how.
        cost: the exact multiply-adds of an architecture, without training it.
        race: how generations are raced; None: all candidates train to the end.
        lineage: who starts with whose weights; None: all start afresh.
    """

    def __init__(
        self,
        space: SearchSpace,
        optimizer: Optimizer,
        executor: Executor,
        objective: Objective,
        store: RunStore,
        training: TrainingSettings,
        cost: Callable[[Architecture], int],
        race: Race | None = None,
        lineage: WeightInheritance | None = None,
    ) -> None:
        self.space, self.optimizer, self.executor = space, optimizer, executor
        self.objective, self.store = objective, store
        self.training, self.cost, self.race = training, cost, race
        self.lineage = lineage
        self._rows: dict[int, dict[int, Trial]] = {}  # of the journal, until they are replayed
        for trial in store.trials():
            if not trial.repeat:
                self._rows.setdefault(trial.generation, {})[trial.index] = trial
        self._expected = _asked(store.trials(), space.dim)
        optimizer.preload(self._expected)
        self._known: dict[str, Trial] = {}
        self._lowest = float("inf")

    def begin(self, earlier: Iterable[Trial]) -> None:
        """Take over trials of another run, before ``run``; a resumed run has them already.

        Args:
            earlier: with status ``earlier`` or ``suggested``, in generation -1.
        """
        rows = list(earlier)
        self.store.append(*rows)
        self._rows[-1] = {trial.index: trial for trial in rows}

    def run(
        self,
        seed: int,
        watch: Watch = lambda trial: None,
        watch_generation: WatchGeneration = lambda generation, trials: None,
    ) -> Trial | None:
        """Search until the optimizer has nothing more to ask; return the best trial.

        Args:
            seed: of the run; a candidate's own seed follows from it.
            watch: is shown every trial that the journal did not hold.
            watch_generation: is shown every generation with such a trial, once it is done.
        """
        self._inform()
        generation = 0
        while len(genomes := self.optimizer.ask()):
            new = self.store.count
            trials = self._generation(generation, genomes, seed, watch)
            values = np.array([trial.value for trial in trials])
            self.optimizer.tell(values, np.array([self.objective.axes(t) for t in trials]))
            self._inherit(trials, self.store.count > new)
            if self.store.count > new:
                watch_generation(generation, trials)
            generation += 1
        return self.store.best()

    def finals(self, networks: int, seeds: int) -> list[Trial]:
        """Return the further trainings to be done; ``evonas.runs.finals`` tells what they mean.

        Args:
            networks: how many of the best by the search's own results.
            seeds: further seeds of each; those that the journal holds are left out.
        """
        trials = self.store.trials()
        own = {trial.digest: trial for trial in trials if trial.succeeded}
        best = sorted(own.values(), key=lambda trial: trial.value)[:networks]
        done = {(trial.digest, trial.repeat) for trial in trials if trial.status == "final"}
        return [
            changed(trial, status="final", repeat=repeat, error="", parent="")
            for repeat in range(1, seeds + 1)
            for trial in best
            if (trial.digest, repeat) not in done
        ]

    def train_again(
        self, waiting: Sequence[Trial], seed: int, watch: Watch = lambda trial: None
    ) -> None:
        """Do the trainings of ``finals``.

        Args:
            waiting: as ``finals`` returned them.
            seed: of the run.
            watch: is shown every one that is done.
        """
        jobs = [replace(self._job(trial, seed), index=n) for n, trial in enumerate(waiting)]
        for number, measurement in self.executor.evaluate(jobs):
            judged = self._judged(waiting[number], measurement)
            trial = changed(judged, status="final", at=self.store.elapsed)
            self.store.append(trial)
            watch(trial)

    def _inform(self) -> None:
        """Tell the optimizer what was known before the first ask."""
        rows = [row for _, row in sorted(self._rows.pop(-1, {}).items())]
        known = [row for row in rows if row.status == "earlier"]
        if known:
            for row in known:
                self._know(row)
            values = [row.value for row in known]
            axes = [self.objective.axes(row) for row in known]
            self.optimizer.add_observations([row.genome for row in known], values, axes)
        suggested = [row.genome for row in rows if row.status == "suggested"]
        if suggested:
            self.optimizer.enqueue(suggested)

    def _generation(
        self, generation: int, genomes: NDArray[np.float64], seed: int, watch: Watch
    ) -> list[Trial]:
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
                if row.trained:
                    self._know(row)
                digests.add(row.digest)
                continue
            proposal = self._proposal(generation, index, genome)
            if proposal.status == "infeasible":
                trials[index] = self._record(proposal, watch)
            elif proposal.digest in self._known or proposal.digest in digests:
                repeats.append(proposal)
            else:
                digests.add(proposal.digest)
                parent = self.lineage.parent(proposal) if self.lineage else ""
                fresh[index] = changed(proposal, parent=parent)
        trials |= self._trained(fresh, trials, seed, watch)
        for proposal in repeats:
            first = self._known[proposal.digest]
            repeat = changed(
                first, generation=generation, index=proposal.index, genome=proposal.genome
            )
            repeat = changed(repeat, status="repeat", seconds=0.0, epochs=0, rung=None)
            repeat = changed(repeat, parent="", inherited=0.0, curve=())
            trials[proposal.index] = self._record(repeat, watch)
        return [trials[index] for index in range(len(genomes))]

    def _trained(
        self,
        fresh: Mapping[int, Trial],
        done: Mapping[int, Trial],
        seed: int,
        watch: Watch,
    ) -> dict[int, Trial]:
        """Train the new ones of a generation; ``done`` is what the journal holds of it."""
        jobs = self._jobs(fresh.values(), seed)
        if self.race is None:
            return {
                index: self._record(self._judged(fresh[index], measurement), watch)
                for index, measurement in self.executor.evaluate(jobs)
            }
        opened = {
            index: self._judged(fresh[index], measurement)
            for index, measurement in self.executor.evaluate(self.race.first_rung(jobs))
        }
        rungs = {i: trial.rung for i, trial in done.items() if trial.rung is not None}
        rungs |= {i: trial.fitness for i, trial in opened.items() if trial.fitness is not None}
        ahead = self.race.survivors(rungs)
        found = {
            index: self._record(trial, watch)
            for index, trial in opened.items()
            if trial.fitness is None
        }
        for index, measurement in self.executor.evaluate(self.race.second_rung(jobs, ahead)):
            trial = self._judged(fresh[index], measurement)
            seconds = round(trial.seconds + opened[index].seconds, 3)
            found[index] = self._record(changed(trial, seconds=seconds, rung=rungs[index]), watch)
        ended = [trial for trial in (*done.values(), *found.values()) if trial.status == "ok"]
        worst = max((trial.value for trial in ended), default=0.0)
        for index in sorted(opened.keys() - found.keys()):
            trial = changed(opened[index], status="stopped", rung=rungs[index])
            trial = changed(trial, fitness=max(trial.value, worst))
            found[index] = self._record(trial, watch)
        self.race.clear()
        return found

    def _inherit(self, trials: Sequence[Trial], new: bool) -> None:
        """Let a generation that is done become parents; remove what nobody needs any more."""
        if self.lineage is None:
            return
        self.lineage.learn(trials)
        # An old generation that is replayed knows nothing of the parents of later ones.
        if new:
            self.lineage.clear_away()

    def _know(self, trial: Trial) -> None:
        self._known[trial.digest] = trial
        self._lowest = min(self._lowest, trial.value)

    def _check(self, row: Trial, genome: NDArray[np.float64]) -> None:
        """Refuse a row of the journal that is not what was asked in its place.

        That genomes still mean the same networks is held against one in some generations.
        """
        same = row.genome == tuple(genome.tolist())
        if same and (row.index or row.generation % _LOOKED_AT):
            return
        asked = self.space.decode(genome).digest
        if same and row.digest == asked:
            return
        other = "another genome of it" if row.digest == asked else asked
        raise InputError(
            f"the journal does not fit: generation {row.generation}, trial {row.index} is "
            f"{row.digest}, but this optimizer asks {other} there: resume with the "
            f"versions in environment.json, or start a new run"
        )

    def _proposal(self, generation: int, index: int, genome: NDArray[np.float64]) -> Trial:
        architecture = self.space.decode(genome)
        macs = self.cost(architecture)
        return Trial(
            generation,
            index,
            tuple(genome.tolist()),
            architecture.digest,
            architecture.to_dict(),
            "proposed" if self.objective.feasible(macs) else "infeasible",
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
            training=self.training,
            label=f"final, seed {trial.repeat}" if trial.repeat else label,
            history=True,
            latency=self.objective.timed and not trial.latency,  # a final has its network's
        )
        if self.lineage is not None:
            # Finals compare networks, not their ancestors: there all start afresh.
            final = replace(job, training=self.lineage.fresh)
            job = final if trial.repeat else self.lineage.job(job, trial.parent)
        epochs = job.training.epochs
        return replace(job, seed=candidate_seed(seed, trial.digest, epochs, trial.repeat))

    def _judged(self, proposal: Trial, measurement: Measurement) -> Trial:
        if proposal.latency:  # the same network: finals are told apart by their errors alone
            measurement = replace(measurement, latency=proposal.latency)
            measurement = replace(measurement, latency_noise=proposal.latency_noise)
        measurement = _sound(measurement)
        fitness = self.objective(measurement)
        error = measurement.error and f"{measurement.error_kind}: {measurement.error}"
        return changed(
            proposal,
            status=measurement.status,
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
        )

    def _errors(self, measurement: Measurement) -> Iterable[float]:
        return (row[self.objective.metric] for row in measurement.history)

    def _record(self, trial: Trial, watch: Watch) -> Trial:
        trial = changed(trial, at=self.store.elapsed)
        self.store.append(trial)
        if trial.trained:
            self._know(trial)
            self.executor.observe(trial.status, trial.seconds, self._lowest)
        watch(trial)
        return trial


def _asked(trials: Sequence[Trial], dim: int) -> dict[bytes, tuple[str, int]]:
    """Return digest and multiply-adds by the bytes of the genome, as optimizers expect it."""
    whole = [trial for trial in trials if len(trial.genome) == dim]
    points = np.array([trial.genome for trial in whole], dtype=np.float64)
    content, size = points.tobytes(), points.itemsize * dim
    return {
        content[n * size : (n + 1) * size]: (trial.digest, trial.macs)
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


def _sound(measurement: Measurement) -> Measurement:
    """Return a measurement whose metrics are numbers; one where a task gave others is a failure."""
    wrong = {name: x for name, x in measurement.metrics.items() if not abs(x) <= LARGEST}
    if not wrong:
        return measurement
    name, value = next(iter(wrong.items()))
    error = f"the task's metric {name} is {value}, expected a finite number"
    return replace(measurement, status="failed", metrics={}, error_kind="nan", error=error)
