"""Feasibility: the fraction of a search space within the limit on multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
    points, costs = sample(space, cost, seed)
    cheapest = cost(space.decode(extreme(space, cost, points[int(costs.argmin())])))
    if max_macs is not None and cheapest > max_macs:
        raise InputError(
            f"objective.max_macs={max_macs}: no architecture of space {space.name!r} is that "
            f"cheap; the cheapest found has {cheapest} multiply-adds"
        )
    limit = math.inf if max_macs is None else max_macs
    return Feasibility(float((costs <= limit).mean()), cheapest)


def sample(
    space: SearchSpace, cost: Callable[[Architecture], int], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 2000 random genomes, (n, dim), and their costs, (n,), in multiply-adds."""
    points = np.random.default_rng(seed).random((_SAMPLES, space.dim))
    return points, np.array([cost(space.decode(point)) for point in points], np.int64)


def extreme(
    space: SearchSpace,
    cost: Callable[[Architecture], int],
    start: Genome,
    sign: Literal[-1, 1] = 1,
) -> Genome:
    """Return the genome of lowest cost (``sign`` -1: highest) that coordinate descent finds.

    One gene at a time is set to its best value until no single change improves the cost.

    Args:
        space: of the genomes.
        cost: of an architecture, in multiply-adds.
        start: the genome that the descent starts from, (dim,).
        sign: 1 for the lowest, -1 for the highest cost.
    """
    point, best, improved = start.copy(), sign * cost(space.decode(start)), True
    while improved:
        improved = False
        for i, gene in enumerate(space.genes):
            places = (
                (np.arange(len(gene.values)) + 0.5) / len(gene.values) if gene.values else [0, 1]
            )
            for place in places:
                trial = point.copy()
                trial[i] = place
                value = sign * cost(space.decode(trial))
                if value < best:
                    point, best, improved = trial, value, True
    return point
