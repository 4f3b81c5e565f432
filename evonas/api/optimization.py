"""Optimizers on any function: ``minimize``, and ``create_optimizer`` for an own ask/tell loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evonas.core import registry
from evonas.errors import InputError, RunError

if TYPE_CHECKING:
    from evonas.optimizers.base import Optimizer
    from evonas.space import SearchSpace

Function = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class OptimizationResult:
    """The outcome of ``minimize``.

    Attributes:
        settings: of the best point: name of a gene -> value.
        fitness: of the function there.
        genome: (dim,) the same point in [0, 1].
        evaluations: settings and fitness of every distinct point, in the order of evaluation;
            nan or infinite where the function failed.
        stop_reason: why the search ended, one sentence.
    """

    settings: Mapping[str, Any]
    fitness: float
    genome: NDArray[np.float64]
    evaluations: tuple[tuple[Mapping[str, Any], float], ...]
    stop_reason: str


def create_optimizer(
    name: str, space: SearchSpace, *, budget: int, seed: int = 0, **options: Any
) -> Optimizer:
    """Return an optimizer to be driven by ask and tell.

    ``ask()`` returns (n, dim) genomes in [0, 1], none when the search is over;
    ``tell(fitness)`` takes (n,) numbers in the same order, nan or infinite for a failure.

    Args:
        name: of the strategy; see ``list_optimizers``.
        space: what is searched.
        budget: distinct points that may be evaluated, at least 1; repeats cost nothing.
        seed: of the strategy; two with equal arguments ask for the same genomes.
        options: of the strategy, such as ``population_size=8``; ``macs`` and ``max_macs`` limit
            a cost that is known beforehand, ``excess`` further ones.

    Raises:
        InputError: there is no such strategy or option, or a value is out of its range.

    Examples:
        >>> optimizer = evonas.create_optimizer("ga", space, budget=40, seed=1)
        >>> while len(genomes := optimizer.ask()):
        ...     optimizer.tell([cost(space.decode(genome).settings) for genome in genomes])
        >>> space.decode(optimizer.best_genome).settings
    """
    fixed = {key: options.pop(key) for key in ("macs", "max_macs", "excess") if key in options}
    made: Optimizer = registry.create(
        "optimizer", name, options, space, budget=budget, seed=seed, **fixed
    )
    return made


def minimize(
    function: Function,
    space: SearchSpace,
    *,
    optimizer: str = "cma",
    budget: int = 50,
    seed: int = 0,
    **options: Any,
) -> OptimizationResult:
    """Return the lowest point of a function on a search space.

    Each distinct point is evaluated once, however often the strategy asks for it.

    Args:
        function: takes settings, name of a gene -> value; returns the number to minimise, nan
            or infinite for a failure. What it raises ends the search and comes through.
        space: what is searched.
        optimizer: name of the strategy; see ``list_optimizers``.
        budget: distinct points that are evaluated, at most.
        seed: of the strategy.
        options: of the strategy; see ``create_optimizer``.

    Raises:
        InputError: as ``create_optimizer``; or the function returned no number.
        RunError: the function failed everywhere.

    Examples:
        >>> space = evonas.SearchSpace([evonas.Integer("x", 0, 9), evonas.Integer("y", 0, 9)])
        >>> best = evonas.minimize(lambda s: (s["x"] - 3) ** 2 + s["y"], space, budget=60)
        >>> best.settings, best.fitness
        ({'x': 3, 'y': 0}, 0.0)
    """
    strategy = create_optimizer(optimizer, space, budget=budget, seed=seed, **options)
    known: dict[str, tuple[Mapping[str, Any], float]] = {}
    while len(genomes := strategy.ask()):
        fitness = []
        for genome in genomes:
            architecture = space.decode(genome)
            if architecture.digest not in known:
                settings: Mapping[str, Any] = dict(architecture.settings)
                known[architecture.digest] = (settings, _number(function(dict(settings))))
            fitness.append(known[architecture.digest][1])
        strategy.tell(fitness)
    best = strategy.best_genome
    if best is None:
        raise RunError(
            f"minimize: the function failed at all {len(known)} points: expected a finite number "
            "at one of them at least"
        )
    settings, value = known[space.decode(best).digest]
    return OptimizationResult(settings, value, best, tuple(known.values()), strategy.stop_reason)


def _number(value: Any) -> float:
    """Return what a user's function returned, as a number.

    Raises:
        InputError: it is none.
    """
    scalar = value.item() if getattr(value, "shape", None) == () else value
    if isinstance(scalar, Real) and not isinstance(scalar, bool):
        number = float(scalar)
        return number if math.isfinite(number) else math.nan
    raise InputError(
        f"minimize: expected the function to return a number, got {str(value)[:80]!r}: return the "
        "value to minimise, nan where it failed"
    )
