"""Null models of distinctiveness: pairs among random and among shuffled vectors."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.deployment.distinctiveness.null_model import chance, shuffled
from evonas.deployment.distinctiveness.unit_similarity import relations


@pytest.mark.parametrize(
    ("distribution", "similar", "complementary"), [("uniform", 161, 156), ("normal", 107, 88)]
)
def test_chance_of_the_published_size(distribution: str, similar: int, complementary: int) -> None:
    """2048 vectors of 7 numbers; one draw each, measured by others, within three deviations."""
    found = chance(2048, 7, distribution, seed=1, repeats=12)  # type: ignore[arg-type]
    assert abs(found.similar.mean - similar) < 3 * found.similar.sd
    assert abs(found.complementary.mean - complementary) < 3 * found.complementary.sd
    assert found.similar.sd < 100
    # of units in a pair of either kind: about two a pair, fewer where pairs share one
    both = found.similar.mean + found.complementary.mean
    assert 0.6 * both < found.removed["exact"].mean < both
    assert found.removed["exact"].mean < found.removed["literal"].mean < 2 * both


def test_chance_of_uniform_directions_is_that_of_caps() -> None:
    """On a circle two of n directions are within 15 degrees with probability 1/12."""
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    found = shuffled(rows, seed=0, repeats=1)
    pairs = 400 * 399 / 2
    assert relations(rows).similar_pairs == pytest.approx(pairs / 12, rel=0.1)
    assert relations(rows).complementary_pairs == pytest.approx(pairs / 12, rel=0.1)
    assert found.similar.sd == 0


def test_shuffling_keeps_each_number_and_loses_the_units() -> None:
    rng = np.random.default_rng(0)
    prototype = rng.standard_normal((10, 7))
    rows = np.repeat(prototype, 20, 0) + 0.01 * rng.standard_normal((200, 7))
    own, found = relations(rows), shuffled(rows, seed=3, repeats=10)
    assert own.similar_pairs >= 10 * 190
    assert found.similar.mean < own.similar_pairs / 20
    offset = rows + 50.0 * np.eye(7)[0]  # all point the same way, shuffled or not
    assert shuffled(offset, seed=3, repeats=2).similar.mean == 200 * 199 / 2
    assert shuffled(rows, seed=3, repeats=10) == found != shuffled(rows, seed=4, repeats=10)
