"""Names of the exchangeable parts: a file's name is the public name.

``evonas/optimizers/cma.py`` is the optimizer ``cma``. Nothing registers itself:
listing reads file names, and a module is imported only when its part is used, so
adding a part touches one file and listing costs nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from inspect import Parameter
from pathlib import Path
from typing import Any, get_type_hints

from evonas.errors import InputError, nearest

_PACKAGE = Path(__file__).parent

#: kind -> (folder, module and name of the base class)
KINDS: dict[str, tuple[str, str, str]] = {
    "optimizer": ("optimizers", "evonas.optimizers.base", "Optimizer"),
    "network": ("networks", "evonas.networks.base", "Network"),
    "backbone": ("backbones", "evonas.backbones.base", "Backbone"),
    "data": ("data", "evonas.data.base", "Dataset"),
    "task": ("tasks", "evonas.tasks.base", "Task"),
    "executor": ("execution", "evonas.execution.base", "Executor"),
    "logger": ("loggers", "evonas.loggers.base", "Logger"),
}


def names(kind: str) -> list[str]:
    """Return the public names of a kind, sorted, without importing any of them."""
    folder = _PACKAGE / KINDS[kind][0]
    stems = (path.stem for path in folder.glob("*.py"))
    return sorted(stem for stem in stems if not stem.startswith("_") and stem != "base")


def load(kind: str, name: str) -> Any:
    """Return the class behind a public name.

    Raises:
        InputError: no part of that kind has the name (the nearest is offered).
    """
    folder, base_module, base_name = KINDS[kind]
    if name not in names(kind):
        raise InputError(f"unknown {kind} {name!r}: {nearest(name, names(kind))}")
    base = getattr(importlib.import_module(base_module), base_name)
    module = importlib.import_module(f"evonas.{folder}.{name}")
    own = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and inspect.isclass(value)
        and value.__module__ == module.__name__
        and issubclass(value, base)
    ]
    found = [value for value in own if not inspect.isabstract(value)]
    if len(found) != 1:
        lacking = [f"{value.__name__} lacks {_abstract(value)}" for value in own if not found]
        raise TypeError(
            f"{module.__name__} must define exactly one public {base_name}, has "
            f"{', '.join(lacking) or found}"
        )
    return found[0]


def _abstract(value: type) -> str:
    """Return what a class has to define and does not."""
    return ", ".join(sorted(getattr(value, "__abstractmethods__", ())))


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's docstring, read from its file, not imported."""
    source = (_PACKAGE / KINDS[kind][0] / f"{name}.py").read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    return text.split("\n", 1)[0]


def options(kind: str, name: str) -> list[str]:
    """Return the names of a part's options, those of evonas itself included.

    Raises:
        InputError: no part of that kind has the name.
    """
    return list(_parameters(load(kind, name)))


def create(kind: str, name: str, given: dict[str, Any], /, *args: Any, **fixed: Any) -> Any:
    """Build the part ``name`` from a user's options ``given``.

    ``args`` and ``fixed`` are what evonas itself passes; ``given`` may name only
    the other keyword parameters of the constructor.

    Raises:
        InputError: unknown part, unknown option, or an option that is missing.
    """
    part = load(kind, name)
    own = _parameters(part)
    allowed = [key for key in list(own)[len(args) :] if key not in fixed]
    for key in given:
        if key not in allowed:
            raise InputError(
                f"unknown key {kind}.{key} of {kind} {name!r}: {nearest(key, allowed)}"
            )
    missing = [
        key for key in allowed if own[key][0].default is Parameter.empty and key not in given
    ]
    if missing:
        raise InputError(f"{kind} {name!r} needs {kind}.{missing[0]}=...: no value was given")
    checked = {key: _checked(own[key][1], f"{kind}.{key}", value) for key, value in given.items()}
    return part(*args, **fixed, **checked)


def _parameters(part: type) -> dict[str, tuple[Parameter, Any]]:
    """Return name -> (parameter, annotation) of a constructor.

    Where it passes keywords on (``**common``), those of the base class are added.
    """
    found: dict[str, tuple[Parameter, Any]] = {}
    for owner in part.__mro__:
        if "__init__" not in vars(owner):
            continue
        init = vars(owner)["__init__"]
        hints = get_type_hints(init)
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
                found.setdefault(parameter.name, (parameter, hints.get(parameter.name, Any)))
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _checked(annotation: Any, key: str, value: Any) -> Any:
    """Return a user's value as the type that the constructor's annotation names."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"{key}: {reason[0].lower()}{reason[1:]}, got {value!r}") from error
