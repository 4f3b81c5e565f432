"""Warm start: begin a search with the trials of another run (``evonas search --from RUN``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.files import read_json
from evonas.core.settings import ObjectiveSettings
from evonas.errors import InputError
from evonas.estimation.objective import Objective
from evonas.runs.file_schemas import Environment, checked
from evonas.runs.run_store import Trial, read_journal
from evonas.space import Architecture, SearchSpace

#: Keys that may differ without making a result invalid: those of the search and of the objective.
#: The error is none of them: it chose the epoch that counts, and no other epoch was measured.
SEARCHING = (
    *("name", "seed", "optimizer", "space", "recipe", "tap_prior", "fidelity"),
    "initial_designs",
    *("finals", "retraining"),
    *(f"objective.{name}" for name in ObjectiveSettings.model_fields if name != "error"),
    *("baselines", "standard_baselines", "budget", "minutes", "execution"),
    *("features.cache", "table.file"),
    *("probe", "prune", "quantize", "report", "logger"),
)
#: Networks that are trained again where results are not valid here: their largest number, and
#: their largest fraction of the budget.
SUGGESTIONS, SHARE = 10, 0.25


@dataclass(frozen=True)
class WarmStart:
    """Trials of another run, as this one may use them.

    Attributes:
        trials: with status ``earlier``, or ``suggested`` if their results are not valid here.
        differences: why results are not valid; empty if they are.
        left_out: number of architectures outside the space or the limit of this run.
    """

    trials: tuple[Trial, ...]
    differences: tuple[str, ...]
    left_out: int

    def statement(self, folder: Path) -> str:
        """Return a line for people."""
        outside = f"; {self.left_out} are outside this space or limit" if self.left_out else ""
        if not self.differences:
            return f"Begins with {len(self.trials)} trained networks of {folder}{outside}."
        return (
            f"The results of {folder} do not hold here ({'; '.join(self.differences)}): "
            f"{len(self.trials)} of its best are trained again, first{outside}."
        )


def warm_start(
    folder: Path,
    experiment: Experiment,
    fingerprints: Mapping[str, str],
    space: SearchSpace,
    objective: Objective,
) -> WarmStart:
    """Return the trials of another run for this one.

    Results are taken over, with this run's objective, where data, backbone, task and training
    are the same; otherwise the best architectures alone, to be trained again.

    Args:
        folder: the other run directory.
        experiment: of this run.
        fingerprints: of its data and backbone.
        space: of this run; architectures outside are left out.
        objective: of this run; architectures over its limit are left out.

    Raises:
        InputError: the folder holds no run, or nothing in it fits this space.
    """
    if not (folder / "experiment.yaml").is_file():
        raise InputError(f"--from {folder}: expected the folder of a run, found no experiment.yaml")
    before = config.load(folder / "experiment.yaml")
    found = config.differences(
        before.model_dump(mode="json"), experiment.model_dump(mode="json"), free=SEARCHING
    )
    file = folder / "environment.json"
    environment = checked(read_json(file), Environment, file)
    found += [f"the {key}" for key, known in fingerprints.items() if environment.get(key) != known]
    placed: dict[str, Trial] = {}
    outside = set()
    for trial in read_journal(folder):
        stopped = trial.status == "stopped"  # its result is that of the first rung
        if stopped or not (trial.trained or trial.status == "earlier") or trial.digest in placed:
            continue
        moved = _placed(trial, space)
        if moved is None or not _admitted(trial, objective):
            outside.add(trial.digest)
        else:
            placed[trial.digest] = moved
    trials = sorted(placed.values(), key=lambda trial: _fitness(trial, objective))
    if found:
        most = min(SUGGESTIONS, max(1, int(SHARE * experiment.budget)))
        trials = [trial for trial in trials if trial.fitness is not None][:most]
    if not placed and outside:
        raise InputError(
            f"--from {folder}: none of its networks fits space {space.name!r} and its limit: "
            f"start without it"
        )
    if not trials:
        raise InputError(f"--from {folder}: it trained no network successfully: start without it")
    return WarmStart(
        tuple(_taken(trial, i, objective, bool(found)) for i, trial in enumerate(trials)),
        tuple(found),
        len(outside),
    )


def _placed(trial: Trial, space: SearchSpace) -> Trial | None:
    """Return a trial with its genome in this space; None if the architecture is outside."""
    try:
        genome = space.encode(Architecture.from_dict(trial.architecture))
    except InputError:
        return None
    return replace(trial, genome=tuple(genome.tolist()))


def _taken(trial: Trial, index: int, objective: Objective, again: bool) -> Trial:
    nothing: dict[str, Any] = {"generation": -1, "index": index, "seconds": 0.0}
    if again:
        return replace(trial, **nothing, status="suggested", fitness=None, metrics={})
    fitness = _fitness(trial, objective)
    known = fitness if math.isfinite(fitness) else None
    return replace(trial, **nothing, status="earlier", fitness=known)


def _fitness(trial: Trial, objective: Objective) -> float:
    """Return the fitness by this run's objective, or the recorded one of another metric."""
    error = trial.metrics.get(objective.metric)
    return (
        trial.value
        if error is None
        else error * objective.penalty(*objective.counted(trial, trial.architecture), trial.latency)
    )


def _admitted(trial: Trial, objective: Objective) -> bool:
    """Return whether a trial is within all limits, as far as its latency was measured."""
    most = objective.settings.max_ms
    slow = most is not None and trial.latency > most
    return not slow and objective.admits(Architecture.from_dict(trial.architecture), trial.macs)
