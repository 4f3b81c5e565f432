"""``evonas search``: from an experiment to best.json."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

import evonas
from evonas import config
from evonas.assembly import Assembly
from evonas.commands.progress import progress_bars
from evonas.config import Experiment, Part
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.feasibility import feasibility
from evonas.estimation.measurement import Measurement
from evonas.execution.base import Executor
from evonas.replay import Replay
from evonas.report.live import SearchView, duration
from evonas.search import Search, candidate_seed
from evonas.store import FORMAT, RunStore, Trial

Plan = Assembly | Replay


def run(experiment: Experiment, folder: Path | None, resume: bool, console: Console) -> Path:
    """Search and return the path of best.json; everything wrong is said before training.

    Raises:
        InputError: the experiment or the run directory is not usable.
        KeyboardInterrupt: the person stopped it; the message says how to go on.
    """
    assembly: Plan = Replay(experiment) if experiment.table else Assembly(experiment)
    place = assembly.place()
    optimizer = assembly.optimizer()
    experiment = _settled(experiment, optimizer.population_size)
    limit = assembly.objective.settings.max_macs
    possible = feasibility(assembly.space, assembly.cost, limit, experiment.seed)
    folder = folder or _free_folder(experiment)
    with RunStore(folder, resume) as store:
        if resume:
            _compare(store, experiment, assembly)
        console.print(_headline(experiment, assembly, place), soft_wrap=True)
        console.print(_statement(possible.share, possible.cheapest, limit), soft_wrap=True)
        for warning in assembly.warnings():
            console.print(warning, soft_wrap=True)
        with progress_bars(console) as progress:
            ready = assembly.ready(progress)
        known = sum(trial.trained for trial in store.trials())
        view = SearchView(console, experiment.budget, assembly.error, known)
        best = [math.inf]

        def watch(trial: Trial) -> None:
            view.show(trial)
            if trial.status == "failed":
                store.log(f"{trial.digest} failed: {trial.error}")
            if trial.status == "ok" and trial.value < best[0]:
                best[0] = trial.value
                store.log(f"{trial.digest} is the best so far: {trial.value}")
                store.write("best.json", _best(trial, experiment, assembly))

        start = time.monotonic()
        with ready.executor() as executor, _resumable(store, console):
            resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
            store.write("experiment.yaml", resolved)  # a resumed run may have a larger budget
            if not resume:
                store.write("environment.json", ready.environment)
            store.log(f"{'resumed' if resume else 'started'} with {known} trained networks")
            for note in executor.notes():
                console.print(note, soft_wrap=True)
            with view:
                search = Search(
                    assembly.space,
                    optimizer,
                    executor,
                    assembly.objective,
                    store,
                    experiment.training,
                    assembly.cost,
                )
                winner = search.run(experiment.seed, watch)
            rivals = _baselines(assembly, executor)
        if winner is None:
            raise InputError(_nothing(store))
        store.write("best.json", _best(winner, experiment, assembly))
        trained = sum(trial.trained for trial in store.trials())
        store.log(f"finished with {trained} trained networks")
        spent = duration(time.monotonic() - start)
        reason = optimizer.stop_reason.rstrip(".")
        console.print(f"{trained} networks trained, {spent} now. {reason}.", soft_wrap=True)
        for line in [*_results(winner, rivals, assembly.error), *assembly.warnings()]:
            console.print(line, soft_wrap=True)
    if not experiment.table:
        console.print(f"Next: evonas retrain {folder / 'best.json'}", soft_wrap=True)
    return folder / "best.json"


def _results(
    winner: Trial, rivals: list[tuple[str, Measurement]], counted: tuple[str, str]
) -> Iterator[str]:
    """Yield a line for the winner and one for each hand-made network."""
    metric, unit = counted
    yield (
        f"Best: {metric} {winner.metrics[metric]:.3f} {unit} at "
        f"{2 * winner.macs / 1e6:.2f} MFLOPs of head, fitness {winner.value:.3f}."
    )
    for name, measurement in rivals:
        error = measurement.metrics.get(metric, math.nan)
        result = measurement.error or f"{metric} {error:.3f} {unit}"
        cost = f"{2 * measurement.macs / 1e6:.2f} MFLOPs of head"
        yield f"Trained the same way, {name}: {result} at {cost}."


def _baselines(assembly: Plan, executor: Executor) -> list[tuple[str, Measurement]]:
    """Train the hand-made networks as briefly as the candidates, for comparison."""
    training, jobs = assembly.experiment.training, []
    for index, (name, architecture) in enumerate(assembly.baselines):
        seed = candidate_seed(assembly.experiment.seed, architecture.digest, training.epochs)
        jobs.append(Job(index, architecture, seed, training, name))
    found = dict(executor.evaluate(jobs))
    return [
        (f"{job.label} on {executor.setting.tap_of(job.architecture)}", found[job.index])
        for job in jobs
    ]


def stored(folder: Path, overrides: list[str]) -> Experiment:
    """Return the experiment of a run directory, changed by overrides.

    Raises:
        InputError: the directory holds no run.
    """
    path = folder / "experiment.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: holds no run to resume: experiment.yaml is missing")
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
    found += [f"the content of the {key}" for key in now if environment.get(key) != now[key]]
    if found:
        raise InputError(
            f"{store.folder}: cannot be resumed with other values; what differs: "
            f"{'; '.join(found)}. Undo this, or start a new run"
        )


def _headline(experiment: Experiment, assembly: Plan, place: tuple[str, ...]) -> str:
    size = assembly.space.size
    return (
        f"evonas {evonas.__version__}: {experiment.name}, {experiment.optimizer.name}, seed "
        f"{experiment.seed}: {experiment.budget} networks of space {assembly.space.name} "
        f"({size:.3g} architectures at most), {assembly.workers} worker(s), {', '.join(place)}"
    )


def _statement(share: float, cheapest: int, limit: int | None) -> str:
    low = f"the cheapest head network found has {cheapest} multiply-adds"
    if limit is None:
        return f"No hard limit on cost; {low}."
    return f"Limit {limit} multiply-adds: {100 * share:.1f} % of the space is feasible; {low}."


def _best(trial: Trial, experiment: Experiment, assembly: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "genome": list(trial.genome),
        "architecture": dict(trial.architecture),
        "digest": trial.digest,
        "fitness": trial.fitness,
        "metrics": dict(trial.metrics),
        "macs": trial.macs,
        "flops": 2 * trial.macs,
        "params": trial.params,
        "cost_scope": "head network at batch 1; flops = 2 x multiply-adds",
        "experiment": experiment.model_dump(mode="json"),
        "space": assembly.space.to_dict(),
        **assembly.origin(),
        "seed": experiment.seed,
        "evonas": evonas.__version__,
    }


def _nothing(store: RunStore) -> str:
    errors = [trial.error for trial in store.trials() if trial.error]
    return (
        f"{store.folder}: no network was trained successfully; the first error: "
        f"{errors[0] if errors else 'none'}"
    )


@contextmanager
def _resumable(store: RunStore, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        done = sum(trial.trained for trial in store.trials())
        store.log(f"stopped with {done} trained networks")
        console.print(
            f"\nStopped after {done} networks; nothing is lost. Go on with:\n"
            f"  evonas search --resume --run-dir {store.folder}",
            soft_wrap=True,
        )
        raise
