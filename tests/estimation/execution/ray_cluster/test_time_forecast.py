"""Seconds and bytes of trainings, from those that are done."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.cost.workload import Work
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import LARGE
from evonas.space import Architecture

ONCE = TrainingSettings(epochs=1)


def work(job: Job) -> Work:
    return Work(**{name: int(value) for name, value in job.architecture.settings.items()})  # type: ignore[arg-type]


def job(rng: np.random.Generator, **settings: Any) -> Job:
    drawn = {
        "macs": int(10 ** rng.uniform(4, 7)),
        "elements": int(10 ** rng.uniform(3, 6)),
        "widest": 1000,
        "layers": int(rng.integers(3, 60)),
        "params": 1000,
    }
    return Job(0, Architecture("n", {**drawn, **settings}), 0, ONCE)


def seconds_of(one: Job) -> float:
    there = work(one)
    return 2e-7 * there.macs + 3e-6 * there.elements + 0.02 * there.layers + 0.1


def learnt(rng: np.random.Generator, trainings: int, noise: float = 0.0, **known: Any) -> Forecast:
    forecast = Forecast(work)
    for _ in range(trainings):
        one = job(rng)
        seconds = seconds_of(one) * np.exp(noise * rng.standard_normal())
        forecast.learn(one, Measurement("ok", seconds=seconds, epochs=1, **known))
    while forecast.catch_up():
        pass
    return forecast


def test_the_shares_of_what_takes_time_are_found() -> None:
    rng = np.random.default_rng(0)
    forecast = learnt(rng, 40)
    for one in [job(rng) for _ in range(20)]:
        assert forecast.seconds(one) is None, "not counted yet"
        forecast.count(one)
        assert forecast.seconds(one) == pytest.approx(seconds_of(one), rel=1e-6)
        longer = Job(0, one.architecture, 0, TrainingSettings(epochs=8), until=3)
        assert forecast.seconds(longer) == pytest.approx(3 * seconds_of(one), rel=1e-6)


def test_noise_leaves_the_order_almost_alone() -> None:
    rng = np.random.default_rng(1)
    forecast = learnt(rng, 60, noise=0.3)
    others = [job(rng) for _ in range(100)]
    for one in others:
        forecast.count(one)
    predicted = [forecast.seconds(one) or 0.0 for one in others]
    true = [seconds_of(one) for one in others]
    ranks = [np.argsort(np.argsort(row)) for row in (predicted, true)]
    assert np.corrcoef(*ranks)[0, 1] > 0.97
    macs = np.argsort(np.argsort([work(one).macs for one in others]))
    assert np.corrcoef(macs, ranks[1])[0, 1] < 0.8, "else multiply-adds would do"


def test_nothing_is_said_from_too_few_or_from_failures() -> None:
    rng = np.random.default_rng(2)
    forecast = learnt(rng, 7)
    one = job(rng)
    forecast.count(one)
    assert forecast.seconds(one) is None
    forecast.learn(job(rng), Measurement.failure("diverged", "x", seconds=1.0, epochs=1))
    assert not forecast.catch_up()
    forecast.learn(job(rng), Measurement("ok", seconds=1.0, epochs=1))
    while forecast.catch_up():
        pass
    assert forecast.seconds(one) is not None


def test_nobody_counts_where_trainings_are_as_short_as_counting() -> None:
    rng = np.random.default_rng(4)

    def slowly(job: Job) -> Work:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        return work(job)

    for seconds, pays in ((0.01, False), (10.0, True)):
        forecast = Forecast(slowly)
        assert not forecast.pays(), "nothing is known yet"
        for _ in range(9):
            forecast.learn(job(rng), Measurement("ok", seconds=seconds, epochs=1))
        assert forecast.catch_up()  # one, to see what it takes
        assert forecast.pays() is pays
        assert forecast.catch_up() is pays


def test_a_training_that_went_on_says_nothing_of_a_whole_one() -> None:
    one = job(np.random.default_rng(5))
    forecast = Forecast(work)
    for part in ({"done": 1}, {"safe": True}):
        resumed = replace(one, paused="file", **part)
        forecast.learn(resumed, Measurement("ok", seconds=9.0, epochs=5))
        assert not forecast.catch_up()
    forecast.learn(replace(one, paused="file", until=1), Measurement("ok", seconds=9.0, epochs=1))
    assert forecast.catch_up()


def test_what_cannot_be_counted_is_left_to_its_training() -> None:
    asked = []

    def fails(job: Job) -> Work:
        asked.append(job)
        raise InputError("no such block")

    forecast, one = Forecast(fails), job(np.random.default_rng(0))
    for _ in range(2):
        assert forecast.count(one) is None
    assert forecast.knows(one)
    assert forecast.seconds(one) is None
    assert forecast.memory(one) == 0.0
    assert len(asked) == 1


def test_bytes_are_predicted_then_follow_what_was_measured() -> None:
    rng = np.random.default_rng(3)
    one = job(rng, elements=50_000, widest=20_000, params=7_000)
    formula = 20 * 7_000 + max(8 * 32 * 50_000, 4 * LARGE * 20_000)
    assert formula == 20_620_000
    assert Forecast(work).memory(one) == 2 * formula
    wide = job(rng, elements=10_000, widest=20_000, params=0)
    assert Forecast(work).memory(wide) == 2 * 4 * LARGE * 20_000
    forecast = Forecast(work)
    for part in (1.0, 1.25, 0.5, 1.0, 1.0, 1.0, 1.0):
        measured = Measurement("ok", seconds=1.0, epochs=1, memory=int(part * formula))
        forecast.learn(one, measured)
        while forecast.catch_up():
            pass
        assert forecast.memory(one) == 2 * formula  # too few yet
    forecast.learn(one, measured)
    while forecast.catch_up():
        pass
    assert forecast.memory(one) == pytest.approx(1.25 * formula)


def test_the_estimator_counts_its_jobs(setting: TrainingContext) -> None:
    head = Architecture("residual_head", {"width": 4, "tap": "block4"})
    before = torch.random.get_rng_state()
    there = Estimator.work(setting, Job(0, head, 0, ONCE))
    assert torch.equal(torch.random.get_rng_state(), before)
    module = Estimator(setting)(Job(0, head, 0, ONCE))
    assert (there.macs, there.params) == (module.macs, module.params)
    wide = Architecture("residual_head", {"width": 8, "tap": "block4"})
    assert Estimator.work(setting, Job(0, wide, 0, ONCE)).elements > there.elements > 0
