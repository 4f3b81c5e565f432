"""Fronts, their volume and their knee, on points made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evonas.runs.pareto import hypervolume, knee, nondominated

STAIRS = [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([*STAIRS, [3, 3], [1, 5], [4, 4]], [0, 1, 2]),
        ([[3, 3], *STAIRS], [1, 2, 3]),
        ([[2, 2]], [0]),
        ([[5, 5, 5], [1, 9, 9], [9, 1, 9], [9, 9, 1]], [0, 1, 2, 3]),
        ([[5, 5, 5], [5, 5, 6], [5, 4, 5]], [2]),
        ([[1, 2], [1, 3], [2, 2]], [0]),  # as good on one axis is dominated all the same
        ([[3], [1], [2]], [1]),
    ],
)
def test_what_no_other_dominates_is_the_front(points: list, expected: list[int]) -> None:
    assert nondominated(np.array(points, np.float64)).tolist() == expected


def test_a_place_that_is_taken_twice_is_on_the_front_once() -> None:
    found = nondominated(np.array([[2.0, 2], [1, 4], [2, 2], [1, 4], [1, 4]]))
    assert found.tolist() == [0, 1]


def test_rows_with_a_nan_are_left_out_and_hide_nothing() -> None:
    points = np.array([[np.nan, 0.0], [1, 4], [0, np.nan], [2, 2], [np.nan, np.nan]])
    assert nondominated(points).tolist() == [1, 3]
    assert nondominated(np.full((3, 2), np.nan)).tolist() == []


def test_no_points_have_no_front() -> None:
    assert nondominated(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([[0, 0]], [1, 1], 1.0),
        ([[0.5, 0.25]], [1, 1], 0.375),
        # columns of width 1, 2, 1 and height 1, 3, 4 below the corner (5, 5)
        (STAIRS, [5, 5], 1 * 1 + 2 * 3 + 1 * 4),
        ([*STAIRS, [3, 3], [2, 2]], [5, 5], 11.0),
        ([[0, 0, 0]], [2, 3, 4], 24.0),
        # two boxes of 4 share one of 2
        ([[0, 1, 1], [1, 0, 1]], [2, 3, 2], 4 + 3 - 2),
        # three boxes of 2 * 2 * 1 that share the unit cube, and nothing else
        ([[0, 0, 1], [0, 1, 0], [1, 0, 0]], [2, 2, 2], 3 * 4 - 3 * 2 + 1),
    ],
)
def test_hypervolumes_worked_out_by_hand(points: list, reference: list, volume: float) -> None:
    found = hypervolume(np.array(points, np.float64), np.array(reference, np.float64))
    assert found == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("outside", [[6, 0], [0, 6], [5, 0], [5, 5], [np.nan, 0], [np.inf, 0]])
def test_points_outside_the_reference_do_not_count(outside: list[float]) -> None:
    corner = np.array([5.0, 5.0])
    assert hypervolume(np.array([*STAIRS, outside]), corner) == 11.0
    assert hypervolume(np.array([outside], np.float64), corner) == 0.0


def test_no_points_have_no_volume() -> None:
    assert hypervolume(np.empty((0, 3)), np.ones(3)) == 0.0


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0, 10], [1, 2], [10, 0]], 1),
        ([[0, 10], [9, 9], [9.5, 3], [10, 0]], 0),  # bulges outward: an end is as good
        ([[0, 1000], [1, 900], [2, 100], [10, 0]], 2),  # axes count alike, whatever their unit
        ([[0, 0.0010], [1, 0.0009], [2, 0.0001], [10, 0]], 2),
        ([[5, 7]], 0),
        ([[3, 9], [2, 9], [4, 9]], 1),  # a constant axis says nothing
        ([[3, 9], [3, 9]], 0),
        ([[0, 10, 10], [10, 0, 10], [10, 10, 0], [2, 3, 2]], 3),
    ],
)
def test_the_knee_bulges_most(points: list, expected: int) -> None:
    assert knee(np.array(points, np.float64)) == expected


@given(
    scale=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
    shift=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
)
def test_the_knee_does_not_depend_on_units(
    scale: tuple[float, float], shift: tuple[float, float]
) -> None:
    points = np.array([[0.0, 10], [1, 8], [3, 3], [7, 2], [10, 0]])
    assert knee(points * scale + shift) == 2


numbers = st.integers(0, 6).map(float) | st.floats(0, 6) | st.just(np.nan)
clouds = st.integers(1, 4).flatmap(
    lambda m: arrays.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(m)), elements=numbers)
)


@given(clouds)
def test_the_front_explains_every_point_and_nothing_in_it_another(points: np.ndarray) -> None:
    front = points[nondominated(points)]
    for point in points[np.isfinite(points).all(axis=1)]:
        assert (front <= point).all(axis=1).any()
    for i, one in enumerate(front):
        rest = np.delete(front, i, axis=0)
        assert not (rest <= one).all(axis=1).any()


@given(clouds, st.floats(0.5, 7))
def test_the_volume_is_that_of_the_front_and_never_shrinks(
    points: np.ndarray, corner: float
) -> None:
    reference = np.full(points.shape[1], corner)
    volumes = [hypervolume(points[:n], reference) for n in range(len(points) + 1)]
    assert volumes[0] == 0.0
    for less, more in itertools.pairwise(volumes):
        assert more >= less * (1 - 1e-12)
    assert volumes[-1] <= corner ** len(reference) * (1 + 1e-12)
    own = hypervolume(points[nondominated(points)], reference)
    assert own == pytest.approx(volumes[-1], rel=1e-12)
