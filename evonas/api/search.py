"""``evonas.search``: from an experiment to its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import yaml

from evonas.api.callbacks import Callback, CallbackList, SearchStart
from evonas.api.resuming import announced, check_same, check_start, resumable, stored
from evonas.api.search_result import SearchResult
from evonas.core import experiment as config
from evonas.core.experiment import Experiment, Part
from evonas.core.settings import FinalsSettings, TrainingSettings
from evonas.core.version import __version__
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.optimizers.base import Optimizer
from evonas.report.live_view import duration
from evonas.runs.logger_group import Loggers
from evonas.runs.run_store import RunStore, Trial
from evonas.runs.training_record import FILE, TrainingRecord
from evonas.workflows.components import Assembly, Ready
from evonas.workflows.feasibility import feasibility
from evonas.workflows.inheritance import WeightInheritance
from evonas.workflows.loop import Search, candidate_seed
from evonas.workflows.racing import Race, saved
from evonas.workflows.result_writer import Plan, Rival, RunFiles, plan
from evonas.workflows.warm_start import WarmStart, earlier


def search(
    experiment: Experiment | str | Path | None,
    *,
    run_dir: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    resume: bool = False,
    warm_start: SearchResult | str | Path | None = None,
) -> SearchResult:
    """Search the head network with the lowest error at the smallest cost.

    Features are computed once, candidates train until the budget of distinct networks is spent,
    and the best are trained again with further seeds. The experiment is checked before anything
    is trained. Nothing is printed; see ``LiveView``.

    Args:
        experiment: what to search; a name or a file is loaded. None: that of the run which is
            resumed.
        run_dir: the run directory; None: a free one below ``runs``.
        callbacks: receive the events of the search; an exception that one raises stops the
            search, which can then be resumed, and reaches the caller.
        resume: go on with the run that is in ``run_dir``: no network is trained twice.
        warm_start: another run, or its directory, whose results this one begins with.

    Returns:
        The result, read from the files of the run directory.

    Raises:
        InputError: the experiment or the run directory is not usable, or no network was trained
            successfully.
        RunError: a worker died for good or the disk is full; the run can be resumed.

    Examples:
        >>> experiment = evonas.Experiment.load("quickstart", budget=8)
        >>> result = evonas.search(experiment, run_dir="runs/demo")
        >>> result.best.error, result.unit
        (7.91, 'degrees')
    """
    folder = Path(run_dir) if run_dir is not None else None
    before = warm_start.run_dir if isinstance(warm_start, SearchResult) else warm_start
    begin_with = Path(before) if before is not None else None
    check_start(folder, resume, begin_with)
    if experiment is None:
        if folder is None or not resume:
            raise InputError("search: expected an experiment, got none: name one, or resume a run")
        chosen = stored(folder, [])
    else:
        chosen = experiment if isinstance(experiment, Experiment) else config.load(experiment)
    run = _Run(chosen, folder, begin_with, CallbackList(callbacks))
    run.start(resume)
    result = SearchResult(run.folder)
    run.callback.on_end(result)
    return result


class _Run:
    """One start of a search; the constructor checks the experiment.

    Args:
        experiment: what to search.
        folder: of the run; a free one below ``runs`` if left out.
        begin_with: folder of another run, whose results this one begins with.
        callback: receives the events.

    Raises:
        InputError: the experiment is not usable.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None,
        begin_with: Path | None,
        callback: Callback,
    ) -> None:
        self.callback, self._begin_with = callback, begin_with
        self._assembly = plan(experiment)
        self._place = self._assembly.place()
        self._optimizer = self._assembly.optimizer()
        self._experiment = _settled(experiment, self._optimizer.population_size)
        self._objective = self._assembly.objective
        limit, space = self._objective.settings.max_macs, self._assembly.space
        possible = feasibility(space, self._assembly.cost, limit, experiment.seed)
        self._statement = _statement(possible.share, possible.cheapest, limit)
        self._known: WarmStart | None = None
        if begin_with is not None:
            origin = self._assembly.origin()
            self._known = earlier(begin_with, self._experiment, origin, space, self._objective)
        self.folder = folder or _free_folder(self._experiment)
        self._race = _race(self._experiment, self.folder)
        self._lineage = _lineage(self._experiment, self._optimizer, self._assembly, self.folder)
        parts = [(part.name, part.options) for part in self._experiment.logger]
        metric, _ = self._assembly.error
        self._logs = Loggers(parts, self.folder, metric, callback.on_message)

    def start(self, resume: bool) -> None:
        """Search, and leave all files of the run.

        Raises:
            InputError: the run directory is not usable, or nothing was trained successfully.
            RunError: the search cannot go on.
        """
        with RunStore(self.folder, resume) as store, closing(self._logs):
            with announced(self.callback):
                ready = self._prepare(store, resume)
            start = time.monotonic()
            files = RunFiles(store, self._experiment, self._assembly)
            with ready.executor() as executor, resumable(store, self.callback):
                self._write_start(store, ready, resume)
                rivals = self._train(store, executor, files)
                usage = executor.usage
            with announced(self.callback):
                self._finish(store, files, rivals, usage, time.monotonic() - start)

    def _prepare(self, store: RunStore, resume: bool) -> Ready:
        """Say what is searched, and compute the features."""
        say = self.callback.on_message
        if resume:
            check_same(store, self._experiment, self._assembly)
        self._logs.begin(self._experiment.model_dump(mode="json"))
        say(_headline(self._experiment, self._assembly, self._place))
        say(self._statement)
        if self._known is not None and self._begin_with is not None:
            say(self._known.statement(self._begin_with))
        for warning in [
            *self._assembly.warnings(),
            *self._assembly.cautions(),
            *_idle(self._optimizer, self._assembly),
        ]:
            say(warning)
        return self._assembly.ready(self.callback.on_progress)

    def _write_start(self, store: RunStore, ready: Ready, resume: bool) -> None:
        """Write what a run follows from, and with which it can be resumed."""
        if not resume:
            begun = {"begins_with": len(self._known.trials)} if self._known else {}
            metric, unit = self._assembly.error
            warnings = self._assembly.warnings()
            stated = {"error": {"metric": metric, "unit": unit}, "warnings": warnings}
            store.write("environment.json", {**ready.environment, **begun, **stated})
        _write_record(store, self._assembly, self._begin_with)
        # The last of the three: where it is, a run can be resumed. Its budget may have grown.
        resolved = yaml.safe_dump(self._experiment.model_dump(mode="json"), sort_keys=False)
        store.write("experiment.yaml", resolved)
        store.log(f"{'resumed' if resume else 'started'} with {store.trained} trained networks")

    def _train(self, store: RunStore, executor: Executor, files: RunFiles) -> list[Rival]:
        """Spend the budget, hold the finals, train the baselines."""
        experiment, callback, done = self._experiment, self.callback, store.trained
        executor.expect(done, experiment.budget)
        for note in executor.notes():
            callback.on_message(note)
        search = Search(
            self._assembly.space,
            self._optimizer,
            executor,
            self._objective,
            store,
            experiment.training,
            self._assembly.cost,
            self._race,
            self._lineage,
        )
        if self._known is not None:
            search.begin(self._known.trials)
        past = [t for t in store.trials() if not t.repeat and t.status != "suggested"]
        files.catch_up(past)
        for trial in past:
            self._logs.note(trial)
        metric, unit = self._assembly.error
        callback.on_start(SearchStart(self.folder, experiment, metric, unit, tuple(past), done))
        watch = self._watch(files)
        search.run(experiment.seed, watch, callback.on_generation)
        finals = _finals(experiment)
        if finals and (waiting := search.finals(finals.networks, finals.seeds)):
            callback.on_stage("finals", len(waiting))
            search.train_again(waiting, experiment.seed, watch)
        callback.on_stage("baselines", len(self._assembly.baselines))
        return _baselines(self._assembly, executor, self._lineage.fresh)

    def _watch(self, files: RunFiles) -> Callable[[Trial], None]:
        """Return what takes a new trial: the files first, so that no callback can lose it."""

        def watch(trial: Trial) -> None:
            files.note(trial)
            self._logs.note(trial)
            self.callback.on_trial(trial)

        return watch

    def _finish(
        self, store: RunStore, files: RunFiles, rivals: list[Rival], usage: Usage, seconds: float
    ) -> None:
        """Write all files of a search that is done, and say what came of it."""
        say, experiment = self.callback.on_message, self._experiment
        trained = store.trained
        store.log(f"finished with {trained} trained networks")
        reason = self._optimizer.stop_reason.rstrip(".")
        say(f"{trained} networks trained, {duration(seconds)} now. {reason}.")
        if self._race and (line := saved(store.trials(), experiment.training.epochs)):
            say(line)
        if usage.wall and not experiment.table:
            store.write("utilisation.json", usage.to_dict())  # of the last start that trained
            say(usage.statement())
        for line in [*files.finish(rivals), *files.draw_lineage(), *self._assembly.warnings()]:
            say(line)
        if experiment.report:
            say(files.report())
        self._logs.finish(self.folder / "best.json")


def _write_record(store: RunStore, assembly: Plan, begin_with: Path | None) -> None:
    """Record which images choose the architecture: what is trained from it is not judged on them.

    Raises:
        RunError: the file cannot be written.
    """
    if isinstance(assembly, Assembly) and not (store.folder / FILE).is_file():
        before = TrainingRecord.beside([begin_with] if begin_with else [])
        store.write(FILE, (assembly.training_record() | before).text())


def _race(experiment: Experiment, folder: Path) -> Race | None:
    """Return how generations are raced; None where they are not.

    Raises:
        InputError: there is nothing to race.
    """
    if experiment.fidelity.name == "full":
        return None
    if experiment.table:
        raise InputError("fidelity=racing: a table has one answer for each, and no epochs")
    return Race(experiment.fidelity, experiment.training, folder / "rungs")


def _lineage(
    experiment: Experiment, optimizer: Optimizer, assembly: Plan, folder: Path
) -> WeightInheritance:
    """Return the weight inheritance of a search.

    Raises:
        InputError: there are no weights.
    """
    if experiment.table and experiment.inherit.enabled:
        raise InputError("inherit=true: a table has no weights that could be inherited")
    training, weights = experiment.training, folder / "weights"
    return WeightInheritance(experiment.inherit, optimizer, assembly.tensors, training, weights)


def _finals(experiment: Experiment) -> FinalsSettings | None:
    """Return how the finals are held; None where there is nothing to hold."""
    same_again = experiment.table is not None  # a table has one answer
    return None if same_again or not experiment.finals.networks else experiment.finals


def _idle(optimizer: Optimizer, assembly: Plan) -> Iterator[str]:
    size = optimizer.population_size
    if size < assembly.workers:
        yield (
            f"{assembly.experiment.optimizer.name} asks for {size} network(s) at a time, so "
            f"{assembly.workers - size} worker(s) will wait; optimizer.population_size="
            f"{assembly.workers} uses all of them"
        )
    if assembly.experiment.fidelity.name == "racing" and size == 1:
        yield (
            f"{assembly.experiment.optimizer.name} asks for 1 network at a time, so there is "
            f"nobody to race against; optimizer.population_size=4 would ask for four"
        )


def _baselines(assembly: Plan, executor: Executor, training: TrainingSettings) -> list[Rival]:
    """Train the hand-made networks as briefly as candidates that start afresh."""
    jobs = []
    for index, (name, architecture) in enumerate(assembly.baselines):
        seed = candidate_seed(assembly.experiment.seed, architecture.digest, training.epochs)
        timed = assembly.objective.timed
        jobs.append(Job(index, architecture, seed, training, name, latency=timed))
    found = dict(executor.evaluate(jobs))
    return [
        (
            f"{job.label} on {executor.setting.tap_of(job.architecture)}",
            job.architecture.digest,
            found[job.index],
        )
        for job in jobs
    ]


def _settled(experiment: Experiment, population_size: int) -> Experiment:
    """Write down what was left to the optimizer, so that a larger budget cannot change it."""
    options = {**experiment.optimizer.options, "population_size": population_size}
    part = Part(name=experiment.optimizer.name, **options)
    return experiment.model_copy(update={"optimizer": part})


def _free_folder(experiment: Experiment) -> Path:
    stem = f"{experiment.name}-{experiment.optimizer.name}-s{experiment.seed}"
    for number in count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            return folder
    raise AssertionError("unreachable")


def _headline(experiment: Experiment, assembly: Plan, place: tuple[str, ...]) -> str:
    size = assembly.space.size
    return (
        f"evonas {__version__}: {experiment.name}, {experiment.optimizer.name}, seed "
        f"{experiment.seed}: {experiment.budget} networks of space {assembly.space.name} "
        f"({size:.3g} architectures at most), {assembly.workers} worker(s), {', '.join(place)}"
    )


def _statement(share: float, cheapest: int, limit: int | None) -> str:
    low = f"the cheapest head network found has {cheapest} multiply-adds"
    if limit is None:
        return f"No hard limit on cost; {low}."
    return f"Limit {limit} multiply-adds: {100 * share:.1f} % of the space is feasible; {low}."
