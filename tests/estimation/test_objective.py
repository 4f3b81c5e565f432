"""The fitness: error x (F / T)^w, F the multiply-adds; one sided or soft."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from evonas.core.settings import ObjectiveSettings
from evonas.core.short_forms import written_out
from evonas.estimation.cost.limits import BackboneShare, KnownCosts
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.models.weight_count import WeightCount
from evonas.runs.trial import Trial

TARGET = 5_000_000  # the default target, multiply-adds
MODES = ["one_sided", "soft"]


def objective(mode: str = "one_sided", **changes: object) -> Objective:
    return Objective("mae", ObjectiveSettings(mode=mode, **changes))


def measured(macs: int, error: float = 4.0) -> Measurement:
    return Measurement("ok", {"mae": error, "other": 1.0}, macs=macs)


@pytest.mark.parametrize("mode", MODES)
def test_doubling_the_operations_costs_2_to_the_w(mode: str) -> None:
    made = objective(mode)
    ratio = made(measured(4 * TARGET)) / made(measured(2 * TARGET))
    assert ratio == pytest.approx(2**0.06, rel=1e-12)
    assert ratio == pytest.approx(1.0425, abs=5e-5)  # 4.25 %


def test_below_the_target_one_sided_is_the_error_itself_and_soft_is_less() -> None:
    assert objective("one_sided")(measured(TARGET // 2)) == 4.0
    assert objective("one_sided")(measured(0)) == 4.0
    assert objective("soft")(measured(TARGET // 2)) == pytest.approx(4.0 / 2**0.06, rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_target_costs_nothing_and_the_penalty_is_continuous_there(mode: str) -> None:
    made = objective(mode)
    assert made.penalty(TARGET) == 1.0
    for macs in (TARGET - 1, TARGET + 1):
        assert made.penalty(macs) == pytest.approx(1.0, abs=1e-7)
    assert made.penalty(TARGET + 1) > 1.0


@pytest.mark.parametrize("mode", MODES)
@given(a=st.integers(0, 10**10), b=st.integers(0, 10**10))
def test_the_penalty_never_falls_with_cost(mode: str, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert objective(mode).penalty(low) <= objective(mode).penalty(high)


@given(a=st.floats(0.0, 1e6), b=st.floats(0.0, 1e6))
def test_the_fitness_never_falls_with_the_error(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert objective()(measured(3 * TARGET, low)) <= objective()(measured(3 * TARGET, high))


@pytest.mark.parametrize("mode", MODES)
def test_no_weight_no_penalty(mode: str) -> None:
    assert objective(mode, weight=0.0)(measured(10**9)) == 4.0


def test_the_target_is_in_multiply_adds() -> None:
    assert objective(target_macs=1_000_000).penalty(1_000_000) == 1.0
    assert objective(target_macs=1_000_000, weight=1.0).penalty(2_000_000) == 2.0


@given(
    macs=st.integers(0, 10**10),
    target=st.integers(1, 10**6),
    error=st.floats(0.1, 1e3),
    mode=st.sampled_from(MODES),
    weight=st.sampled_from([0.06, 1.0]),
)
def test_a_fitness_has_the_bits_that_it_has_in_floating_point_operations(
    macs: int, target: int, error: float, mode: str, weight: float
) -> None:
    """The ratio of two counts does not depend on their unit; older runs are ranked as they were."""
    mflops = target / 100
    given = {"target_mflops": mflops, "mode": mode, "weight": weight}
    settings = written_out({"objective": given})["objective"]
    ratio = 2.0 * macs / round(mflops * 1e6)
    if mode == "one_sided":
        ratio = max(1.0, ratio)
    assert objective(**settings)(measured(macs, error)) == error * ratio**weight


@pytest.mark.parametrize(
    "measurement",
    [
        Measurement.failure("diverged", "nan", macs=5),
        Measurement("failed", {"mae": 1.0}),
        Measurement("ok", {"mae": math.nan}),
        Measurement("ok", {"mae": math.inf}),
        Measurement("ok", {"other": 1.0}),
    ],
)
def test_what_failed_or_has_no_number_is_infinitely_bad(measurement: Measurement) -> None:
    assert objective()(measurement) == math.inf


def test_the_hard_limit_is_inclusive_and_optional() -> None:
    assert objective(max_macs=100).feasible(100)
    assert not objective(max_macs=100).feasible(101)
    assert objective().feasible(10**15)


def test_a_failure_keeps_one_line() -> None:
    failure = Measurement.failure("exception", "\n first\nsecond", macs=3)
    assert (failure.status, failure.error, failure.macs) == ("failed", "first", 3)
    assert len(Measurement.failure("exception", "x" * 9999).error) == 300


def test_parameters_instead_of_operations_as_mcnally_et_al_have_it() -> None:
    made = objective("soft", cost="params", weight=0.07)
    at_target = made(Measurement("ok", {"mae": 4.0}, macs=1, params=5_000_000))
    assert at_target == pytest.approx(4.0, rel=1e-12)
    twice = made(Measurement("ok", {"mae": 4.0}, macs=10**12, params=10_000_000))
    assert twice == pytest.approx(4.0 * 1.0498, rel=1e-4)  # 4.98 %
    half = made(Measurement("ok", {"mae": 4.0}, params=2_500_000))
    assert half == pytest.approx(4.0 / 1.0498, rel=1e-4)
    assert objective(cost="params")(Measurement("ok", {"mae": 4.0}, params=2_500_000)) == 4.0


def test_latency_instead_of_operations() -> None:
    made = objective("soft", cost="latency", target_ms=0.5, weight=0.07)
    for ms, factor in ((0.5, 1.0), (1.0, 1.0498), (0.25, 1 / 1.0498)):
        found = Measurement("ok", {"mae": 4.0}, macs=10**12, params=10**9, latency=ms)
        assert made(found) == pytest.approx(4.0 * factor, rel=1e-4)
    one_sided = objective(cost="latency", target_ms=0.5, weight=0.07)
    assert one_sided(Measurement("ok", {"mae": 4.0}, latency=0.25)) == 4.0
    assert one_sided.penalty(0, 0, 1.0) == pytest.approx(2**0.07)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_timed_is_no_winner(mode: str) -> None:
    assert objective(mode, cost="latency")(Measurement("ok", {"mae": 4.0}, macs=1)) == math.inf


def test_latencies_are_measured_where_they_count() -> None:
    assert not objective().timed
    assert not objective(cost="params").timed
    assert objective(cost="latency").timed
    assert objective(axes=("error", "latency")).timed


def test_in_total_penalty_and_axes_count_the_backbone_up_to_the_tap() -> None:
    settings = ObjectiveSettings(
        counts="total", mode="soft", weight=1.0, axes=("error", "macs", "params", "latency")
    )
    taps = {"low": BackboneShare(TARGET, WeightCount(40, 9)), "high": BackboneShare(3 * TARGET)}
    known = KnownCosts(
        settings, lambda _: 0, lambda _: WeightCount(), lambda one: taps[one.settings["tap"]]
    )
    made = Objective("mae", settings, known)
    for tap, factor in (("low", 2.0), ("high", 4.0)):
        plain = {"network": "toy", "settings": {"tap": tap}}
        assert made(measured(TARGET), plain) == pytest.approx(4.0 * factor)
    trial = Trial(0, 0, (), "d", {"network": "toy", "settings": {"tap": "low"}}, "ok", 1.0, 5)
    trial = replace(trial, params=2, latency=0.5, metrics={"mae": 4.0})
    assert made.axes(trial) == (4.0, TARGET + 5, 42, 0.5)
    assert made.cost_of(trial) == TARGET + 5
    alone = Objective("mae", settings.model_copy(update={"counts": "head"}))
    assert alone.axes(trial) == (4.0, 5, 2, 0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("max_macs", -1), ("max_params", 0), ("max_mb", -0.5), ("max_ms", 0.0)]
)
def test_limits_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{name}\n.*(greater than)"):
        ObjectiveSettings(**{name: value})


def test_a_limit_on_latency_has_it_measured() -> None:
    assert objective(max_ms=2.0).timed
