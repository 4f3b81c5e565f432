"""Costs before training as the objective counts them, and hard limits on them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.core.settings import ObjectiveSettings
from evonas.estimation.cost.limits import BackboneShare, KnownCosts, worded
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture

TAPS = {
    "low": BackboneShare(10, WeightCount(100, 4)),
    "high": BackboneShare(1000, WeightCount(5000, 6)),
}


def known(**settings: Any) -> KnownCosts:
    """Costs of an architecture that names them; the backbone counts with ``counts=total``."""
    total = settings.get("counts") == "total"
    return KnownCosts(
        ObjectiveSettings(**settings),
        lambda one: int(one.settings["macs"]),
        lambda one: WeightCount(int(one.settings["params"]), int(one.settings["norms"])),
        (lambda one: TAPS[str(one.settings["tap"])]) if total else None,
    )


def network(macs: int = 7, params: int = 30, norms: int = 2, tap: str = "low") -> Architecture:
    return Architecture("toy", {"macs": macs, "params": params, "norms": norms, "tap": tap})


def test_megabytes_are_four_for_a_million_floats() -> None:
    limits = {"max_macs": 1, "max_params": 1, "max_mb": 1.0}
    assert known(**limits).figures(network()) == {
        "max_macs": 7,
        "max_params": 30,
        "max_mb": 32 * 4 / 1e6,
    }


def test_in_total_the_tap_counts() -> None:
    costs = known(counts="total", max_macs=1, max_params=1, max_mb=1.0)
    assert costs.figures(network(tap="low")) == {
        "max_macs": 17,
        "max_params": 130,
        "max_mb": 136 * 4 / 1e6,
    }
    assert costs.counted_macs(network(tap="high")) == 1007
    assert known(max_macs=1).counted_macs(network(tap="high")) == 7


@given(
    macs=st.integers(1, 100),
    params=st.integers(1, 100),
    limits=st.tuples(*(st.none() | st.integers(1, 100),) * 3),
)
def test_what_is_admitted_exceeds_nothing(
    macs: int, params: int, limits: tuple[int | None, int | None, int | None]
) -> None:
    most_macs, most_params, bytes_ = limits
    most_mb = None if bytes_ is None else 4 * bytes_ / 1e6
    costs = known(max_macs=most_macs, max_params=most_params, max_mb=most_mb)
    one = network(macs, params, 0)
    others = (most_params is None or params <= most_params) and (bytes_ is None or params <= bytes_)
    assert costs.admits(one) == ((most_macs is None or macs <= most_macs) and others)
    excess = costs.excess
    assert (excess is None) == (most_params is None and bytes_ is None)
    if excess is not None:
        assert (excess(one) == 0.0) == others


def test_excess_adds_up_and_falls_with_cost() -> None:
    excess = known(max_params=10, max_mb=0.00004).excess
    assert excess is not None
    assert excess(network(params=30, norms=0)) == pytest.approx(2.0 + 2.0)
    assert excess(network(params=20, norms=0)) == pytest.approx(1.0 + 1.0)
    assert excess(network(macs=10**9, params=10, norms=0)) == 0.0


def test_limits_are_worded_as_they_are_written() -> None:
    assert worded("max_macs", 1474240) == "objective.max_macs=1474240"
    assert worded("max_mb", 2.5) == "objective.max_mb=2.5"
