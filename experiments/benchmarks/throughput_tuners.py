"""Ray Tune and Optuna on the very trainings of a search by evonas, as they come, and quiet.

Each gets the same jobs: the search space that they see is the number of a job, or, of
Optuna, the genes themselves, handed out by a sampler that reads them from the list.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from throughput_problem import Answer, Problem

from evonas.estimation.estimator import Job

#: Begin, end, process and error of one training.
Row = tuple[float, float, float, float]
_SPAN = ("begin", "end", "worker")
_ANSWERS: dict[str, Answer] = {}  # of this worker process: long-lived ones build it once


def tune(
    problem: Problem, jobs: Sequence[Job], folder: Path, workers: int, reuse: bool
) -> list[Row]:
    """Run the trainings with Ray Tune, function trainables, ``workers`` at a time.

    Its logs and experiment checkpoints stay as they come. Ray must be running.

    Args:
        problem: the trainings.
        jobs: what to train.
        folder: for its files.
        workers: trainings at once.
        reuse: whether workers live on from trial to trial (``reuse_actors``).
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its own console output
    from ray import tune as ray_tune

    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    metric = problem.components.task.metric
    shared = {
        "setting": problem.setting,
        "jobs": list(jobs),
        "make": problem.make,
        "metric": metric,
    }
    tuner = ray_tune.Tuner(
        ray_tune.with_parameters(_trainable, **shared),
        # BasicVariantGenerator, that of random search, hands the numbers out
        param_space={"number": ray_tune.grid_search(list(range(len(jobs))))},
        tune_config=ray_tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=reuse),
        run_config=ray_tune.RunConfig(storage_path=str(folder.resolve()), verbose=0),
    )
    rows = [result.metrics for result in tuner.fit()]
    return [row_of(row, "error") for row in rows if row and "error" in row]


def _trainable(config: dict[str, Any], setting: Any, jobs: Any, make: Any, metric: str) -> Any:
    kind = type(make.make).__name__
    if kind not in _ANSWERS:
        _ANSWERS[kind] = make(setting)
    found = _ANSWERS[kind](jobs[config["number"]]).metrics
    return {name: found[name] for name in _SPAN} | {"error": found[metric]}


def row_of(metrics: Mapping[str, float], metric: str) -> Row:
    """Return the row of a training from what it measured."""
    return (metrics["begin"], metrics["end"], metrics["worker"], metrics[metric])


def optuna(
    problem: Problem,
    jobs: Sequence[Job],
    genomes: Sequence[Sequence[float]],
    folder: Path,
) -> list[Row]:
    """Run the trainings with Optuna and its journal in a file, one at a time.

    Args:
        problem: the trainings.
        jobs: what to train.
        genomes: of each job what to suggest: its genes, or its number alone.
        folder: for the journal.
    """
    import optuna as library
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    library.logging.set_verbosity(library.logging.CRITICAL)

    class Given(library.samplers.RandomSampler):  # type: ignore[misc]
        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> float:
            return genomes[trial.number][int(name)]

    metric = problem.components.task.metric
    answer = problem.make(problem.setting)
    rows: list[Row] = []

    def objective(trial: Any) -> float:
        for number in range(len(genomes[0])):
            trial.suggest_float(str(number), 0.0, float(len(jobs)))
        found = answer(jobs[trial.number]).metrics
        rows.append(row_of(found, metric))
        return found[metric]

    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = library.create_study(storage=storage, sampler=Given())
    study.optimize(objective, n_trials=len(jobs), n_jobs=1)
    return rows
