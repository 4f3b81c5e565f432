"""``evonas.search``: from an experiment to its result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import cast

import yaml

from evonas.api.resuming import (
    already_searched,
    announced,
    check_same,
    check_start,
    resumable,
    stored,
)
from evonas.api.search_result import SearchResult
from evonas.core import budget as budgets
from evonas.core import experiment as config
from evonas.core.experiment import Experiment, Part
from evonas.core.version import __version__
from evonas.errors import InputError
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.features.feature_cache import Progress
from evonas.optimizers.base import Optimizer
from evonas.report.live_view import duration
from evonas.report.result_pages import LineageFigure, ReportPage
from evonas.runs.callbacks import Callback, CallbackList, SearchStart
from evonas.runs.file_schemas import Environment, checked
from evonas.runs.finals import Outcome, decided, planned
from evonas.runs.logger_group import Loggers
from evonas.runs.progress_file import ProgressFile
from evonas.runs.run_store import RunStore, Trial
from evonas.runs.stop_request import StopRequest
from evonas.runs.training_record import FILE, TrainingRecord
from evonas.workflows.ask_window import check_window
from evonas.workflows.base_components import BaseComponents, Ready
from evonas.workflows.baseline_stage import BaselineStage
from evonas.workflows.components import components_of
from evonas.workflows.feasibility import check_limits, cost_statement
from evonas.workflows.loop import Search, SearchComponents
from evonas.workflows.paused_trainings import statement
from evonas.workflows.result_writer import ResultWriter
from evonas.workflows.standard_baselines import most_heads
from evonas.workflows.time_budget import FeatureTime, TimeBudget, TimePlan, check_time
from evonas.workflows.warm_start import WarmStart
from evonas.workflows.warm_start import warm_start as warm_start_from


def search(
    experiment: Experiment | str | Path | None,
    *,
    run_dir: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    resume: bool = False,
    warm_start: SearchResult | str | Path | None = None,
    budget: int | None = None,
    minutes: float | None = None,
) -> SearchResult:
    """Search the head network with the lowest error at the smallest cost.

    Features are computed once, candidates train until the budget is spent, and the best are trained
    again with further seeds. The experiment is checked before anything
    is trained. Nothing is printed; see ``LiveView``.

    Args:
        experiment: what to search; a name or a file is loaded. None: that of the run which is
            resumed.
        run_dir: the run directory; None: a free one below ``runs``.
        callbacks: receive the events of the search; an exception that one raises stops the
            search, which can then be resumed, and reaches the caller.
        resume: go on with the run that is in ``run_dir``: no network is trained twice.
        warm_start: another run, or its directory, whose results this one begins with.
        budget: distinct networks to train, instead of the number that the experiment names.
        minutes: minutes for the whole search, over all starts of it, from the features to the
            report. Without ``budget`` they take the place of the experiment's number of networks;
            with it, the search ends with whichever is spent first.

    Returns:
        The result, read from the files of the run directory.

    Raises:
        InputError: the experiment or the run directory is not usable, the minutes are too short
            for the features, or no network was trained successfully.
        RunError: a worker died for good or the disk is full; the run can be resumed.

    Examples:
        >>> experiment = evonas.Experiment.load("quickstart", budget=8)
        >>> result = evonas.search(experiment, run_dir="runs/demo")
        >>> result.best.error, result.unit
        (7.91, 'degrees')
    """
    folder = Path(run_dir) if run_dir is not None else None
    before = warm_start.run_dir if isinstance(warm_start, SearchResult) else warm_start
    warm_from = Path(before) if before is not None else None
    check_start(folder, resume, warm_from)
    if experiment is None:
        if folder is None or not resume:
            raise InputError("search: expected an experiment, got none: name one, or resume a run")
        chosen = stored(folder, [])
    else:
        chosen = experiment if isinstance(experiment, Experiment) else config.load(experiment)
    amounts = {"budget": budget, "minutes": minutes}
    if given := {name: amount for name, amount in amounts.items() if amount is not None}:
        chosen = chosen.changed(**given)
    run = _Run(chosen, folder, warm_from, CallbackList(callbacks))
    result = run.start(resume)
    run.callback.on_end(result)
    return result


class _Run:
    """A start of a search; the constructor checks the experiment.

    Args:
        experiment: what to search.
        folder: the run directory; None: a free one below ``runs``.
        warm_from: directory of another run, whose results this one begins with.
        callback: receives the events.

    Raises:
        InputError: the experiment is not usable.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None,
        warm_from: Path | None,
        callback: Callback,
    ) -> None:
        self.callback, self._warm_from = callback, warm_from
        self._begun = time.monotonic()
        self._components = components_of(experiment)
        experiment = self._components.experiment  # with the backbone's names of taps
        devices = self._components.device_description()
        self._optimizer = self._components.optimizer()
        self._experiment = _settled(experiment, self._optimizer.population_size)
        check_window(self._experiment, self._optimizer, self._components.workers)
        objective, space = self._components.objective, self._components.space
        possible, shares = check_limits(self._components)
        self._headlines = [
            _headline(self._experiment, self._components, devices),
            cost_statement(possible, shares, objective.settings),
        ]
        self._warm_start: WarmStart | None = None
        if warm_from is not None:
            known = self._components.fingerprints()
            self._warm_start = warm_start_from(warm_from, self._experiment, known, space, objective)
            self._headlines.append(self._warm_start.statement(warm_from))
        self.folder, earlier = (folder, []) if folder else _free_folder(self._experiment)
        if line := already_searched(earlier, self._experiment, self.folder):
            self._headlines.insert(0, line)
        self._race = self._components.race(self.folder)
        self._paused = self._components.paused_trainings(self.folder)
        self._inheritance = self._components.inheritance(self._optimizer, self.folder)
        self._time: TimeBudget | None = None

    def start(self, resume: bool) -> SearchResult:
        """Search, and leave all files of the run.

        Raises:
            InputError: the run directory is not usable, or nothing was trained successfully.
            RunError: the search cannot go on.
        """
        result = SearchResult(self.folder)
        with RunStore(self.folder, resume, begun=self._begun) as store:
            self.callback = CallbackList([self.callback, StopRequest(self.folder)])
            with announced(self.callback):
                if resume:
                    check_same(store, self._experiment, self._components)
                files = CallbackList(self._result_files(store))
            with announced(files):
                with announced(self.callback):
                    self._say([*self._headlines, *self._warnings()])
                    ready = self._components.ready(self._progress(store))
                    prior = self._use_tap_prior(store, ready, resume)
                    if self._experiment.minutes is not None and not resume:
                        check_time(self._experiment.minutes, store.elapsed)
                start = time.monotonic()
                with ready.executor() as executor, resumable(store, self.callback):
                    self._write_start(store, ready, prior, resume)
                    # The files come first, so that no callback of a user can lose a trial.
                    self._search(store, executor, CallbackList([files, self.callback]), ready)
                    usage = executor.usage
                with announced(self.callback):
                    self._say(self._summary(store, usage, time.monotonic() - start))
                    files.on_end(result)
        return result

    def _result_files(self, store: RunStore) -> Iterator[Callback]:
        """Yield the callbacks that write files of the run."""
        experiment, say = self._experiment, self.callback.on_message
        yield ResultWriter(store, experiment, self._components, say)
        yield ProgressFile(store)
        yield LineageFigure(store, say)
        if experiment.report:
            yield ReportPage(store, say)
        parts = [(part.name, part.options) for part in experiment.logger]
        plain, metric = experiment.model_dump(mode="json"), self._components.error[0]
        yield Loggers(parts, plain, store.folder, metric, say)

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.callback.on_message(line)

    def _progress(self, store: RunStore) -> Progress:
        """Return the callback for the progress of the features."""
        progress, minutes = self.callback.on_progress, self._experiment.minutes
        if minutes is None:
            return progress
        return FeatureTime(progress, minutes, store, self._components.feature_passes())

    def _warnings(self) -> Iterator[str]:
        yield from self._components.warnings()
        yield from self._components.cautions()
        yield from _idle_workers(self._experiment, self._optimizer, self._components.workers)

    def _use_tap_prior(self, store: RunStore, ready: Ready, resume: bool) -> dict[str, float]:
        """Give the strategy the errors of a probe of the taps; a resumed run those it began with.

        Returns:
            Tap -> error; empty: the strategy gets none.
        """
        if resume:
            where = store.folder / "environment.json"
            prior = checked(store.read(where.name), Environment, where).get("tap_prior", {})
        else:
            prior = self._components.tap_prior(ready.features)
        if prior:
            self._optimizer = self._components.optimizer(tap_prior=prior)
            self._inheritance = self._components.inheritance(self._optimizer, self.folder)
            self._say([_tap_statement(prior, self._components.error[1])])
        return prior

    def _write_start(
        self, store: RunStore, ready: Ready, prior: dict[str, float], resume: bool
    ) -> None:
        """Write the files that a resumed run is checked against, and the training record."""
        if not resume:
            metric, unit = self._components.error
            environment = cast(Environment, dict(ready.environment))
            if self._warm_start is not None:
                environment["begins_with"] = len(self._warm_start.trials)
            environment["error"] = {"metric": metric, "unit": unit}
            if prior:
                environment["tap_prior"] = prior
            environment["warnings"] = self._components.warnings()
            store.write("environment.json", environment)
        recorded = (store.folder / FILE).is_file()
        if not recorded and (record := self._components.training_record()) is not None:
            before = TrainingRecord.beside([self._warm_from] if self._warm_from else [])
            store.write(FILE, (record | before).text())
        # The last of the three: where it is, a run can be resumed. Its budget may have grown.
        resolved = yaml.safe_dump(self._experiment.model_dump(mode="json"), sort_keys=False)
        store.write("experiment.yaml", resolved)
        store.log(f"{'resumed' if resume else 'started'} with {store.trained} trained networks")

    def _search(
        self, store: RunStore, executor: Executor, callbacks: Callback, ready: Ready
    ) -> None:
        """Spend the budget, then train finals and baselines."""
        experiment, components, done = self._experiment, self._components, store.trained
        unlimited = experiment.budget >= budgets.UNLIMITED
        executor.expect(done, 0 if unlimited else experiment.budget)
        self._say(executor.notes())
        folds = len(components.final_folds)
        rivals = len(components.baselines) + most_heads(components) + folds
        finals, workers = components.finals, executor.workers
        further = rivals + (sum(planned(finals, experiment.budget).values()) if finals else 0)
        if experiment.minutes is not None:
            whole = budgets.whole_epochs(experiment.fidelity.name, experiment.training.epochs)
            self._time = TimeBudget(experiment.minutes, store, workers, finals, rivals, whole)
            callbacks = CallbackList([callbacks, TimePlan(self._time, self.callback.on_message)])
        parts = SearchComponents(
            components.space,
            self._optimizer,
            executor,
            components.objective,
            experiment.training,
            components.cost,
            self._race,
            self._inheritance,
            self._time,
            folds,
            self._paused,
        )
        search = Search(parts, store, callbacks)
        search.begin(self._first_trials(store))
        past = [
            t for t in store.trials() if not t.repeat and t.status not in ("suggested", "design")
        ]
        metric, unit = components.error
        state = (tuple(past), done, store.elapsed, workers, further)
        start = SearchStart(self.folder, experiment, metric, unit, *state)
        callbacks.on_start(start)
        search.run(experiment.seed)
        if finals is not None and self._time is not None:
            self._say(self._time.plan_finals(finals))
            finals = decided(finals, store.trials(), store.decisions, experiment.minutes)
        if finals is not None:
            search.run_finals(finals, experiment.seed)
        cost_of = components.objective.cost_of
        finalists = Outcome.of(store.trials(), finals, metric, cost_of).finalists
        BaselineStage(components, parts, ready.features, callbacks).run(finalists)

    def _first_trials(self, store: RunStore) -> Sequence[Trial]:
        """Return the trials of generation -1 that the journal lacks.

        A run that was broken off before its first training gets the rest of its initial designs.
        """
        if self._warm_start is not None:
            return self._warm_start.trials
        known = store.trials()
        if any(trial.status != "design" for trial in known):
            return ()
        return self._components.initial_designs()[len(known) :]

    def _summary(self, store: RunStore, usage: Usage, seconds: float) -> Iterator[str]:
        """Yield lines on the trainings of a search that has finished."""
        experiment, trained = self._experiment, store.trained
        store.log(f"finished with {trained} trained networks")
        reason = self._optimizer.stop_reason.rstrip(".")
        if self._time is not None and self._time.limited:
            reason = f"No further training fits {self._time.minutes:g} min"
        yield f"{trained} networks trained, {duration(seconds)} now. {reason}."
        if self._time is not None:
            spent = duration(store.elapsed)
            yield f"{spent} of {self._time.minutes:g} min are spent, over all starts of this run."
        if line := statement(store.trials(), experiment.training.epochs):
            yield line
        if usage.wall and not experiment.table:
            store.write("utilisation.json", usage.to_dict())  # of the last start that trained
            yield usage.statement()


def _idle_workers(experiment: Experiment, optimizer: Optimizer, workers: int) -> Iterator[str]:
    if optimizer.window:
        return
    name, size = experiment.optimizer.name, optimizer.population_size
    if size < workers:
        yield (
            f"{name} asks for {size} network(s) at a time, so {workers - size} worker(s) will "
            f"wait; optimizer.population_size={workers} uses all of them"
        )
    if experiment.fidelity.name == "racing" and size == 1:
        yield (
            f"{name} asks for 1 network at a time, so there is no other to race against; "
            f"optimizer.population_size=4 would ask for four"
        )


def _settled(experiment: Experiment, population_size: int) -> Experiment:
    """Fix the population size, so that it is the same when the budget is raised."""
    options = {**experiment.optimizer.options, "population_size": population_size}
    part = Part(name=experiment.optimizer.name, **options)
    return experiment.model_copy(update={"optimizer": part})


def _free_folder(experiment: Experiment) -> tuple[Path, list[Path]]:
    """Return a folder that does not exist yet, and those of its name that do."""
    stem = f"{experiment.name}-{experiment.optimizer.name}-s{experiment.seed}"
    taken: list[Path] = []
    for number in count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            return folder, taken
        taken.append(folder)
    raise AssertionError("unreachable")


def _headline(experiment: Experiment, components: BaseComponents, devices: tuple[str, ...]) -> str:
    size = components.space.size
    amounts = (experiment.budget, experiment.minutes, experiment.fidelity.name)
    return (
        f"evonas {__version__}: {experiment.name}, {experiment.optimizer.name}, seed "
        f"{experiment.seed}: {budgets.statement(*amounts)} of space "
        f"{components.space.name} "
        f"({size:.3g} architectures at most), {components.workers} worker(s), {', '.join(devices)}"
    )


def _tap_statement(prior: Mapping[str, float], unit: str) -> str:
    errors = ", ".join(f"{tap} {prior[tap]:.3g}" for tap in sorted(prior, key=prior.__getitem__))
    return f"Probe of taps: {errors}{f' {unit}' if unit else ''}: a hint to the strategy."
