"""Checks of the arguments of strategies and of ``ask`` and ``tell``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Required, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.errors import InputError
from evonas.space import Architecture, SearchSpace

Cost = Callable[[Architecture], int]
Excess = Callable[[Architecture], float]


class Common(TypedDict, total=False):
    """The keyword arguments of ``Optimizer``, which every strategy passes on."""

    budget: Required[int]
    seed: Required[int]
    population_size: int | None
    macs: Cost | None
    max_macs: int | None
    excess: Excess | None
    window: int
    steps: Sequence[int]


def checked_space(space: SearchSpace) -> SearchSpace:
    """Return ``space`` if it is a search space.

    Raises:
        InputError: it is not.
    """
    if not isinstance(space, SearchSpace):
        raise InputError(
            f"space: expected a SearchSpace, got {space!r:.80}; SearchSpace.from_file reads one"
        )
    return space


def number_in(name: str, value: float, low: float, high: float) -> float:
    """Return the option ``name`` as a float.

    Raises:
        InputError: the value is not a number in [low, high].
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def whole_number(name: str, value: int, low: int) -> int:
    """Return the argument ``name`` as an int.

    Raises:
        InputError: the value is not a whole number of at least ``low``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low:
        raise InputError(f"{name}: expected a whole number of at least {low}, got {value!r}")
    return number


def checked_window(strategy: str, window: int, population_size: int | None, able: bool) -> int:
    """Return the argument ``window``.

    Args:
        strategy: its name, for messages.
        window: the argument.
        population_size: the argument of that name.
        able: whether the strategy can be asked while fitness is missing.

    Raises:
        InputError: the window is negative, the strategy needs generations, or several genomes an
            ask are wanted beside it.
    """
    checked = whole_number("window", window, 0)
    if checked and not able:
        raise InputError(
            f"window: expected 0 for {strategy}, which needs the fitness of whole generations, got "
            f"{window}: leave it out, or take the strategy surrogate or random"
        )
    if checked and population_size not in (None, 1):
        raise InputError(
            f"population_size: expected 1 beside window={window}, got {population_size}: leave one "
            "of them out"
        )
    return checked


def checked_steps(strategy: str, steps: Sequence[int], able: bool) -> tuple[int, ...]:
    """Return the argument ``steps``.

    Args:
        strategy: its name, for messages.
        steps: the argument.
        able: whether the strategy decides which trainings go on.

    Raises:
        InputError: the steps do not increase from 1 on, or the strategy knows no paused trainings.
    """
    checked = tuple(whole_number("steps", step, 1) for step in steps)
    if list(checked) != sorted(set(checked)):
        raise InputError(f"steps: expected epochs that increase, got {', '.join(map(str, steps))}")
    if checked and not able:
        raise InputError(
            f"steps: expected none for {strategy}, which has no model of learning curves, got "
            f"{', '.join(map(str, steps))}: leave them out, or take the strategy surrogate"
        )
    return checked


def _numbers(expected: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return a float64 copy of ``values``; refuse what is not numeric."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected}, got {values!r}") from error


def observed_fitness(method: str, fitness: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return (n,) fitness values with nan for failed evaluations.

    Args:
        method: name of the public method, for messages.
        fitness: the argument to check; nan and inf mean failed.
        n: number of genomes.

    Raises:
        InputError: the values are not numeric, or there are not n of them.
    """
    observed = _numbers(f"{method}() expected {n} numbers (nan: failed)", fitness)
    if observed.shape != (n,):
        raise InputError(
            f"{method}() expected fitness of shape ({n},), one number for each genome"
            f"{' of the last ask' if method == 'tell' else ''}, got shape {observed.shape}; give "
            "all of them in the order of the genomes"
        )
    observed[~np.isfinite(observed)] = np.nan
    return observed


def observed_axes(
    method: str, axes: ArrayLike | None, fitness: NDArray[np.float64], width: int | None
) -> NDArray[np.float64]:
    """Return (n, m) axes; the fitness as the only axis where ``axes`` is None.

    Args:
        method: name of the public method, for messages.
        axes: the argument to check.
        fitness: (n,) from ``observed_fitness``.
        width: number of axes of earlier calls; None: there were none.

    Raises:
        InputError: the axes are not numeric, have not n rows, or not ``width`` columns.
    """
    observed = (
        fitness[:, None]
        if axes is None
        else _numbers(f"{method}() expected axes as rows of numbers", axes)
    )
    if observed.ndim != 2 or len(observed) != len(fitness) or observed.shape[1] == 0:
        raise InputError(
            f"{method}() expected axes of shape ({len(fitness)}, m), a row for each fitness, got "
            f"shape {observed.shape}"
        )
    if width not in (None, observed.shape[1]):
        raise InputError(
            f"{method}() expected {width} axes, as in earlier calls, got {observed.shape[1]}"
            f"{' (the fitness alone)' if axes is None else ''}"
        )
    return observed


def unit_cube(method: str, genomes: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return (n, dim) genomes with values in [0, 1].

    Args:
        method: name of the public method, for messages.
        genomes: the argument to check; it may be empty.
        dim: number of genes.

    Raises:
        InputError: the shape is wrong, or a value is outside [0, 1].
    """
    given = _numbers(f"{method}() expected genomes as rows of numbers", genomes)
    if given.size == 0:
        return given.reshape(0, dim)
    if given.ndim != 2 or given.shape[1] != dim:
        raise InputError(
            f"{method}() expected genomes of shape (n, {dim}), got shape {given.shape}"
        )
    outside = given[~((given >= 0.0) & (given <= 1.0))]
    if len(outside):
        raise InputError(f"{method}() expected genomes with numbers in [0, 1], got {outside[0]}")
    return given


def clipped(strategy: str, genomes: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return the (n, dim) genomes of a strategy's ``_ask``, clipped to [0, 1].

    Raises:
        TypeError: the strategy has a bug: the shape is wrong, or there are nan.
    """
    given = np.array(genomes, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != dim or np.isnan(given).any():
        raise TypeError(
            f"{strategy}._ask() must return numbers of shape (n, {dim}), got shape {given.shape}"
        )
    return np.clip(given, 0.0, 1.0)
