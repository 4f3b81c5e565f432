"""Null models of distinctiveness: the numbers of similar and complementary pairs by chance.

In few dimensions angles below 15 degrees are common. Among 2048 random vectors of 7 dimensions,
the size of the published network, about 160 pairs are similar and as many complementary.
Numbers of pairs are therefore always compared with those of random vectors.
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
    """Mean and sample standard deviation over repeated draws."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Chance:
    """Numbers of pairs and removed units in repeated random draws.

    Attributes:
        similar, complementary: numbers of pairs.
        removed: merge -> number of units that it removes.
    """

    similar: Spread
    complementary: Spread
    removed: Mapping[Merge, Spread]


@lru_cache(maxsize=64)  # all trainings of one network have the same null model
def chance(
    n_units: int,
    d: int,
    distribution: Distribution = "uniform",
    seed: int = 0,
    repeats: int = REPEATS,
    similar: float = SIMILAR,
    complementary: float = COMPLEMENTARY,
) -> Chance:
    """Return the numbers of pairs among random vectors, scaled like weights to -0.5..0.5.

    Args:
        n_units: number of vectors.
        d: dimension of the vectors.
        distribution: distribution of the independent components.
        seed: seed of the draws.
        repeats: number of draws.
        similar, complementary: limits of the angles, in degrees.
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
    """Return the numbers of pairs after shuffling the components of a layer's vectors.

    Every component is permuted over the units independently. This keeps the distribution of
    each component and removes the dependence between the components of a unit.

    Args:
        vectors: (n_units, d) scaled vectors of the layer.
        seed: seed of the permutations.
        repeats: number of repetitions.
        similar, complementary: limits of the angles, in degrees.
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
    draws = [relations(draw(rng), similar, complementary) for _ in range(repeats)]

    def spread(number: Callable[[Relations], int]) -> Spread:
        values = [number(drawn) for drawn in draws]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return Spread(float(np.mean(values)), sd)

    return Chance(
        spread(lambda drawn: drawn.similar_pairs),
        spread(lambda drawn: drawn.complementary_pairs),
        {how: spread(lambda drawn, how=how: drawn.removed(how)) for how in MERGES},  # type: ignore[misc]
    )
