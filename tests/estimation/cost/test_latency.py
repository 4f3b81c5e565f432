"""How long one image takes, and the axes that it may be one of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evonas.core.experiment import changed, check
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.errors import InputError
from evonas.estimation.cost.latency import REPEATS, WARM_UP, latency
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.space import Architecture

HEAD = Architecture("residual_head", {"width": 8, "tap": "block4"})


class Noted(torch.nn.Module):
    """Notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.seen: list[tuple[tuple[int, ...], bool, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((tuple(x.shape), self.training, torch.is_inference_mode_enabled()))
        return self.norm(x)


def test_it_times_single_images_and_leaves_the_network_in_evaluation_mode() -> None:
    module = Noted().train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = latency(module, (3, 5, 4), "cpu")
    assert found.ms > 0
    assert found.noise >= 0
    assert not module.training
    assert not module.norm.training
    assert module.seen == [((1, 3, 5, 4), False, True)] * (WARM_UP + REPEATS)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_it_is_the_median_without_the_warm_up_and_its_noise_half_the_quartiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the warm-up takes seconds, then 1, 2, ..., 50 milliseconds: the median is 25.5
    spent = [5.0] * WARM_UP + [1e-3 * n for n in range(1, REPEATS + 1)]
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, s) for s in spent))
    moments: Iterator[float] = iter(list(clock))
    monkeypatch.setattr("evonas.estimation.cost.latency.time.perf_counter", lambda: next(moments))
    found = latency(torch.nn.Identity(), (1, 1, 1), "cpu")
    assert found.ms == pytest.approx(25.5)
    # the quartiles are 13.25 and 37.75
    assert found.noise == pytest.approx(12.25 / 25.5, abs=1e-4)


def test_a_network_that_takes_no_time_was_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = itertools.count(step=1e-9)
    monkeypatch.setattr("evonas.estimation.cost.latency.time.perf_counter", lambda: next(ticks))
    assert latency(torch.nn.Identity(), (1, 1, 1), "cpu").ms == 1e-4


def test_a_job_has_a_latency_where_it_asks_for_one(setting: TrainingContext) -> None:
    job = Job(0, HEAD, seed=5, training=TrainingSettings(epochs=1))
    estimator = Estimator(setting)
    plain, timed = estimator(job), estimator(replace(job, latency=True))
    assert plain.latency == 0.0
    assert timed.latency > 0.0
    assert timed.latency_noise >= 0.0
    assert timed.metrics == plain.metrics
    assert (timed.macs, timed.params) == (plain.macs, plain.params)


def test_a_job_that_failed_has_no_latency(setting: TrainingContext) -> None:
    wrong = Architecture("residual_head", {"width": 0})
    job = Job(0, wrong, seed=5, training=TrainingSettings(epochs=1), latency=True)
    found = Estimator(setting)(job)
    assert (found.status, found.latency) == ("failed", 0.0)


def test_kept_weights_do_not_depend_on_the_timing(setting: TrainingContext, tmp_path: Path) -> None:
    job = Job(0, HEAD, seed=5, training=TrainingSettings(epochs=1))
    files = [tmp_path / "plain", tmp_path / "timed"]
    for file, wanted in zip(files, (False, True), strict=True):
        Estimator(setting)(replace(job, latency=wanted, weights=str(file)))
    plain, timed = (load_file(file) for file in files)
    assert plain.keys() == timed.keys()
    assert all(torch.equal(plain[key], timed[key]) for key in plain)


def test_axes_are_told_in_the_order_of_the_settings() -> None:
    found = Measurement("ok", {"mae": 4.0}, macs=100, params=30, latency=0.5)
    axes = ("error", "latency", "params", "macs")
    assert Objective("mae", ObjectiveSettings(axes=axes)).axes(found) == (4.0, 0.5, 30.0, 100.0)
    assert Objective("mae", ObjectiveSettings()).axes(found) == (4.0, 100.0)
    failed = Measurement.failure("diverged", "nan", macs=100)
    error, macs = Objective("mae", ObjectiveSettings()).axes(failed)
    assert (error != error, macs) == (True, 100.0)


@pytest.mark.parametrize(
    "axes",
    [["macs", "error"], ["error"], [], ["macs"], ["error", "macs", "macs"], ["error", "error"]],
)
def test_axes_are_the_error_and_something_to_pay(tiny: dict[str, Any], axes: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check({**tiny, "objective": {"axes": axes}}, "tests")
    assert caught.value.args[0] == (
        "tests: objective.axes: expected error first, then one or more of macs, params, latency, "
        f"got {str(axes)!r}"
    )


def test_an_unknown_axis_is_named_with_those_there_are(tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        check({**tiny, "objective": {"axes": ["error", "flops"]}}, "tests")
    assert caught.value.args[0] == (
        "tests: objective.axes.1: input should be 'error', 'macs', 'params' or 'latency', "
        "got 'flops'"
    )


@pytest.mark.parametrize("text", ["[error, params]", "[error,macs,params,latency]"])
def test_axes_may_be_given_on_the_command_line(tiny: dict[str, Any], text: str) -> None:
    found = changed(check(tiny, "tests"), [f"objective.axes={text}"]).objective.axes
    assert list(found) == [word.strip() for word in text.strip("[]").split(",")]
