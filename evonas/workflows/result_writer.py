"""best.json and front.json of a running search, and lineage.svg of one that is done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import le

from evonas.core.experiment import Experiment
from evonas.core.version import __version__
from evonas.errors import InputError
from evonas.estimation.measurement import Measurement
from evonas.report import search_summary as outcome
from evonas.report.lineage import figure as lineage
from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.runs import result_files as results
from evonas.runs.finals import Finalist, rank_finalists, statistically_tied
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture
from evonas.workflows.components import Assembly
from evonas.workflows.tabular_benchmark import TabularBenchmark

Plan = Assembly | TabularBenchmark
Rival = tuple[str, str, Measurement]  # a name, a digest, what a brief training gave


def plan(experiment: Experiment) -> Plan:
    """Return what answers the questions of a search: its table, or all parts of trainings."""
    return TabularBenchmark(experiment) if experiment.table else Assembly(experiment)


class RunFiles:
    """Keeps both files up to date, so that a run that was stopped has them.

    Args:
        store: of the run.
        experiment: as it runs.
        assembly: of it.
    """

    def __init__(self, store: RunStore, experiment: Experiment, assembly: Plan) -> None:
        self._store, self._assembly = store, assembly
        self._networks = experiment.finals.networks or None
        self._best: Trial | None = None
        self._winner = ""
        self._front: list[Trial] = []
        self._edge: list[tuple[float, ...]] = []  # the front's axes
        self._stale: set[str] = set()  # files that what was noted has changed
        self._common = {
            "experiment": experiment.model_dump(mode="json"),
            "space": assembly.space.to_dict(),
            **assembly.origin(),
            "seed": experiment.seed,
            "evonas": __version__,
        }

    def note(self, trial: Trial) -> None:
        """Take note of a new trial; write what changes with it."""
        if trial.error and trial.status in ("failed", "final"):
            self._store.log(f"{trial.digest} failed: {trial.error}")
        if trial.succeeded:
            if trial.value < (math.inf if self._best is None else self._best.value):
                self._best = trial
                self._stale.add("best.json")
            if self._on_front(trial):
                self._stale.add("front.json")
        self._write_stale()

    def catch_up(self, known: Sequence[Trial]) -> None:
        """Take note of what the journal holds in one step, before anything new."""
        if known := [trial for trial in known if trial.succeeded]:
            self._best = min(known, key=lambda trial: trial.value)
            self._set_front(results.front(known, self._assembly.objective))
            self._stale = {"best.json", "front.json"}
        self._write_stale()

    def _on_front(self, trial: Trial) -> bool:
        """Whether a trial changes the front, which it then does."""
        own = self._assembly.objective.axes(trial)
        if any(all(map(le, other, own)) for other in self._edge):
            return False  # as nearly all are: the front itself is dearer to find
        before = self._front
        self._set_front(results.front([*before, trial], self._assembly.objective))
        return before != self._front

    def _set_front(self, front: list[Trial]) -> None:
        self._front = front
        self._edge = [self._assembly.objective.axes(other) for other in front]

    def _write_stale(self) -> None:
        if "best.json" in self._stale and self._best is not None:
            self._store.log(f"{self._best.digest} is the best so far: {self._best.value}")
            self._write_best([Finalist(self._best)], [])
        if "front.json" in self._stale:
            self._write_front()
        self._stale.clear()

    def finish(self, rivals: list[Rival]) -> Iterator[str]:
        """Write both files as they stay, and yield what there is to say.

        Raises:
            InputError: no network was trained successfully.
        """
        trials, objective = self._store.trials(), self._assembly.objective
        finalists = rank_finalists(trials, self._networks)
        if not finalists:
            raise InputError(self._nothing())
        metric, unit = self._assembly.error
        cheaper = statistically_tied(finalists, trials, metric, objective.settings.cost)
        self._common["baselines"] = [
            {
                "name": name,
                "digest": digest,
                "metrics": dict(found.metrics),
                "macs": found.macs,
                "params": found.params,
                "latency_ms": found.latency,
                "failed": found.error,
            }
            for name, digest, found in rivals
        ]
        self._winner = finalists[0].trial.digest
        self._write_best(finalists, cheaper)
        self._write_front()
        yield from outcome.winner(finalists, metric, unit, self._assembly.constant)
        lines = [
            outcome.failed_finals(trials),
            outcome.statistically_tied(finalists, cheaper, metric),
        ]
        yield from filter(None, lines)
        yield outcome.front(self._front, metric, unit, objective.settings.axes)
        yield from outcome.baselines(rivals, metric, unit)

    def draw_lineage(self) -> Iterator[str]:
        """Draw who was made from whom, if anyone was, and yield a line that says so."""
        folder = self._store.folder
        path, name = folder / "lineage.svg", folder.absolute().name
        try:
            drawn = lineage.draw(self._store.trials(), path, name, self._winner)
        except Exception as error:  # whatever it is: a search is not lost for a picture
            reason = f"lineage.svg could not be drawn ({type(error).__name__}: {error})"
            self._store.log(reason)
            yield f"{reason}; evonas lineage {folder} tries again."
            return
        if drawn:
            yield f"Lineage: who was made from whom, and what changed: {drawn}."

    def report(self) -> str:
        """Write report.html and return a line that says so."""
        folder = self._store.folder
        path = folder / writer.FILE
        try:
            writer.write(path, [replace(Run.read(folder), state="finished")])
        except Exception as error:  # as above
            reason = f"{path.name} could not be written ({type(error).__name__}: {error})"
            self._store.log(reason)
            return f"{reason}; evonas report {folder} tries again."
        return f"Report: {path} opens in a browser."

    def _write_best(self, finalists: list[Finalist], cheaper: list[Finalist]) -> None:
        architecture = Architecture.from_dict(finalists[0].trial.architecture)
        blocks = [block.to_dict() for block in self._assembly.blocks(architecture)]
        content = results.best(finalists, cheaper, self._common)
        self._store.write("best.json", {**content, "blocks": blocks})

    def _write_front(self) -> None:
        content = results.front_file(self._front, self._assembly.objective, self._common)
        self._store.write("front.json", content)

    def _nothing(self) -> str:
        errors = [trial.error for trial in self._store.trials() if trial.error]
        return (
            f"{self._store.folder}: no network was trained successfully; the first error: "
            f"{errors[0] if errors else 'none'}"
        )
