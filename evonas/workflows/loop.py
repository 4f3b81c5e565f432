"""The search loop: ask, decode, train or reuse, evaluate, record, tell; then finals and baselines.

Resuming needs no code of its own: the optimizer is rebuilt from the seed and asks for the same
genomes again, and a trial that is in the journal is not trained twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from evonas.core.settings import FinalsSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.runs.callbacks import Callback
from evonas.runs.finals import due
from evonas.runs.run_store import RunStore, Trial
from evonas.workflows.ask_window import AskWindow
from evonas.workflows.candidates import (
    Candidates,
    SearchComponents,
    candidate_seed,
    identified,
    repeated,
)
from evonas.workflows.paused_trainings import PausedTrainings

__all__ = ["Search", "SearchComponents", "candidate_seed"]

_CHECKED = 8  # a genome is decoded again in one of so many asks of a journal


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
        self._candidates = Candidates(components)
        self._callbacks = callbacks or Callback()
        self._objective, self._executor = components.objective, components.executor
        self._rows: dict[int, dict[int, Trial]] = {}  # of the journal, until they are replayed
        for trial in store.rows():
            if not trial.repeat:
                self._rows.setdefault(trial.generation, {})[trial.index] = trial
        self._expected = identified(store.rows(), components.space.dim, self._objective)
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
        if self._parts.optimizer.window:
            self._run_window(seed)
        else:
            self._run_generations(seed)
        return self._store.best()

    def _run_generations(self, seed: int) -> None:
        """Search by asks that wait for all fitness of the ask before."""
        generation = 0
        while len(genomes := self._ask(generation, bool(self._rows))):
            before = self._store.count
            trials = self._generation(generation, genomes, seed)
            if len(trials) < len(genomes):
                break  # the time is up
            self._tell(trials)
            new = self._store.count > before
            if self._parts.inheritance is not None:
                self._parts.inheritance.learn(trials)
                if new:  # the weights of later parents are still needed during a replay
                    self._parts.inheritance.clear_away()
            if new:
                self._callbacks.on_generation(generation, trials)
            generation += 1
        if self._parts.paused is not None:
            self._parts.paused.clear()

    def _run_window(self, seed: int) -> None:
        """Search by asks that need no fitness of the ``optimizer.window`` - 1 asks before.

        Their trials are of generation 0, with the number of the ask as index.
        """
        window, rows = AskWindow(self._parts.optimizer.window), self._rows.pop(0, {})

        def more() -> list[Job]:
            return [self._candidates.job(trial, seed) for trial in self._asks(window, rows)]

        for number, measurement in self._executor.stream(more):
            trial = self._candidates.evaluated(window.asked[number], measurement)
            window.ended(number, self._record(trial))
        while len(window.asked) > window.told and self._tell_oldest(window):
            pass

    def _asks(self, window: AskWindow, rows: dict[int, Trial]) -> Iterator[Trial]:
        """Ask as often as the window allows; yield what is to be trained."""
        time, workers = self._parts.time, self._executor.workers
        while True:
            while window.full and self._tell_oldest(window):
                pass
            unknown = time is not None and not time.measured and window.waiting >= workers
            if window.full or unknown:
                return
            number, replayed = len(window.asked), bool(rows)
            genomes = self._ask(number, replayed, window.waiting)
            if not len(genomes):
                return
            waiting = {trial.digest for trial in window.asked[window.told :]}
            trial, state = self._considered(0, number, genomes[0], rows.pop(number, None), waiting)
            if replayed and not rows:
                self._expected.clear()
            window.asked.append(trial)
            if state == "done":
                window.ended(number, trial)
            elif state == "fresh":
                yield trial

    def _tell_oldest(self, window: AskWindow) -> bool:
        """Report the result of the oldest ask to the optimizer; return whether there is one."""
        trial, result = window.oldest()
        first = self._known.get(trial.digest)
        if result is None and first is not None:  # a repeat
            result = self._record(repeated(first, trial))
            window.ended(window.told, result)
        if result is None:
            return False
        self._tell([result])
        if result is not trial:  # it is new
            self._callbacks.on_generation(window.told, [result])
        window.tell()
        return True

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
            rows = sorted(waiting, key=lambda trial: -trial.macs)  # as ``Candidates.jobs``
            if folds := self._parts.final_folds:
                rows = [changed(row, fold=(row.repeat - 1) % folds + 1) for row in rows]
            jobs = [self._candidates.job(trial, seed) for trial in rows]
            jobs = [replace(job, index=number) for number, job in enumerate(jobs)]
            for number, measurement in self._executor.evaluate(jobs):
                trial = self._candidates.evaluated(rows[number], measurement)
                trial = changed(trial, status="final", at=self._store.elapsed)
                self._store.append(trial)
                self._callbacks.on_trial(trial)
            waiting, _ = due(self._store.trials(), settings)

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

    def _tell(self, trials: Sequence[Trial]) -> None:
        """Report the trials of an ask to the optimizer."""
        axes = np.array([self._objective.axes(trial) for trial in trials])
        values = np.array([trial.value for trial in trials])
        curves = None
        if self._parts.paused is not None:
            known = [self._known.get(trial.digest, trial) for trial in trials]
            curves = [self._candidates.fitness_curve(trial) for trial in known]
        self._parts.optimizer.tell(values, axes, curves)

    def _ask(self, ask: int, replayed: bool, pending: int = 0) -> NDArray[np.float64]:
        """Return the genomes of an ask, none if the search ends: as many as fit its minutes.

        Args:
            ask: its number.
            replayed: whether the journal has trials of this ask or a later one.
            pending: earlier networks that are not trained yet.
        """
        optimizer, time = self._parts.optimizer, self._parts.time
        if time is None or optimizer.stop_reason:
            return optimizer.ask()
        nothing = np.empty((0, self._parts.space.dim))
        fits = 0 if time.limited else time.at_ask(ask, replayed, pending)
        optimizer.limit(fits)
        genomes = nothing if fits == 0 else optimizer.ask()
        reached = fits is not None and optimizer.limit_reached
        # While trainings are under way, it may still turn out that another one fits.
        if reached and optimizer.trained < optimizer.budget and not pending and not time.limited:
            time.limit(ask, fits or 0)
        return genomes

    def _generation(self, generation: int, genomes: NDArray[np.float64], seed: int) -> list[Trial]:
        """Evaluate the genomes of a generation; return one trial for each, in order.

        If the time is up before all are trained, those before the first that was not.
        """
        trials: dict[int, Trial] = {}
        fresh: dict[int, Trial] = {}
        repeats: list[Trial] = []
        digests: set[str] = set()
        rows = self._rows.pop(generation, {})
        if not self._rows:
            self._expected.clear()
        for index, genome in enumerate(genomes):
            row = rows.get(index)
            trial, state = self._considered(generation, index, genome, row, digests)
            if state == "repeat":
                repeats.append(trial)
                continue
            digests.add(trial.digest)
            if state == "done":
                trials[index] = trial
            else:
                inheritance = self._parts.inheritance
                parent = inheritance.parent(trial) if inheritance else ""
                fresh[index] = changed(trial, parent=parent)
        trials |= self._trained(generation, fresh, trials, seed)
        missing = min((index for index in fresh if index not in trials), default=len(genomes))
        for proposal in (one for one in repeats if one.index < missing):
            trials[proposal.index] = self._record(repeated(self._known[proposal.digest], proposal))
        return [trials[index] for index in range(missing)]

    def _considered(
        self,
        generation: int,
        index: int,
        genome: NDArray[np.float64],
        row: Trial | None,
        waiting: Collection[str],
    ) -> tuple[Trial, Literal["done", "repeat", "fresh"]]:
        """Return a genome's trial, and whether it is done, repeats another, or is to be trained.

        Args:
            generation, index: its place.
            genome: as asked.
            row: its trial in the journal; None: there is none.
            waiting: digests that were asked before it and have no result yet.
        """
        if row is not None:
            self._check(row, genome)
            if row.settled:
                self._know(row)
            return row, "done"
        proposal = self._candidates.proposal(generation, index, genome)
        if proposal.status == "infeasible":
            return self._record(proposal), "done"
        known = self._known.get(proposal.digest)
        goes_on = self._parts.paused is not None and known is not None and known.status == "stopped"
        if proposal.digest in waiting or (known is not None and not goes_on):
            return proposal, "repeat"
        return proposal, "fresh"

    def _trained(
        self, generation: int, fresh: Mapping[int, Trial], done: Mapping[int, Trial], seed: int
    ) -> dict[int, Trial]:
        """Train the new candidates of a generation; ``done``: its trials in the journal."""
        jobs, race = self._candidates.jobs(fresh.values(), seed), self._parts.race
        evaluated = self._candidates.evaluated
        if self._parts.paused is not None:
            return self._next_steps(generation, fresh, done, seed, self._parts.paused)
        if race is None:
            return {
                index: self._record(evaluated(fresh[index], measurement))
                for index, measurement in self._measured(generation, jobs, done)
            }
        opened = {
            index: evaluated(fresh[index], measurement)
            for index, measurement in self._executor.evaluate(race.first_rung(jobs))
        }
        rungs = {i: trial.rung for i, trial in done.items() if trial.rung is not None}
        rungs |= {i: trial.fitness for i, trial in opened.items() if trial.fitness is not None}
        survivors = race.survivors(rungs)
        found = {
            index: self._record(trial) for index, trial in opened.items() if trial.fitness is None
        }
        for index, measurement in self._executor.evaluate(race.second_rung(jobs, survivors)):
            trial = evaluated(fresh[index], measurement)
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

    def _next_steps(
        self,
        generation: int,
        fresh: Mapping[int, Trial],
        done: Mapping[int, Trial],
        seed: int,
        paused: PausedTrainings,
    ) -> dict[int, Trial]:
        """Train the candidates of a generation up to their next steps."""
        before = {index: self._known.get(trial.digest) for index, trial in fresh.items()}
        jobs = [
            paused.next_step(job, before[job.index])
            for job in self._candidates.jobs(fresh.values(), seed)
        ]
        found: dict[int, Trial] = {}
        for index, measurement in self._measured(generation, jobs, done):
            trial = self._candidates.evaluated(fresh[index], measurement)
            earlier = before[index]
            if earlier is not None:
                trial = changed(trial, seconds=round(trial.seconds + earlier.seconds, 3))
            if trial.status == "ok" and trial.epochs < self._parts.training.epochs:
                trial = changed(trial, status="stopped")
            else:
                paused.ended(trial.digest)
            found[index] = self._record(trial)
        return found

    def _measured(
        self, generation: int, jobs: Sequence[Job], done: Mapping[int, Trial]
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield index and measurement of the jobs of a generation that fit its minutes."""
        known = [index for index, trial in done.items() if trial.trained]
        time = self._parts.time
        for part in [jobs] if time is None else time.parts(generation, jobs, known):
            yield from self._executor.evaluate(part)

    def _know(self, trial: Trial) -> None:
        self._known[trial.digest] = trial
        self._lowest = min(self._lowest, trial.value)

    def _check(self, row: Trial, genome: NDArray[np.float64]) -> None:
        """Refuse a trial of the journal whose genome is not the one that the optimizer asks for.

        Whether genomes still decode to the same networks is checked in some asks only.
        """
        same = row.genome == tuple(genome.tolist())
        ask = row.index if self._parts.optimizer.window else row.generation
        if same and (ask % _CHECKED or row.index != (ask if self._parts.optimizer.window else 0)):
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

    def _record(self, trial: Trial) -> Trial:
        trial = changed(trial, at=self._store.elapsed)
        self._store.append(trial)
        if trial.settled:
            self._know(trial)
        if trial.trained:
            self._executor.observe(trial.status, trial.seconds, self._lowest)
        self._callbacks.on_trial(trial)
        return trial
