"""Feasibility: the fraction of a search space within the limit on multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evonas.errors import InputError
from evonas.space import Architecture, Genome, SearchSpace

_SAMPLES = 2000


@dataclass(frozen=True)
class Feasibility:
    """Feasible part of a search space.

    Attributes:
        share: fraction of random genomes within the limit.
        cheapest: lowest known cost, in multiply-adds; the minimum of the space where the cheapest
            value of a gene does not depend on the other genes.
    """

    share: float
    cheapest: int


def feasibility(
    space: SearchSpace, cost: Callable[[Architecture], int], max_macs: int | None, seed: int = 0
) -> Feasibility:
    """Return the feasible fraction of random genomes, and the cost of a local minimum.

    Args:
        space: the search space.
        cost: multiply-adds of an architecture.
        max_macs: the limit; None: there is none.
        seed: seed of the random genomes.

    Raises:
        InputError: no architecture was found within the limit.
    """
    points = np.random.default_rng(seed).random((_SAMPLES, space.dim))
    costs = np.array([cost(space.decode(point)) for point in points])
    cheapest = _descend(space, cost, points[int(costs.argmin())], int(costs.min()))
    if max_macs is not None and cheapest > max_macs:
        raise InputError(
            f"objective.max_macs={max_macs}: no architecture of space {space.name!r} is that "
            f"cheap; the cheapest found has {cheapest} multiply-adds"
        )
    limit = math.inf if max_macs is None else max_macs
    return Feasibility(float((costs <= limit).mean()), cheapest)


def _descend(
    space: SearchSpace, cost: Callable[[Architecture], int], start: Genome, lowest: int
) -> int:
    """Return the lowest cost of a coordinate descent: one gene at a time to its cheapest value."""
    point, improved = start.copy(), True
    while improved:
        improved = False
        for i, gene in enumerate(space.genes):
            places = (
                (np.arange(len(gene.values)) + 0.5) / len(gene.values) if gene.values else [0, 1]
            )
            for place in places:
                trial = point.copy()
                trial[i] = place
                value = cost(space.decode(trial))
                if value < lowest:
                    point, lowest, improved = trial, value, True
    return lowest
