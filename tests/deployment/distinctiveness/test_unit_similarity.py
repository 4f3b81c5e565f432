"""Distinctiveness: which units are found, and what merging preserves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.deployment.distinctiveness.unit_similarity import (
    MERGES,
    Merged,
    Relations,
    merge,
    relations,
    vectors,
)

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Array:
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def outputs(weight: Array, bias: Array, activations: Array) -> Array:
    return activations @ weight.T + bias


def left(merged: Merged, activations: Array) -> Array:
    return outputs(merged.weight, merged.bias, activations[:, merged.kept])


def layer(seed: int, units: int = 5, patterns: int = 40) -> tuple[Array, Array, Array]:
    """Weights, bias and activations of units that have nothing in common."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal((3, units)), rng.standard_normal(3)
    return weight, bias, rng.exponential(1.0, (patterns, units))


def found_in(activations: Array, weight: Array) -> Relations:
    return relations(vectors("activations", weight, activations))


def test_angles_of_15_and_165_degrees_are_the_borders() -> None:
    assert relations(at(0, 14.9)).similar == ((0, 1),)
    assert relations(at(0, 15.1)).similar == ()
    assert relations(at(0, 165.1)).complementary == ((0, 1),)
    assert relations(at(0, 164.9)) == Relations((), (), (), 0, 0)
    assert relations(at(0, 25, 150), similar=30, complementary=140).similar_pairs == 1
    assert relations(at(0, 25, 150), similar=20, complementary=140).complementary == ((0, 2),)
    assert relations(at(0, 10) * [[1.0], [1000.0]]).similar == ((0, 1),)  # lengths do not matter


def test_pairs_are_greedy_in_order_and_share_no_unit() -> None:
    found = relations(at(0, 180, 5, 8, 90))
    assert found.complementary == ((0, 1),)  # the first that fits, not the nearest
    assert found.similar == ((2, 3),)
    assert (found.similar_pairs, found.complementary_pairs) == (3, 3)
    assert (found.removed("literal"), found.removed("exact")) == (3, 2)


def test_vectors_without_length_are_found_and_in_no_pair() -> None:
    found = relations(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0]]))
    assert found.zero == (0, 3)
    assert found.similar == ((1, 2),)
    assert found.similar_pairs == 1


@given(SEEDS, st.integers(1, 600), st.integers(1, 4))
@settings(max_examples=20)
def test_counts_are_those_of_all_pairs(seed: int, units: int, d: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((units, d))
    found = relations(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    upper = (unit @ unit.T)[np.triu_indices(units, 1)]
    border = math.cos(math.radians(15))
    near = int((np.abs(np.abs(upper) - border) < 1e-6).sum())  # single precision may differ
    assert abs(found.similar_pairs - int((upper > border).sum())) <= near
    assert abs(found.complementary_pairs - int((upper < -border).sum())) <= near
    used = [unit for pair in (*found.similar, *found.complementary) for unit in pair]
    assert len(set(used)) == len(used)
    assert len(found.similar) <= found.similar_pairs


def test_weights_are_scaled_as_one_matrix_and_activations_by_unit() -> None:
    weight = np.array([[0.0, 2.0], [4.0, 1.0]])  # (outputs, units)
    activations = np.array([[0.0, 10.0, 3.0], [1.0, 30.0, 3.0], [4.0, 20.0, 3.0]])
    assert vectors("weights", weight, activations).tolist() == [[-0.5, 0.5], [0.0, -0.25]]
    assert vectors("activations", weight, activations).tolist() == [
        [-0.5, -0.25, 0.5],
        [-0.5, 0.5, 0.0],
        [0.0, 0.0, 0.0],
    ]


@given(SEEDS, st.floats(0.05, 20.0))
@settings(max_examples=50)
def test_a_scaled_copy_is_merged_without_a_trace(seed: int, c: float) -> None:
    """a_j = c a_i: the factor is c = <a_j, a_i> / <a_i, a_i>, and no bias is added."""
    weight, bias, activations = layer(seed)
    activations[:, 3] = c * activations[:, 1]
    before = outputs(weight, bias, activations)
    found = found_in(activations, weight)
    assert (1, 3) in found.similar
    only = Relations(((1, 3),), (), (), 1, 0)
    exact = merge("exact", weight, bias, activations, only)
    assert exact.kept.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(left(exact, activations), before, atol=1e-5)
    np.testing.assert_allclose(exact.weight[:, 1], weight[:, 1] + c * weight[:, 3])
    np.testing.assert_allclose(exact.bias, bias, atol=1e-9)
    literal = merge("literal", weight, bias, activations, only)
    moved = left(literal, activations) - before
    np.testing.assert_allclose(
        moved, np.outer((1 - c) * activations[:, 1], weight[:, 3]), atol=1e-9
    )


def test_a_literal_merge_of_equal_units_changes_nothing() -> None:
    weight, bias, activations = layer(1)
    activations[:, 3] = activations[:, 1]
    found = merge("literal", weight, bias, activations, Relations(((1, 3),), (), (), 1, 0))
    np.testing.assert_allclose(left(found, activations), outputs(weight, bias, activations))


@given(SEEDS, st.floats(-5.0, 5.0))
@settings(max_examples=50)
def test_a_constant_sum_is_folded_without_a_trace(seed: int, total: float) -> None:
    """a_i + a_j = k: w_i -= w_j, b += k w_j, and j alone is removed."""
    weight, bias, activations = layer(seed)
    activations[:, 3] = total - activations[:, 1]
    found = found_in(activations, weight)
    assert (1, 3) in found.complementary
    exact = merge("exact", weight, bias, activations, Relations((), ((1, 3),), (), 0, 1))
    assert exact.kept.tolist() == [0, 1, 2, 4]
    before = outputs(weight, bias, activations)
    np.testing.assert_allclose(left(exact, activations), before, atol=1e-5)
    np.testing.assert_allclose(exact.weight[:, 1], weight[:, 1] - weight[:, 3], atol=1e-9)
    np.testing.assert_allclose(exact.bias, bias + total * weight[:, 3], atol=1e-9)
    literal = merge("literal", weight, bias, activations, Relations((), ((1, 3),), (), 0, 1))
    assert literal.kept.tolist() == [0, 2, 4]
    assert np.abs(left(literal, activations) - before).max() > 1e-3


def test_both_of_a_constant_sum_go_where_their_weights_are_the_same() -> None:
    weight, bias, activations = layer(2)
    activations[:, 3] = 2.5 - activations[:, 1]
    weight[:, 3] = weight[:, 1]
    exact = merge("exact", weight, bias, activations, Relations((), ((1, 3),), (), 0, 1))
    assert exact.kept.tolist() == [0, 2, 4]
    before = outputs(weight, bias, activations)
    np.testing.assert_allclose(left(exact, activations), before, atol=1e-9)


@given(SEEDS, st.floats(-3.0, 3.0).filter(lambda c: abs(c) > 0.1), st.floats(-3.0, 3.0))
@settings(max_examples=50)
def test_any_line_is_exact(seed: int, slope: float, offset: float) -> None:
    weight, bias, activations = layer(seed)
    activations[:, 3] = slope * activations[:, 1] + offset
    found = found_in(activations, weight)
    assert (1, 3) in (found.similar if slope > 0 else found.complementary)
    exact = merge("exact", weight, bias, activations, found)
    if len(exact.kept) == 4:  # no other two happened to be close
        np.testing.assert_allclose(
            left(exact, activations), outputs(weight, bias, activations), atol=1e-5
        )


@pytest.mark.parametrize("pairs", ["similar", "complementary"])
def test_what_is_no_line_changes_outputs_least_and_their_mean_not_at_all(pairs: str) -> None:
    weight, bias, activations = layer(3)
    pair = ((0, 4),)
    related = Relations(pair, (), (), 1, 0) if pairs == "similar" else Relations((), pair, (), 0, 1)
    before = outputs(weight, bias, activations)
    exact = merge("exact", weight, bias, activations, related)
    change = left(exact, activations) - before
    np.testing.assert_allclose(change.mean(0), 0.0, atol=1e-9)
    literal = left(merge("literal", weight, bias, activations, related), activations) - before
    assert np.square(change).mean() < np.square(literal).mean()
    for shift in (-0.01, 0.01):  # no other multiple of w_j does better
        other = exact.weight.copy()
        other[:, 0] += shift * weight[:, 4]
        there = outputs(other, exact.bias, activations[:, exact.kept]) - before
        assert np.square(there - there.mean(0)).sum() > np.square(change).sum()


def test_a_unit_that_never_changes_becomes_a_bias() -> None:
    weight, bias, activations = layer(4)
    activations[:, 2] = 1.7
    found = found_in(activations, weight)
    assert found.zero == (2,)
    only = Relations((), (), (2,), 0, 0)
    exact = merge("exact", weight, bias, activations, only)
    np.testing.assert_allclose(left(exact, activations), outputs(weight, bias, activations))
    # by its weights it may be like another one: it goes, not the other
    both = Relations(((2, 3),), (), (), 1, 0)
    exact = merge("exact", weight, bias, activations, both)
    assert exact.kept.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(left(exact, activations), outputs(weight, bias, activations))


def test_one_unit_without_weight_is_left_of_none() -> None:
    weight, bias, activations = layer(5, units=2)
    found = merge("literal", weight, bias, activations, Relations((), ((0, 1),), (), 0, 1))
    assert found.kept.tolist() == [0]
    np.testing.assert_allclose(left(found, activations), np.tile(bias, (len(activations), 1)))


def test_equal_weights_have_no_scale() -> None:
    weight = np.full((3, 4), 2.0)
    assert not vectors("weights", weight, np.ones((5, 4))).any()


def test_what_a_merge_removes_is_what_its_relations_say() -> None:
    weight, bias, activations = layer(6, units=60)
    related = relations(vectors("weights", weight, activations))
    for how in MERGES:
        kept = merge(how, weight, bias, activations, related).kept
        assert len(kept) == 60 - related.removed(how)
