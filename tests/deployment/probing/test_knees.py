"""Knees of any curve: equation 2."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evonas.deployment.probing.characteristic_curves import Curve


@st.composite
def some_curves(draw: st.DrawFn) -> Curve:
    """Any curve: filters need not rise, errors need not fall, ties abound."""
    count, width = draw(st.integers(2, 12)), 6
    filters = [0, *draw(st.lists(st.integers(0, width), min_size=count, max_size=count))]
    error = st.sampled_from([1.0, 1.5, 2.0, 2.001, 2.1, 3.0, 7.0])
    errors = draw(st.lists(error, min_size=count + 1, max_size=count + 1))
    chosen = np.arange(width)[None] < np.array(filters)[:, None]
    return Curve(np.ones(count + 1), np.array(filters), np.array(errors), chosen)


shares = st.floats(0, 0.99)


@given(some_curves(), shares, shares)
def test_a_larger_threshold_keeps_no_more(made: Curve, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert made.filters[made.knee(high)] <= made.filters[made.knee(low)]
    assert made.kept(high).sum() <= made.kept(low).sum()
    assert made.kept(high).any()


@given(some_curves(), shares)
def test_a_knee_is_the_least_that_meets_equation_2(made: Curve, threshold: float) -> None:
    some = [k for k, count in enumerate(made.filters) if count]
    if not some:
        assert made.kept(threshold).all()
        return
    least, most = min(made.errors[k] for k in some), max(made.errors)
    fine = [k for k in some if made.errors[k] <= least + threshold * (most - least)]
    at = made.knee(threshold)
    assert at in fine
    assert made.filters[at] == min(made.filters[k] for k in fine)


@given(some_curves())
def test_without_a_threshold_the_knee_is_the_best(made: Curve) -> None:
    some = made.filters > 0
    if some.any():
        assert made.errors[made.knee(0)] == made.errors[some].min()


def test_equal_numbers_of_filters_count_by_the_better_fit() -> None:
    made = Curve(
        np.ones(4), np.array([0, 2, 2, 4]), np.array([9.0, 4, 3, 3.5]), np.ones((4, 4), bool)
    )
    assert made.knee(0.5) == 2
    assert replace(made, errors=np.array([9.0, 3, 4, 3.5])).knee(0.5) == 1
