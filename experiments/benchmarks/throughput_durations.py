"""Durations of trainings for part d: measured ones, spread to differ 30-fold, and slept.

What a step of each network takes is measured on this machine; so the durations follow from
the networks as real ones do, and what evonas predicts of them is as good as it is for those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from throughput_problem import Answer, Nothing

from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.estimation.cost.workload import Work
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import placed
from evonas.space import Architecture
from evonas.workflows.components import Components

SHORTEST, RANGE = 0.06, 30.0  # seconds, and longest / shortest
STEPS = 5  # of which the fastest counts
ONCE = TrainingSettings(epochs=1)


class Sleeper:
    """An estimator that sleeps as long as is known of the architecture.

    Args:
        seconds: of each, by digest.
        counted: whether evonas may count the networks, to predict their durations.
    """

    def __init__(self, seconds: Mapping[str, float], counted: bool) -> None:
        self._seconds = seconds
        if counted:
            self.work: Callable[[TrainingContext, Job], Work] = Estimator.work

    def __call__(self, setting: TrainingContext) -> Answer:
        """Return what answers jobs."""
        return self._answer

    def _answer(self, job: Job) -> Measurement:
        begin, start = time.time(), time.perf_counter()
        time.sleep(self._seconds[job.architecture.digest])
        seconds = time.perf_counter() - start
        metrics = {"error": int(job.architecture.digest, 16) / 2**64, "begin": begin}
        return Measurement("ok", metrics, 1, 1, seconds, epochs=1)


class Idle:
    """An estimator that does nothing."""

    def __init__(self, setting: TrainingContext) -> None:
        self._answer: Answer = Nothing("error")(setting)

    def __call__(self, job: Job) -> Measurement:
        """Return a measurement at once."""
        return self._answer(job)


def without_features(components: Components) -> TrainingContext:
    """Return a setting that networks can be built for, and nothing can be trained in."""
    shapes, tap = dict(components.backbone.taps), components.experiment.tap
    return TrainingContext({}, shapes, tap, np.empty((0, 0, 0)), {}, components.task_parts)


def step_seconds(setting: TrainingContext, architecture: Architecture) -> float:
    """Return the seconds of one training step of 32 images, the fastest of a few."""
    shape = setting.shapes[setting.tap_of(architecture)]
    family = registry.load("network", architecture.network)()
    module = placed(family.build(architecture, shape, setting.make_task().n_outputs), "cpu").train()
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    images, found = torch.randn(32, *shape), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        module(images).square().mean().backward()
        optimizer.step()
        found.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return min(found)


def spread_out(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return durations from ``SHORTEST`` to ``RANGE`` times that, in the same order.

    Their logarithms keep their proportions.
    """
    low, high = min(seconds.values()), max(seconds.values())
    power = np.log(RANGE) / np.log(high / low)
    return {key: float(SHORTEST * (value / low) ** power) for key, value in seconds.items()}


def predictions(
    setting: TrainingContext, architectures: Sequence[Architecture], seconds: Mapping[str, float]
) -> list[float]:
    """Return what evonas predicts of each, from the durations of the other half alone.

    In milliseconds, which it takes for seconds: trainings that are long enough to be counted for.
    """
    jobs = [Job(0, architecture, 0, ONCE) for architecture in architectures]
    found = [0.0] * len(jobs)
    for half in (0, 1):
        forecast = Forecast(lambda job: Estimator.work(setting, job))
        for job in jobs[half::2]:
            taken = 1e3 * seconds[job.architecture.digest]
            forecast.learn(job, Measurement("ok", seconds=taken, epochs=1))
        while forecast.catch_up():
            pass
        for number in range(1 - half, len(jobs), 2):
            forecast.count(jobs[number])
            found[number] = forecast.seconds(jobs[number]) or 0.0
    return found
