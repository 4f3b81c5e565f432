"""How arguments of a strategy are checked."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Required, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.errors import InputError
from evonas.space import Architecture, SearchSpace

Cost = Callable[[Architecture], int]


class Common(TypedDict, total=False):
    """The arguments that every strategy passes on to ``Optimizer``."""

    budget: Required[int]
    seed: Required[int]
    population_size: int | None
    macs: Cost | None
    max_macs: int | None


def checked_space(space: SearchSpace) -> SearchSpace:
    """Return the search space that a strategy was given.

    Raises:
        InputError: it is none.
    """
    if not isinstance(space, SearchSpace):
        raise InputError(
            f"space: expected a SearchSpace, got {space!r:.80}; SearchSpace.from_file reads one"
        )
    return space


def number_in(name: str, value: float, low: float, high: float) -> float:
    """Return an option's value as a float.

    Raises:
        InputError: it is not a number in [low, high].
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def whole_number(name: str, value: int, low: int) -> int:
    """Return an argument as an int.

    Raises:
        InputError: it is not a whole number of at least ``low``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low:
        raise InputError(f"{name}: expected a whole number of at least {low}, got {value!r}")
    return number


def told_fitness(verb: str, fitness: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return (n,) numbers, nan for what failed.

    Raises:
        InputError: they are no numbers, or not n.
    """
    try:
        told = np.array(fitness, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{verb}() expected {n} numbers, got {fitness!r}; nan stands for failed"
        ) from error
    if told.shape != (n,):
        raise InputError(
            f"{verb}() expected fitness of shape ({n},), one number for each genome"
            f"{' of the last ask' if verb == 'tell' else ''}, got shape {told.shape}; give all "
            f"of them in the order of the genomes"
        )
    told[~np.isfinite(told)] = np.nan
    return told


def told_axes(
    verb: str, axes: ArrayLike | None, fitness: NDArray[np.float64], width: int | None
) -> NDArray[np.float64]:
    """Return (n, m) numbers; the fitness as the only axis where there are none.

    Raises:
        InputError: they are no numbers, not a row for each fitness, or not ``width``
            columns, as those told before.
    """
    try:
        told = fitness[:, None] if axes is None else np.array(axes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{verb}() expected axes as rows of numbers, got {axes!r}") from error
    if told.ndim != 2 or len(told) != len(fitness) or told.shape[1] == 0:
        raise InputError(
            f"{verb}() expected axes of shape ({len(fitness)}, m), a row for each fitness, got "
            f"shape {told.shape}"
        )
    if width not in (None, told.shape[1]):
        raise InputError(
            f"{verb}() expected {width} axes, as were told before, got {told.shape[1]}"
            f"{' (the fitness alone)' if axes is None else ''}"
        )
    return told


def unit_cube(verb: str, genomes: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return (n, dim) numbers in [0, 1].

    Raises:
        InputError: the shape is wrong, or a number is outside.
    """
    try:
        given = np.array(genomes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{verb}() expected genomes as rows of numbers, got {genomes!r}"
        ) from error
    if given.size == 0:
        return given.reshape(0, dim)
    if given.ndim != 2 or given.shape[1] != dim:
        raise InputError(f"{verb}() expected genomes of shape (n, {dim}), got shape {given.shape}")
    outside = given[~((given >= 0.0) & (given <= 1.0))]
    if len(outside):
        raise InputError(f"{verb}() expected genomes with numbers in [0, 1], got {outside[0]}")
    return given


def clipped(strategy: str, genomes: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return what a strategy's ``_ask`` gave, (n, dim), cut to [0, 1].

    Raises:
        TypeError: the strategy has a bug: another shape, or nan.
    """
    given = np.array(genomes, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != dim or np.isnan(given).any():
        raise TypeError(
            f"{strategy}._ask() must return numbers of shape (n, {dim}), got shape {given.shape}"
        )
    return np.clip(given, 0.0, 1.0)
