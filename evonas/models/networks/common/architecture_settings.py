"""Checked access to the settings of an architecture: integers, numbers and choices."""

from __future__ import annotations

import math
from typing import Any

from evonas.errors import InputError, nearest
from evonas.space import Architecture


def setting(architecture: Architecture, name: str, default: Any = None) -> Any:
    """Return a setting's value, or ``default`` if the architecture lacks the setting.

    Raises:
        InputError: the setting is missing and has no default.
    """
    if name in architecture.settings:
        return architecture.settings[name]
    if default is None:
        raise InputError(
            f"network {architecture.network!r} needs the setting {name!r}: "
            f"got only {sorted(architecture.settings)}"
        )
    return default


def integer(
    architecture: Architecture, name: str, low: int, high: int, default: int | None = None
) -> int:
    """Return the value of an integer setting in low..high.

    Raises:
        InputError: the setting is missing, no integer, or out of range.
    """
    value = setting(architecture, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(
            f"network {architecture.network!r}, setting {name!r}: "
            f"expected an integer in {low}..{high}, got {value!r}"
        )
    return value


def odd_kernel(architecture: Architecture, name: str, default: int) -> int:
    """Return the value of a setting that is the side of a kernel: odd, in 1..31.

    A kernel of even size has no centre, and so would change the size of the map.

    Raises:
        InputError: the setting is no odd integer in 1..31.
    """
    value = integer(architecture, name, 1, 31, default=default)
    if value % 2 == 0:
        raise InputError(
            f"network {architecture.network!r}, setting {name!r}: expected an odd integer in "
            f"1..31, got {value}"
        )
    return value


def real(
    architecture: Architecture, name: str, low: float, high: float, default: float | None = None
) -> float:
    """Return the value of a numeric setting in [low, high].

    Raises:
        InputError: the setting is missing, no number, or out of range.
    """
    value = setting(architecture, name, default)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not low <= value <= high:
        raise InputError(
            f"network {architecture.network!r}, setting {name!r}: "
            f"expected a number in [{low:g}, {high:g}], got {value!r}"
        )
    return float(value)


def choice(
    architecture: Architecture, name: str, known: tuple[str, ...], default: str | None = None
) -> str:
    """Return the value of a categorical setting, one of the ``known`` values.

    Raises:
        InputError: the setting is missing or its value is unknown.
    """
    value = setting(architecture, name, default)
    if value not in known:
        raise InputError(
            f"network {architecture.network!r}, setting {name!r}: "
            f"unknown {value!r}: {nearest(str(value), known)}"
        )
    return str(value)
