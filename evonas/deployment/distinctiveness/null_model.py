"""How many similar and complementary units chance alone gives: the null models of distinctiveness.

In few dimensions angles below 15 degrees are common. Of 2048 random vectors of 7 numbers, the
size of the published case, some 160 pairs are similar and as many complementary; so a count of
pairs says something only beside what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from evonas.deployment.distinctiveness.unit_similarity import (
    COMPLEMENTARY,
    MERGES,
    SIMILAR,
    Matrix,
    Merge,
    Relations,
    relations,
    vectors,
)

Distribution = Literal["uniform", "normal"]
REPEATS = 20


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of numbers."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Chance:
    """What repeated draws gave.

    Attributes:
        similar, complementary: numbers of pairs.
        removed: merge -> number of units that it removes.
    """

    similar: Spread
    complementary: Spread
    removed: Mapping[Merge, Spread]


@lru_cache(maxsize=64)  # trainings of one network ask for the same
def chance(
    n_units: int,
    d: int,
    distribution: Distribution = "uniform",
    seed: int = 0,
    repeats: int = REPEATS,
    similar: float = SIMILAR,
    complementary: float = COMPLEMENTARY,
) -> Chance:
    """Return what random vectors give, scaled as one matrix to 0..1, minus one half.

    Args:
        n_units: how many vectors.
        d: how many numbers each has.
        distribution: of the numbers, which are independent.
        seed: of the draws.
        repeats: how many draws.
        similar, complementary: angles, degrees.
    """

    def draw(rng: np.random.Generator) -> Matrix:
        shape = (d, n_units)
        drawn = rng.random(shape) if distribution == "uniform" else rng.standard_normal(shape)
        return vectors("weights", drawn, drawn)

    return _repeated(draw, seed, repeats, similar, complementary)


def shuffled(
    vectors: Matrix,
    seed: int = 0,
    repeats: int = REPEATS,
    similar: float = SIMILAR,
    complementary: float = COMPLEMENTARY,
) -> Chance:
    """Return what a layer's own vectors give when each of their numbers goes to a random unit.

    Every column is shuffled on its own, so that the distribution of each number stays and
    what makes a unit, that its numbers belong together, is lost.

    Args:
        vectors: (n_units, d), scaled.
        seed: of the shuffling.
        repeats: how many times.
        similar, complementary: angles, degrees.
    """
    return _repeated(
        lambda rng: rng.permuted(vectors, axis=0), seed, repeats, similar, complementary
    )


def _repeated(
    draw: Callable[[np.random.Generator], Matrix],
    seed: int,
    repeats: int,
    similar: float,
    complementary: float,
) -> Chance:
    rng = np.random.default_rng(seed)
    found = [relations(draw(rng), similar, complementary) for _ in range(repeats)]

    def spread(number: Callable[[Relations], int]) -> Spread:
        values = [number(one) for one in found]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return Spread(float(np.mean(values)), sd)

    return Chance(
        spread(lambda one: one.similar_pairs),
        spread(lambda one: one.complementary_pairs),
        {how: spread(lambda one, how=how: one.removed(how)) for how in MERGES},  # type: ignore[misc]
    )
