"""Part b: evonas's training against a plain PyTorch loop on the same cached features."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from throughput_plain import Pairs, built, train
from throughput_report import Options, Section, Verdict, in_turns, spread
from throughput_training import (
    Pass,
    Trainings,
    cores,
    faster,
    in_memory,
    ratios,
    same_in_the_end,
    sized,
    some,
)

from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.measurement import Measurement
from evonas.report.tables import Table

TARGET = 1.5
#: Largest difference of errors, in the metric's unit, after the first few steps.
CLOSE = 0.001
FIRST_STEPS = 4
EVONAS = "evonas, 1 thread"
DEFINITION = (
    "The same architectures from the same seeds, on the same batches of the same cached maps; "
    "the plain loop has its maps in memory as 32-bit floats before the clock starts, one copy for "
    "all candidates. It is a DataLoader over a TensorDataset (no further process, which would be "
    "slower), AdamW as PyTorch chooses it, clipping, `loss.item()` every step, the average of the "
    "weights name by name where the settings have one, and validation in batches of the "
    "training's size. The clock runs from building a network to its last validation."
)


def measure(options: Options) -> Section:
    """Return the section of part b."""
    trials, epochs = (3, 2) if options.quick else (20, 3)
    words = ["features.jitters=0"]
    experiment = sized(options.experiment, trials, epochs, options.quick, words)
    with tempfile.TemporaryDirectory(prefix="throughput-") as place:
        trainings = Trainings.of(experiment, Path(place) / "asked")
    taps = {trainings.setting.tap_of(job.architecture) for job in trainings.jobs}
    held = {tap: in_memory(trainings.setting, tap) for tap in taps}
    many = cores()
    contenders: dict[str, Callable[[], Pass]] = {
        EVONAS: partial(evonas, trainings),
        plain_name(1): partial(plain, trainings, held, 1),
    }
    reseeded, strict = other_seeds(trainings), first_steps(trainings, held)
    if many == 1:
        found = in_turns(contenders, options.repeats)
    else:
        contenders[plain_name(many)] = partial(plain, trainings, held, many)
        with workers(trainings, many) as executor:
            contenders[workers_name(many)] = partial(evonas_workers, trainings, executor)
            found = in_turns(contenders, options.repeats)
    return _section(trainings, found, reseeded, strict, options.quick)


def other_seeds(trainings: Trainings) -> Pass:
    """Train every network from another seed, to see what luck does to its error.

    It also warms up: the convolution library compiles for each new shape, once in a process,
    and who comes first would pay for all.
    """
    return evonas(replace(trainings, jobs=[replace(j, seed=j.seed + 1) for j in trainings.jobs]))


def first_steps(trainings: Trainings, held: Mapping[str, Pairs]) -> float:
    """Return the largest difference of errors after a few steps.

    Both contenders add the same numbers in another order, and every step multiplies what that
    changes in the last bit: a few steps tell whether they compute the same.
    """
    size = trainings.components.experiment.training.batch_size
    split = some(trainings.setting.splits["search"], FIRST_STEPS * size, 4 * size)
    setting = replace(trainings.setting, splits={"search": split})
    jobs = [
        replace(job, training=job.training.model_copy(update={"epochs": 1}))
        for job in trainings.jobs
    ]
    few = replace(trainings, setting=setting, jobs=jobs)
    ours, theirs = evonas(few), plain(few, held, 1)
    pairs = zip(ours.histories, theirs.histories, strict=True)
    return max(abs(own[0] - other[0]) for own, other in pairs)


def evonas(trainings: Trainings) -> Pass:
    """Train all with evonas, one after the other, as its local executor does."""
    estimate = Estimator(trainings.setting)
    return _timed(trainings, lambda job: _history(trainings, estimate(job)))


def evonas_workers(trainings: Trainings, executor: Executor) -> Pass:
    """Train all with workers that are there already."""
    start = time.perf_counter()
    found = dict(executor.evaluate(trainings.jobs))
    seconds = time.perf_counter() - start
    results = [found[job.index] for job in trainings.jobs]
    histories = [_history(trainings, result) for result in results]
    return Pass(seconds, [result.seconds for result in results], histories)


def plain(
    trainings: Trainings,
    held: Mapping[str, Pairs],
    threads: int,
    precision: str = "float32",
    loaders: int = 0,
) -> Pass:
    """Train all with the plain loop, one after the other; see ``throughput_plain.train``."""
    setting, task = trainings.setting, trainings.components.task

    def answer(job: Job) -> list[float]:
        module = built(job, setting, task)
        data = held[setting.tap_of(job.architecture)]
        done = train(module, data, job, setting, task, precision=precision, loaders=loaders)
        return [metrics[task.metric] for metrics in done.history]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _timed(trainings, answer)
    finally:
        torch.set_num_threads(before)


def _timed(trainings: Trainings, answer: Callable[[Job], list[float]]) -> Pass:
    each, histories = [], []
    for job in trainings.jobs:
        start = time.perf_counter()
        histories.append(answer(job))
        each.append(time.perf_counter() - start)
    return Pass(sum(each), each, histories)


def _history(trainings: Trainings, measurement: Measurement) -> list[float]:
    if measurement.status != "ok":
        raise InputError(f"a training failed: {measurement.error_kind}: {measurement.error}")
    return [metrics[trainings.components.task.metric] for metrics in measurement.history]


@contextmanager
def workers(trainings: Trainings, number: int) -> Iterator[Executor]:
    """Start workers, each of which has trained once when they are given."""
    from throughput_overhead import ray_cluster

    from evonas.estimation.execution.ray import RayExecutor

    with ray_cluster(), RayExecutor(trainings.setting, number, "bench") as executor:
        list(executor.evaluate(trainings.jobs[:1] * number))
        yield executor


def plain_name(threads: int) -> str:
    """Return what the plain loop is called."""
    return f"plain loop, {threads} thread{'s' if threads > 1 else ''}"


def workers_name(number: int) -> str:
    """Return what evonas with workers is called."""
    return f"evonas, {number} workers"


def _section(
    trainings: Trainings,
    found: Mapping[str, list[Pass]],
    reseeded: Pass,
    strict: float,
    quick: bool,
) -> Section:
    many = cores()
    experiment, task = trainings.components.experiment, trainings.components.task
    epochs, ours = experiment.training.epochs, found[EVONAS]
    images = trainings.images() * epochs * len(trainings.jobs)
    steps = len(trainings.setting.splits["search"].train) // experiment.training.batch_size
    rows = []
    for name, passes in found.items():
        each = [
            statistics.median(one.each[i] for one in passes) for i in range(len(passes[0].each))
        ]
        rows.append(
            [
                name,
                spread([one.seconds for one in passes], 2),
                f"{min(each):.2f}..{max(each):.2f}",
                spread([images / one.seconds for one in passes], 0),
                spread(ratios(passes, ours), 2),
            ]
        )
    title = f"{len(trainings.jobs)} networks, {epochs} epochs of {steps} steps, {task.metric}"
    head = ["contender", "all, s", "a network, s", "images/s", "times evonas's, 1 thread"]
    one, all_of_them = found[plain_name(1)], found[plain_name(many)]
    by_network = [
        statistics.median(p.each[i] for p in one) / statistics.median(p.each[i] for p in ours)
        for i in range(len(trainings.jobs))
    ]
    unit = task.unit
    lines = [
        DEFINITION,
        f"Experiment {experiment.name}, views: plain and its mirror image; images a second count "
        f"training and validation. The plain loop takes {min(by_network):.2f} to "
        f"{max(by_network):.2f} times as long, depending on the network.",
    ]
    verdicts = [
        faster(
            f"{plain_name(1)} against {EVONAS}: >= {TARGET:g} x",
            ratios(one, ours),
            None if quick else TARGET,
        ),
        Verdict(
            f"Same errors after {FIRST_STEPS} steps: within {CLOSE:g} {unit}",
            f"largest difference {strict:.1g} {unit}",
            strict <= CLOSE,
        ),
        same_in_the_end(ours[0], one[0], reseeded, unit),
    ]
    if many > 1:
        name = workers_name(many)
        same = [p.histories for p in found[name]] == [p.histories for p in ours]
        verdicts += [
            faster(f"{plain_name(many)} against {EVONAS}", ratios(all_of_them, ours)),
            faster(f"{plain_name(many)} against {name}", ratios(all_of_them, found[name])),
            Verdict(f"Same errors of {name} to the last bit", "yes" if same else "no", same),
        ]
    return Section("Training on cached features", lines, [Table(title, head, rows)], verdicts)
