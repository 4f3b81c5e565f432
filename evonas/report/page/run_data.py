"""Run: the files of a run directory as a report reads them, during a search or after it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from evonas.core.files import read_json, read_yaml
from evonas.core.settings import FinalsSettings
from evonas.core.short_forms import in_macs
from evonas.errors import InputError
from evonas.runs.clock_decisions import ClockDecision
from evonas.runs.comparison_schemas import Comparison, read_tests
from evonas.runs.file_schemas import (
    Best,
    Environment,
    ExperimentFile,
    Metrics,
    Progress,
    Utilisation,
    checked,
)
from evonas.runs.finals import Finalist, Outcome, decided, settings_of, statistically_tied
from evonas.runs.pareto import nondominated
from evonas.runs.run_store import LARGEST, Trial, is_open, read_lines
from evonas.space import SearchSpace

Schema = TypeVar("Schema")

_ABSOLUTE = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\",;()]+[/\\])+")


def portable(value: Any) -> Any:
    """Return plain data without the folders of this machine: ``/a/b/c.csv`` is ``.../c.csv``."""
    if isinstance(value, str):
        return _ABSOLUTE.sub(".../", value)
    if isinstance(value, Mapping):
        return {key: portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [portable(one) for one in value]
    return value


@dataclass(frozen=True)
class Run:
    """Content of the files of a run; all but the journal may be missing, and are then empty.

    Attributes:
        name: name of the run directory.
        trials: trials of the journal, sorted.
        state: ``running``, ``finished`` or ``stopped``.
        experiment: content of experiment.yaml.
        environment: content of environment.json.
        best: content of best.json.
        usage: content of utilisation.json.
        progress: content of progress.json.
        retrained: content of retrained/comparison.json.
        tested: content of retrained/test.json.
        decisions: of the clock, of a run with a budget in minutes.
    """

    name: str
    trials: Sequence[Trial]
    state: str = "finished"
    experiment: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    retrained: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[ClockDecision] = ()
    tested: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run directory; its search may be running.

        Raises:
            InputError: there is no run, its journal or a file is damaged, or it has no trial yet.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such run: give the folder of a search")
        trials, decisions = read_lines(folder)
        if not trials:
            raise InputError(
                f"{folder}: no trial has finished yet: wait for the first, or read log.txt there"
            )
        return cls.of(folder, trials, decisions)

    @classmethod
    def of(
        cls, folder: Path, trials: Sequence[Trial], decisions: Sequence[ClockDecision] = ()
    ) -> Run:
        """Return the run of a directory whose journal was read already.

        Args:
            folder: the run directory.
            trials: of its journal, sorted; at least one.
            decisions: of its journal.

        Raises:
            InputError: a file is damaged, or files are of different runs.
        """

        def content(name: str, schema: type[Schema], place: Path = folder) -> Schema:
            file = place / name
            if not file.is_file():
                return cast(Schema, {})
            found = in_macs(read_yaml(file)) if file.suffix == ".yaml" else read_json(file)
            return checked(found, schema, file)

        best = content("best.json", Best)
        for baseline in best.get("baselines", []):
            baseline["metrics"] = _known(baseline.get("metrics", {}))
        # The steps of `evonas fit` lie side by side: search, retrained.
        networks = (folder if folder.name != "search" else folder.parent) / "retrained"
        networks = networks if networks.is_dir() else folder / "retrained"
        retrained = content("comparison.json", Comparison, networks)
        for contender in retrained.get("contenders", []):
            contender["results"] = [_known(one) for one in contender["results"]]
        results = networks / "test.json"
        tested = read_tests(results) if retrained and results.is_file() else []
        for result in tested:
            result["repeats"] = [_known(one) for one in result["repeats"]]
        state = "finished" if "baselines" in best else "stopped"
        run = cls(
            name=folder.resolve().name,
            trials=trials,
            state="running" if is_open(folder) else state,
            experiment=content("experiment.yaml", ExperimentFile),
            environment=content("environment.json", Environment),
            best=best,
            usage=content("utilisation.json", Utilisation),
            progress=content("progress.json", Progress),
            retrained=retrained,
            tested=tested,
            decisions=decisions,
        )
        run._check_consistency(folder)
        return run

    def _check_consistency(self, folder: Path) -> None:
        """Refuse files that are valid each, but of different runs.

        Raises:
            InputError: a result lacks the metric that counts as the error, or a network is none
                of the search space.
        """
        metric, space = self.error[0], self.space
        for trial in self.trials:
            if trial.fitness is None:
                continue
            figures = (trial.fitness, *trial.metrics.values(), *trial.curve, *trial.losses)
            if any(abs(figure) > LARGEST for figure in figures):
                raise InputError(
                    f"{folder / 'journal.jsonl'}: network {trial.digest} has figures beyond "
                    f"{LARGEST:g}, which no search writes: restore the file"
                )
            if metric not in trial.metrics:
                raise InputError(
                    f"{folder / 'journal.jsonl'}: network {trial.digest} has no {metric!r}, which "
                    "environment.json calls the error: restore the files of one run"
                )
            for gene in space.genes if space else ():
                settings = trial.architecture["settings"]
                if gene.name in settings and not gene.takes(settings[gene.name]):
                    raise InputError(
                        f"{folder / 'journal.jsonl'}: network {trial.digest} is none of the space "
                        f"in environment.json ({gene.name}): restore the files of one run"
                    )

    @cached_property
    def error(self) -> tuple[str, str]:
        """Name and unit of the metric that counts as the error."""
        metric = self.environment.get("error", {})
        names = next((list(trial.metrics) for trial in self.trials if trial.metrics), ["error"])
        return str(metric.get("metric", names[0])), str(metric.get("unit", ""))

    @property
    def axis(self) -> str:
        """The error with its unit, for an axis."""
        metric, unit = self.error
        return f"{metric}, {unit}" if unit else metric

    def error_of(self, trial: Trial) -> float | None:
        """Return the error of a trial; None if it has none."""
        return trial.metrics.get(self.error[0])

    @cached_property
    def networks(self) -> list[Trial]:
        """The distinct networks that have a result, each once, in order."""
        known: dict[str, Trial] = {}
        for trial in self.trials:
            if trial.status in ("ok", "earlier", "stopped") and self.error_of(trial) is not None:
                known.setdefault(trial.digest, trial)
        return list(known.values())

    @cached_property
    def trained(self) -> list[Trial]:
        """The trials that cost a training, in the order in which they were asked for."""
        return [trial for trial in self.trials if trial.trained]

    @property
    def budget(self) -> int:
        """Distinct trainings that the run may have; those it had where no number is known."""
        return int(self.experiment.get("budget") or len(self.trained))

    @property
    def finalists(self) -> list[Finalist]:
        """The networks that were trained again, the winner first; see ``rank_finalists``."""
        return self.outcome.finalists

    @cached_property
    def outcome(self) -> Outcome:
        """The outcome of the finals by the journal, with the winner that best.json names."""
        found = Outcome.of(self.trials, self.finals, self.error[0], self.cost_of)
        digest = self.best.get("digest")
        named = sorted(found.finalists, key=lambda one: one.trial.digest != digest)  # stable
        if named[:1] == found.finalists[:1]:
            return found
        tied = statistically_tied(named, self.trials, self.error[0], self.cost_of)
        return Outcome(named, tied, None)  # another rule named it, or the finals are not over

    @cached_property
    def finals(self) -> FinalsSettings | None:
        """Settings of the finals; None without experiment.yaml."""
        settings = settings_of(self.experiment.get("finals", {}))
        minutes = self.experiment.get("minutes")
        return settings and decided(settings, self.trials, self.decisions, minutes)

    @property
    def front(self) -> list[Trial]:
        """The networks that no other beats in error and multiply-adds, the cheapest first."""
        return self.front_of("macs")

    def front_of(self, cost: str) -> list[Trial]:
        """Return the networks that no other beats in error and a cost, the cheapest first.

        Args:
            cost: ``macs`` or ``latency``.
        """
        if cost not in self._fronts:
            known = [trial for trial in self.networks if trial.status != "stopped"]
            known = [trial for trial in known if cost == "macs" or trial.latency]
            rows = [(self.error_of(trial), self.cost_of(trial, cost)) for trial in known]
            chosen = nondominated(np.array(rows, np.float64).reshape(-1, 2))
            kept = [known[i] for i in chosen]
            self._fronts[cost] = sorted(kept, key=lambda trial: self.cost_of(trial, cost))
        return self._fronts[cost]

    @cached_property
    def _fronts(self) -> dict[str, list[Trial]]:
        return {}

    @property
    def replayed(self) -> bool:
        """Whether answers came from a table of finished trainings."""
        return bool(self.experiment.get("table"))

    @property
    def penalised(self) -> str:
        """What counts as the cost: ``macs``, ``params`` or ``latency``."""
        return str(self.experiment.get("objective", {}).get("cost", "macs"))

    @property
    def counts(self) -> str:
        """Whether costs are those of the ``head``, or the ``total`` up to its tap."""
        return str(self.experiment.get("objective", {}).get("counts", "head"))

    def cost_of(self, trial: Trial, name: str = "") -> float:
        """Return a cost of a network as the objective counts it.

        Args:
            trial: of the network.
            name: ``macs``, ``params`` or ``latency``; empty: the penalised one.
        """
        tap = trial.architecture.get("settings", {}).get("tap", self.experiment.get("tap"))
        own = float(getattr(trial, name or self.penalised))
        return own + self.under(str(tap), name or self.penalised)

    def under(self, tap: str, name: str) -> float:
        """Return what the backbone up to a tap adds to a cost: 0 where the head alone counts."""
        known = self.environment.get("up_to_taps", {}) if self.counts == "total" else {}
        return float(known.get(tap, {}).get(name, 0))

    @cached_property
    def space(self) -> SearchSpace | None:
        """The search space; None if no file says."""
        plain = self.environment.get("space") or self.best.get("space")
        return SearchSpace.from_dict(plain, f"{self.name}, the space of the run") if plain else None


def _known(metrics: Metrics) -> Metrics:
    """Return the metrics that have a value."""
    return {name: x for name, x in metrics.items() if x is not None and not math.isnan(x)}
