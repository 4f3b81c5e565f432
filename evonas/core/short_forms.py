"""Short and older forms of an experiment's keys.

``budget: {minutes: 10}``, ``tasks: {...}``, and ``objective.target_mflops``, whose floating point
operations are two for a multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evonas.core import budget
from evonas.core.overrides import Override, Word, plain
from evonas.errors import InputError

#: Key of an experiment, which is short for the same key of the task of this name.
_TASKS, SEVERAL = "tasks", "several"
_OBJECTIVE, _MACS, _MFLOPS = "objective", "target_macs", "target_mflops"


def written_out(data: Any) -> Any:
    """Return the content of an experiment file without short forms.

    Raises:
        InputError: as ``budget.split`` and ``in_macs``, or both ``task`` and ``tasks`` are given.
    """
    data = in_macs(budget.split(data))
    if not isinstance(data, Mapping) or _TASKS not in data:
        return data
    if "task" in data:
        raise InputError("tasks: expected either task or tasks, got both: leave one out")
    rest = {key: value for key, value in data.items() if key != _TASKS}
    return {**rest, "task": {"name": SEVERAL, _TASKS: data[_TASKS]}}


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
        elif one.path[0] == _TASKS:
            found.append(Override(("task", "name"), SEVERAL, one.said))
            found.append(replace(one, path=("task", *one.path)))
        else:
            found.append(one)
    return found
