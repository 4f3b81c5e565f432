"""Feasibility: the fraction of a search space within the limits on cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.core.description import GeneEffect
from evonas.core.settings import ObjectiveSettings
from evonas.errors import InputError
from evonas.estimation.cost.limits import UNITS, worded
from evonas.space import Architecture, Gene, Genome, SearchSpace
from evonas.workflows.base_components import BaseComponents
from evonas.workflows.cost_sample import CostSample

_DRAWS = 10_000  # random genomes of which one has to be within all limits
_ENOUGH = 20  # samples behind a share; a rarer value of a gene is left out


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


@dataclass(frozen=True)
class LimitShares:
    """Parts of a search space within several limits.

    Attributes:
        limits: name of each limit -> largest value.
        alone: name of each limit -> fraction of random genomes within it.
        together: fraction of random genomes within all of them.
        within: whether each of the genomes of ``sample`` is within all of them, (n,).
    """

    limits: Mapping[str, float]
    alone: Mapping[str, float]
    together: float
    within: NDArray[np.bool_]


def limit_shares(sample: CostSample) -> LimitShares:
    """Return the fractions of random genomes within the limits; ``max_ms`` is none of them.

    With limits beside ``max_macs``, up to 10,000 genomes are drawn to find one within all limits.

    Args:
        sample: random genomes of the space.

    Raises:
        InputError: there are limits beside ``max_macs``, and no genome is within all of them.
    """
    limits = sample.known.limits
    bounds = np.array(list(limits.values()), np.float64)
    holding = sample.figures <= bounds
    within: NDArray[np.bool_] = np.all(holding, axis=1)
    if limits.keys() - {"max_macs"} and not within.any():
        figures = sample.enlarged(_DRAWS).figures
        holding = figures <= bounds
        if not holding.all(axis=1).any():
            raise InputError(_excluded(sample.space.name, limits, figures.min(axis=0), holding))
    alone = dict(zip(limits, holding.mean(axis=0).tolist(), strict=True))
    return LimitShares(limits, alone, float(holding.all(axis=1).mean()), within)


def _excluded(
    space: str,
    limits: Mapping[str, float],
    least: NDArray[np.float64],
    holding: NDArray[np.bool_],
) -> str:
    """Return which limit, or which fewest limits together, no genome is within."""
    texts = [worded(name, limit) for name, limit in limits.items()]
    of = f"none of {len(holding):,} networks drawn from space {space!r}"
    for column, name in enumerate(limits):
        if not holding[:, column].any():
            smallest = f"{least[column]:,.6g} {UNITS[name]}"
            return f"{texts[column]}: {of} is within it, the least has {smallest}: raise it"
    counts = [f"{count:,}" for count in holding.sum(axis=0).tolist()]
    chosen = next(
        some
        for size in range(2, len(texts) + 1)
        for some in combinations(range(len(texts)), size)
        if not holding[:, some].all(axis=1).any()
    )
    which = " and ".join(texts[column] for column in chosen)
    each = ", ".join(f"{counts[column]} within {texts[column]}" for column in chosen)
    return f"{which} exclude one another: {of} is within all of them ({each}): raise one"


def check_limits(components: BaseComponents) -> tuple[Feasibility, LimitShares | None]:
    """Return the feasible part of the space of an experiment; None where few limits are set.

    Shares of several limits are those of ``limit_shares``. ``max_macs`` alone is met where a
    descent meets it, however rarely random genomes do.

    Raises:
        InputError: no architecture was found within the limits.
    """
    sample = components.cost_sample
    several = bool(sample.known.limits.keys() - {"max_macs"})
    return feasibility(sample), limit_shares(sample) if several else None


def cost_statement(
    possible: Feasibility, shares: LimitShares | None, settings: ObjectiveSettings
) -> str:
    """Return a sentence on the limits of a search and the feasible part of its space."""
    what, limit = "head network", settings.max_macs
    if settings.counts == "total":
        what = "network with the backbone up to its tap"
    low = f"the cheapest {what} found has {possible.cheapest} multiply-adds"
    ms = settings.max_ms
    timed = "" if ms is None else f"; {ms:g} ms are checked by measuring before each training"
    if shares is not None:
        texts = [
            f"{worded(name, limit)} ({100 * shares.alone[name]:.1f} %)"
            for name, limit in shares.limits.items()
        ]
        whole = f"{100 * shares.together:.1f} % of the space is feasible"
        return f"Limits {', '.join(texts)}: together {whole}; {low}{timed}."
    if limit is None:
        return (
            f"No hard limit on known costs; {low}{timed}."
            if timed
            else (f"No hard limit on cost; {low}.")
        )
    share = 100 * possible.share
    return f"Limit {limit} multiply-adds: {share:.1f} % of the space is feasible; {low}{timed}."


def feasibility(sample: CostSample) -> Feasibility:
    """Return the feasible fraction of random genomes, and the cost of a local minimum.

    Args:
        sample: random genomes of the space.

    Raises:
        InputError: no architecture was found within ``max_macs``.
    """
    space, cost, costs = sample.space, sample.known.counted_macs, sample.counted
    max_macs = sample.known.settings.max_macs
    cheapest = cost(space.decode(extreme(space, cost, sample.points[int(costs.argmin())])))
    if max_macs is not None and cheapest > max_macs:
        raise InputError(
            f"objective.max_macs={max_macs}: no architecture of space {space.name!r} is that "
            f"cheap; the cheapest found has {cheapest} multiply-adds"
        )
    limit = math.inf if max_macs is None else max_macs
    return Feasibility(float((costs <= limit).mean()), cheapest)


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


def excluding_gene(
    space: SearchSpace, points: NDArray[np.float64], within: NDArray[np.bool_]
) -> GeneEffect | None:
    """Return the gene between whose values the share of networks within the limits differs most.

    Args:
        space: of the genomes.
        points: random genomes, (n, dim).
        within: whether each is within all limits, (n,).
    """
    groups: dict[str, dict[str, list[bool]]] = {
        gene.name: defaultdict(list) for gene in space.genes
    }
    for point, fits in zip(points, within.tolist(), strict=True):
        settings = space.decode(point).settings
        for gene, x in zip(space.genes, point.tolist(), strict=True):
            if gene.name in settings:
                label = str(settings[gene.name]) if gene.values else _quarter(gene, x)
                groups[gene.name][label].append(fits)
    effects = []
    for name, by_value in groups.items():
        shares = {v: float(np.mean(fits)) for v, fits in by_value.items() if len(fits) >= _ENOUGH}
        if len(shares) > 1:
            effects.append(GeneEffect(name, shares))
    largest = max(effects, key=lambda effect: effect.spread, default=None)
    return largest if largest is not None and not within.all() and largest.spread > 0 else None


def _quarter(gene: Gene, x: float) -> str:
    first = min(int(4 * x), 3)
    return f"{gene.decode(first / 4):g} to {gene.decode((first + 1) / 4):g}"
