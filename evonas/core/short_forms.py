"""Short and older forms of an experiment's keys.

``budget: {minutes: 10}``, ``tasks: {...}``, ``datasets: {...}``, and ``objective.target_mflops``,
whose floating point operations are two for a multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evonas.core import budget
from evonas.core.overrides import Override, Word, plain
from evonas.errors import InputError

#: Key of an experiment that is short for the same key of a part -> section and name of the part.
_OF_PARTS = {"tasks": ("task", "several"), "datasets": ("data", "union")}
_OBJECTIVE, _MACS, _MFLOPS = "objective", "target_macs", "target_mflops"


def written_out(data: Any) -> Any:
    """Return the content of an experiment file without short forms.

    Raises:
        InputError: as ``budget.split`` and ``in_macs``, or both ``task`` and ``tasks``
            are given, or ``data`` and ``datasets``.
    """
    data = in_macs(budget.split(data))
    for key, (section, name) in _OF_PARTS.items() if isinstance(data, Mapping) else ():
        if key in data:
            if section in data:
                raise InputError(
                    f"{key}: expected either {section} or {key}, got both: leave one out"
                )
            rest = {other: value for other, value in data.items() if other != key}
            data = {**rest, section: {"name": name, key: data[key]}}
    return data


def in_macs(data: Any) -> Any:
    """Return the content of an experiment file with the target of its objective in multiply-adds.

    Raises:
        InputError: it has ``target_macs`` and ``target_mflops``, or the latter is not positive.
    """
    inside = data.get(_OBJECTIVE) if isinstance(data, Mapping) else None
    if not isinstance(inside, Mapping) or _MFLOPS not in inside:
        return data
    if _MACS in inside:
        raise InputError(
            f"{_OBJECTIVE}: expected {_MACS} alone, got {_MFLOPS} besides, which is the same in "
            f"millions of floating point operations, 2 for a multiply-add: leave it out"
        )
    renamed = dict(_macs(key, value) for key, value in inside.items())
    return {**data, _OBJECTIVE: renamed}


def _macs(key: Any, value: Any) -> tuple[Any, Any]:
    """Return a key of the objective and its value, ``target_mflops`` as ``target_macs``.

    Raises:
        InputError: the value is no positive number.
    """
    if key != _MFLOPS:
        return key, value
    value = plain(value)
    macs = value * 1e6 / 2 if isinstance(value, int | float) else 0.0
    if not 0.5 < macs < math.inf:
        raise InputError(
            f"{_OBJECTIVE}.{key}: expected millions of floating point operations, 2 for a "
            f"multiply-add, got {str(value)[:40]!r}: set {_OBJECTIVE}.{_MACS}, in multiply-adds"
        )
    return _MACS, round(macs)


def overrides(words: Iterable[Word]) -> Sequence[Override]:
    """Return overrides without short forms; those of ``tasks`` choose the task ``several``.

    Those of ``datasets`` choose the data set ``union``.

    Raises:
        InputError: as ``budget.amounts`` and ``in_macs``.
    """
    found: list[Override] = []
    for one in budget.amounts(words):
        if one.path[0] == _OBJECTIVE and len(one.path) == 2:
            key, value = _macs(one.path[1], one.value)
            found.append(replace(one, path=(_OBJECTIVE, key), value=value))
        elif one.path == (_OBJECTIVE,):
            found.append(replace(one, value=in_macs({_OBJECTIVE: one.value})[_OBJECTIVE]))
        elif one.path[0] in _OF_PARTS:
            section, name = _OF_PARTS[one.path[0]]
            found.append(Override((section, "name"), name, one.said))
            found.append(replace(one, path=(section, *one.path)))
        else:
            found.append(one)
    return found
