"""``evonas search``: from an experiment to best.json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from evonas import config
from evonas.assembly import Assembly
from evonas.commands.progress import progress_bars
from evonas.commands.run_files import Plan, Rival, RunFiles, plan
from evonas.config import Experiment, Part
from evonas.earlier import Earlier, earlier
from evonas.errors import InputError, RunError
from evonas.estimation.estimator import Job
from evonas.estimation.feasibility import feasibility
from evonas.estimation.settings import FinalsSettings, TrainingSettings
from evonas.execution.base import Executor
from evonas.lineage import Lineage
from evonas.loggers._all import Loggers
from evonas.loop import Search, candidate_seed
from evonas.optimizers.base import Optimizer
from evonas.overrides import Word
from evonas.racing import Race, saved
from evonas.report.live import SearchView, duration
from evonas.store import RunStore, Trial
from evonas.training_record import FILE, TrainingRecord
from evonas.version import __version__


def run(
    experiment: Experiment,
    folder: Path | None,
    resume: bool,
    console: Console,
    begin_with: Path | None = None,
) -> Path:
    """Search and return the path of best.json; everything wrong is said before training.

    Args:
        experiment: what to search.
        folder: of the run; a free one below ``runs`` if left out.
        resume: whether to go on with the run that is there.
        console: where to print.
        begin_with: folder of another run, whose results this one begins with.

    Raises:
        InputError: the experiment or the run directory is not usable.
        KeyboardInterrupt: the person stopped it; the message says how to go on.
    """
    assembly = plan(experiment)
    place = assembly.place()
    optimizer = assembly.optimizer()
    experiment = _settled(experiment, optimizer.population_size)
    objective, limit = assembly.objective, assembly.objective.settings.max_macs
    possible = feasibility(assembly.space, assembly.cost, limit, experiment.seed)
    known: Earlier | None = None
    if begin_with is not None:
        known = earlier(begin_with, experiment, assembly.origin(), assembly.space, objective)
    folder = folder or _free_folder(experiment)
    race = _race(experiment, folder)
    lineage = _lineage(experiment, optimizer, assembly, folder)
    logs = _loggers(experiment, folder, assembly, console)
    with RunStore(folder, resume) as store, closing(logs):
        if resume:
            _compare(store, experiment, assembly)
        logs.begin(experiment.model_dump(mode="json"))
        console.print(_headline(experiment, assembly, place), soft_wrap=True)
        console.print(_statement(possible.share, possible.cheapest, limit), soft_wrap=True)
        if known is not None and begin_with is not None:
            console.print(known.statement(begin_with), soft_wrap=True)
        for warning in [*assembly.warnings(), *assembly.cautions(), *_idle(optimizer, assembly)]:
            console.print(warning, soft_wrap=True)
        with progress_bars(console) as progress:
            ready = assembly.ready(progress)
        done = store.trained
        view = SearchView(console, experiment.budget, assembly.error, done)
        files = RunFiles(store, experiment, assembly)

        def watch(trial: Trial) -> None:
            view.show(trial)
            files.note(trial)
            logs.note(trial)

        start = time.monotonic()
        with ready.executor() as executor, _resumable(store, console):
            if not resume:
                begun = {"begins_with": len(known.trials)} if known else {}
                metric, unit = assembly.error
                told = {"error": {"metric": metric, "unit": unit}, "warnings": assembly.warnings()}
                store.write("environment.json", {**ready.environment, **begun, **told})
            _write_record(store, assembly, begin_with)
            # The last of the three: where it is, a run can be resumed. Its budget may have grown.
            resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
            store.write("experiment.yaml", resolved)
            store.log(f"{'resumed' if resume else 'started'} with {done} trained networks")
            executor.expect(done, experiment.budget)
            for note in executor.notes():
                console.print(note, soft_wrap=True)
            search = Search(
                assembly.space,
                optimizer,
                executor,
                objective,
                store,
                experiment.training,
                assembly.cost,
                race,
                lineage,
            )
            if known is not None:
                search.begin(known.trials)
            past = [t for t in store.trials() if not t.repeat and t.status != "suggested"]
            view.catch_up(past)
            files.catch_up(past)
            for trial in past:
                logs.note(trial)
            with view:
                search.run(experiment.seed, watch)
                finals = _finals(experiment)
                if finals and (waiting := search.finals(finals.networks, finals.seeds)):
                    view.finals(len(waiting))
                    search.train_again(waiting, experiment.seed, watch)
            rivals = _baselines(assembly, executor, lineage.fresh)
            usage = executor.usage
        trained = store.trained
        store.log(f"finished with {trained} trained networks")
        spent = duration(time.monotonic() - start)
        reason = optimizer.stop_reason.rstrip(".")
        console.print(f"{trained} networks trained, {spent} now. {reason}.", soft_wrap=True)
        if race and (line := saved(store.trials(), experiment.training.epochs)):
            console.print(line, soft_wrap=True)
        if usage.wall and not experiment.table:
            store.write("utilisation.json", usage.to_dict())  # of the last start that trained
            console.print(usage.statement(), soft_wrap=True)
        for line in [*files.finish(rivals), *files.draw_lineage(), *assembly.warnings()]:
            console.print(line, soft_wrap=True)
        if experiment.report:
            console.print(files.report(), soft_wrap=True)
        logs.finish(folder / "best.json")
    if not experiment.table:
        console.print(f"Next: evonas retrain {folder / 'best.json'}", soft_wrap=True)
    return folder / "best.json"


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


def _lineage(experiment: Experiment, optimizer: Optimizer, assembly: Plan, folder: Path) -> Lineage:
    """Return who starts with whose weights.

    Raises:
        InputError: there are no weights.
    """
    if experiment.table and experiment.inherit.enabled:
        raise InputError("inherit=true: a table has no weights that could be inherited")
    training, weights = experiment.training, folder / "weights"
    return Lineage(experiment.inherit, optimizer, assembly.tensors, training, weights)


def _loggers(experiment: Experiment, folder: Path, assembly: Plan, console: Console) -> Loggers:
    parts = [(part.name, part.options) for part in experiment.logger]
    metric, _ = assembly.error
    return Loggers(parts, folder, metric, lambda line: console.print(line, soft_wrap=True))


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


def stored(folder: Path, overrides: Sequence[Word]) -> Experiment:
    """Return the experiment of a run directory, changed by overrides.

    Raises:
        InputError: the directory holds no run.
    """
    path = folder / "experiment.yaml"
    if not path.is_file():
        raise InputError(
            f"{folder}: holds no run to resume: experiment.yaml is missing: start "
            f"it without --resume"
        )
    return config.load(path, overrides)


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


def _compare(store: RunStore, experiment: Experiment, assembly: Plan) -> None:
    before = stored(store.folder, []).model_dump(mode="json")
    found = config.differences(before, experiment.model_dump(mode="json"))
    environment = store.read("environment.json")
    now: dict[str, Any] = {
        **assembly.origin(),
        "space": json.loads(json.dumps(assembly.space.to_dict())),
    }
    changed = [key for key in now if environment.get(key) != now[key]]
    of = {"machine": "the machine that latencies are measured on"}
    found += [of.get(key, f"the content of the {key}") for key in changed]
    begun = sum(trial.generation < 0 and not trial.repeat for trial in store.trials())
    if begun != environment.get("begins_with", 0):
        raise InputError(
            f"{store.folder}: cannot be resumed: of the {environment.get('begins_with', 0)} "
            f"networks that it began with, the journal holds {begun}: start a new run"
        )
    if found:
        raise InputError(
            f"{store.folder}: cannot be resumed with other values; what differs: "
            f"{'; '.join(found)}. Undo this, or start a new run"
        )


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


@contextmanager
def _resumable(store: RunStore, console: Console) -> Iterator[None]:
    """Say how a search goes on that a person stops, or that cannot go on by itself."""
    again = f"evonas search --resume --run-dir {store.folder}"
    try:
        yield
    except KeyboardInterrupt:
        store.log(f"stopped with {store.trained} trained networks")
        console.print(
            f"\nStopped after {store.trained} networks; nothing is lost. Go on with:\n  {again}",
            soft_wrap=True,
        )
        raise
    except RunError as error:
        store.log(f"ended: {error}")
        if again in str(error):
            raise
        raise RunError(f"{error}; nothing that is done is lost, go on with {again}") from error
