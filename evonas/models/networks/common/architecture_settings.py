"""Reading an architecture's settings: what is missing or wrong is said by name."""

from __future__ import annotations

import math
from typing import Any

from evonas.errors import InputError, nearest
from evonas.space import Architecture


def setting(architecture: Architecture, name: str, default: Any = None) -> Any:
    """Return a setting, or the default where there is one.

    Raises:
        InputError: the setting is missing and has no default.
    """
    if name in architecture.settings:
        return architecture.settings[name]
    if default is None:
        raise InputError(
            f"network {architecture.network!r} needs the setting {name!r}: "
            f"has {sorted(architecture.settings)}"
        )
    return default


def whole(
    architecture: Architecture, name: str, low: int, high: int, default: int | None = None
) -> int:
    """Return a setting that is an integer in low..high.

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


def number(
    architecture: Architecture, name: str, low: float, high: float, default: float | None = None
) -> float:
    """Return a setting that is a number in [low, high].

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


def one_of(
    architecture: Architecture, name: str, known: tuple[str, ...], default: str | None = None
) -> str:
    """Return a setting that is one of the known words.

    Raises:
        InputError: the setting is missing or unknown.
    """
    value = setting(architecture, name, default)
    if value not in known:
        raise InputError(
            f"network {architecture.network!r}, setting {name!r}: "
            f"unknown {value!r}: {nearest(str(value), known)}"
        )
    return str(value)
