"""How an argument of a strategy is checked."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from evonas.errors import InputError
from evonas.space import Architecture

Cost = Callable[[Architecture], int]


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
