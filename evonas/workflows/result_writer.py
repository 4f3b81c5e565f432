"""Result writer: keeps best.json and front.json of a search up to date."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import le
from typing import Any, cast

from evonas.core.experiment import Experiment
from evonas.core.version import __version__
from evonas.errors import InputError
from evonas.estimation.cost.limits import limits_text
from evonas.report import search_summary
from evonas.report.price import price
from evonas.runs import result_files
from evonas.runs.callbacks import Callback, SearchStart, TrainedBaseline
from evonas.runs.file_schemas import BackboneCost, Baseline, Block, SearchFile
from evonas.runs.finals import Finalist, Outcome, decided
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture
from evonas.workflows.base_components import BaseComponents


class ResultWriter(Callback):
    """Writes best.json and front.json whenever a trial changes them, so a stopped run has both.

    Args:
        store: the run directory.
        experiment: the resolved experiment.
        components: its components.
        say: receives the lines of the summary at the end.
    """

    def __init__(
        self,
        store: RunStore,
        experiment: Experiment,
        components: BaseComponents,
        say: Callable[[str], None],
    ) -> None:
        self._store, self._components, self._say = store, components, say
        self._objective = components.objective
        self._finals, self._minutes = experiment.finals, experiment.minutes
        self._best: Trial | None = None
        self._front: list[Trial] = []
        self._edge: list[tuple[float, ...]] = []  # axes of the front
        self._baselines: list[TrainedBaseline] = []
        self._stale: set[str] = set()  # files that differ from the state
        common = {
            "experiment": experiment.model_dump(mode="json"),
            "space": components.space.to_dict(),
            **components.fingerprints(),
            "seed": experiment.seed,
            "evonas": __version__,
        }
        self._common = cast(SearchFile, common)

    def on_start(self, start: SearchStart) -> None:
        """Write the files of the trials in the journal, in one step."""
        if known := [trial for trial in start.trials if trial.succeeded]:
            self._best = min(known, key=lambda trial: trial.value)
            self._set_front(result_files.front(known, self._objective))
            self._stale = {"best.json", "front.json"}
        self._write_stale()

    def on_trial(self, trial: Trial) -> None:
        """Write the files that a trial changes."""
        if trial.error and trial.status in ("failed", "final"):
            self._store.log(f"{trial.digest} failed: {trial.error}")
        if trial.succeeded:
            if trial.value < (math.inf if self._best is None else self._best.value):
                self._best = trial
                self._stale.add("best.json")
            if self._changes_front(trial):
                self._stale.add("front.json")
        self._write_stale()

    def on_baseline(self, baseline: TrainedBaseline) -> None:
        """Keep a baseline for best.json."""
        self._baselines.append(baseline)

    def on_end(self, result: Any) -> None:
        """Write both files with finals and baselines, and say a summary.

        Raises:
            InputError: no network was trained successfully.
        """
        trials, objective = self._store.trials(), self._objective
        metric, unit = self._components.error
        finals = decided(self._finals, trials, self._store.decisions, self._minutes)
        outcome = Outcome.of(trials, finals, metric, objective.cost_of)
        finalists = outcome.finalists
        if not finalists:
            errors = [trial.error for trial in trials if trial.error]
            raise InputError(
                f"{self._store.folder}: no network was trained successfully; the first error: "
                f"{errors[0] if errors else 'none'}"
            )
        limits = limits_text(objective.settings.model_dump())
        self._common["baselines"] = [_entry(one) for one in self._baselines]
        rivals = self._baselines
        self._common["verdict"] = search_summary.search_verdict(
            finalists, rivals, metric, unit, limits
        )
        winner = finalists[0].trial
        under = self._components.backbone_cost(Architecture.from_dict(winner.architecture))
        self._write_best(finalists, outcome.cheaper, under)
        self._write_front()
        for line in (
            *search_summary.winner(finalists, metric, unit, self._components.constant),
            search_summary.reason(outcome, finals, metric),
            search_summary.failed_finals(trials),
            search_summary.statistically_tied(outcome, metric, str(self._store.folder)),
            search_summary.front(self._front, metric, unit, objective.settings.axes),
            *search_summary.baselines(rivals, metric, unit, limits),
            price(winner.macs, winner.params, under, objective.settings.counts),
            *self._components.warnings(),
        ):
            if line:
                self._say(line)

    def _changes_front(self, trial: Trial) -> bool:
        """Update the front with a trial; return whether it changed."""
        own = self._objective.axes(trial)
        if any(all(map(le, other, own)) for other in self._edge):
            return False  # as nearly all are: computing the front itself takes longer
        before = self._front
        self._set_front(result_files.front([*before, trial], self._objective))
        return before != self._front

    def _set_front(self, front: Sequence[Trial]) -> None:
        self._front = list(front)
        self._edge = [self._objective.axes(other) for other in front]

    def _write_stale(self) -> None:
        if "best.json" in self._stale and self._best is not None:
            self._store.log(f"{self._best.digest} is the best so far: {self._best.value}")
            self._write_best([Finalist(self._best)], [])
        if "front.json" in self._stale:
            self._write_front()
        self._stale.clear()

    def _write_best(
        self,
        finalists: Sequence[Finalist],
        tied: Sequence[Finalist],
        under: BackboneCost | None = None,
    ) -> None:
        architecture = Architecture.from_dict(finalists[0].trial.architecture)
        blocks = [cast(Block, one.to_dict()) for one in self._components.blocks(architecture)]
        content = result_files.best(finalists, tied, self._common, blocks, under)
        self._store.write("best.json", content)

    def _write_front(self) -> None:
        content = result_files.front_file(self._front, self._objective, self._common)
        self._store.write("front.json", content)


def _entry(baseline: TrainedBaseline) -> Baseline:
    """Return a baseline as best.json holds it."""
    measured = baseline.measurement
    entry: Baseline = {
        "name": baseline.name,
        "digest": baseline.digest,
        "metrics": dict(measured.metrics),
        "macs": measured.macs,
        "params": measured.params,
        "latency_ms": measured.latency,
        "failed": measured.error,
        "over_limit": baseline.over_limit,
        "note": baseline.note,
    }
    if baseline.further:
        entry["further"] = [dict(result) for result in baseline.further]
    return entry
