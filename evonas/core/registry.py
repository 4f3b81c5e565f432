"""Names of the exchangeable parts: of evonas itself, of other packages, and dotted names.

- A part of evonas itself is a file, whose name is the public name:
  ``evonas/optimizers/cma.py`` is the optimizer ``cma``. Listing reads file names, and a module is
  imported only when its part is used.
- Another installed package names its parts in entry points; see ``outside_parts``.
- ``package.module:Class`` is any class that can be imported, also from the working directory.
  Such a name runs the module's code, so it is trusted as a program is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from abc import ABCMeta
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from evonas.core.dotted_names import imported, working_directory
from evonas.core.outside_parts import Offer, offers
from evonas.core.overrides import one_or_several
from evonas.errors import InputError, nearest

#: Folders of the package ``evonas`` in which files of parts are looked for.
_SOURCES = [Path(__file__).parents[1]]
_NO_PARTS = ("__init__", "base")  # files beside those of parts
_FORM = "package.module:Class, such as my_package:Mine"


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        package: whose modules are evonas's own parts; its module ``base`` holds the base class.
        base: name of the base class.
        group: of the entry points of other packages.
        dotted: whether a dotted name may stand for a part.
    """

    package: str
    base: str
    group: str
    dotted: bool = True

    @property
    def base_module(self) -> str:
        """The module that holds the base class."""
        return f"{self.package}.base"


KINDS: dict[str, Kind] = {
    "optimizer": Kind("evonas.optimizers", "Optimizer", "evonas.optimizers"),
    "network": Kind("evonas.models.networks", "Network", "evonas.networks"),
    # A gene names blocks, and genes are data: nothing that is not installed is imported for one.
    "block": Kind("evonas.models.networks.blocks", "Block", "evonas.blocks", dotted=False),
    "backbone": Kind("evonas.models.backbones", "Backbone", "evonas.backbones"),
    "data": Kind("evonas.data", "Dataset", "evonas.datasets"),
    "task": Kind("evonas.tasks", "Task", "evonas.tasks"),
    "executor": Kind("evonas.estimation.execution", "Executor", "evonas.executors"),
    "logger": Kind("evonas.runs.loggers", "Logger", "evonas.loggers"),
}


def names(kind: str) -> list[str]:
    """Return the public names of a kind, sorted, without importing any of them.

    Those of other packages are among them; dotted names that are no entry points are not.

    Raises:
        InputError: there is no such kind (the nearest is offered).
    """
    own = _own(_entry(kind))
    return sorted({*own, *offers(KINDS[kind].group, own)})


def modules(kind: str) -> list[str]:
    """Return the modules of evonas's own parts of a kind, sorted, without importing any of them.

    Raises:
        InputError: there is no such kind.
    """
    return [f"{KINDS[kind].package}.{name}" for name in sorted(_own(_entry(kind)))]


def load(kind: str, name: str) -> Any:
    """Return the class behind a public or a dotted name.

    Raises:
        InputError: there is no such kind, no part of it has the name (the nearest is offered),
            or the name is of another package's part and that is no such part or cannot be
            imported.
    """
    entry = _entry(kind)
    base = getattr(importlib.import_module(entry.base_module), entry.base)
    if (module := _imported(entry, name)) is not None:
        return _only_part(module, base)
    own = _own(entry)
    offered = offers(entry.group, own)
    if isinstance(name, str):
        if name in own:
            return _only_part(importlib.import_module(f"{entry.package}.{name}"), base)
        if name in offered:
            return _outside(offered[name], base)
        if ":" in name and entry.dotted:
            where = f"{kind} {name!r}"
            with working_directory():
                return _checked_part(imported(name, where, _FORM), base, where)
    raise InputError(f"unknown {kind} {name!r}: {nearest(str(name), {*own, *offered})}")


def name_of(part: type) -> str:
    """Return a name by which ``load`` finds a class, the dotted one where it has no other."""
    package, _, stem = part.__module__.rpartition(".")
    dotted = f"{part.__module__}:{part.__qualname__}"
    for kind in KINDS.values():
        if package == kind.package:
            return stem
        for name, offer in offers(kind.group, _own(kind)).items():
            if offer.target == dotted:
                return name
    return dotted


def _own(entry: Kind) -> dict[str, Path]:
    """Return name -> file of evonas's own parts."""
    inner = entry.package.split(".")[1:]
    files = [path for root in _SOURCES for path in root.joinpath(*inner).glob("*.py")]
    return {path.stem: path for path in files if path.stem not in _NO_PARTS}


def _imported(entry: Kind, name: object) -> ModuleType | None:
    """Return the module of one of evonas's own parts, if it is imported.

    Costs of networks are computed thousands of times, too often to look at folders for each.
    """
    if not isinstance(name, str) or not name.isidentifier() or name in _NO_PARTS:
        return None
    module = sys.modules.get(f"{entry.package}.{name}")
    return None if hasattr(module, "__path__") else module


def _only_part(module: Any, base: type) -> Any:
    """Return the one part that a module of evonas itself defines."""
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
            f"{module.__name__} must define exactly one public {base.__name__}, has "
            f"{', '.join(lacking) or found}"
        )
    return found[0]


def _outside(offer: Offer, base: type) -> Any:
    where = f"{offer} = {offer.target!r}"
    return _checked_part(imported(offer.target, where, _FORM), base, where)


def _checked_part(found: Any, base: type, where: str) -> Any:
    """Return a class of another package.

    Raises:
        InputError: it is no class, no subclass of the base class, or abstract.
    """
    wanted = f"{base.__module__}.{base.__qualname__}"
    if not inspect.isclass(found) or not issubclass(found, base):
        what = f"class {found.__qualname__}" if inspect.isclass(found) else type(found).__name__
        raise InputError(f"{where}: expected a subclass of {wanted}, got a {what}")
    if inspect.isabstract(found):
        raise InputError(
            f"{where}: expected a complete {wanted}, but {found.__name__} lacks {_abstract(found)}"
        )
    return found


def _abstract(value: type) -> str:
    """Return what a class has to define and does not."""
    return ", ".join(sorted(getattr(value, "__abstractmethods__", ())))


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's docstring.

    That of evonas's own parts is read from the file, which is not imported.

    Raises:
        InputError: as ``load``.
    """
    path = _own(_entry(kind)).get(str(name))
    if path is not None:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        return text.split("\n", 1)[0]
    part = load(kind, name)
    text = inspect.cleandoc(vars(part).get("__doc__") or "")
    return text.split("\n", 1)[0] or f"{part.__module__}.{part.__qualname__}"


def options(kind: str, name: str) -> list[str]:
    """Return the names of a part's options, those of evonas itself included.

    Raises:
        InputError: as ``load``.
    """
    return list(_parameters(load(kind, name)))


def create(kind: str, name: str, given: dict[str, Any], /, *args: Any, **fixed: Any) -> Any:
    """Build the part ``name`` from a user's options ``given``.

    ``args`` and ``fixed`` are what evonas itself passes; ``given`` may name only
    the other keyword parameters of the constructor. A single word may stand for a list of it
    alone, and the name of an option of several things may lack its last s: ``label=age`` is
    ``labels=[age]``.

    Raises:
        InputError: unknown kind or part, unknown option, an option that is missing or of
            the wrong type.
    """
    part = load(kind, name)
    if not isinstance(given, dict):
        raise InputError(
            f"{kind} {name!r}: expected its options as a mapping of names to values, got {given!r}"
        )
    own = _parameters(part)
    given = {_plural(kind, str(key), own, given): value for key, value in given.items()}
    _check_keys(kind, name, own, [key for key in list(own)[len(args) :] if key not in fixed], given)
    checked = {key: _checked(own[key][1], f"{kind}.{key}", value) for key, value in given.items()}
    return part(*args, **fixed, **checked)


class CheckedCall(ABCMeta):
    """Makes ``load(kind, name)(...)`` answer a wrong option as ``create`` does.

    The metaclass of a base class of parts. Every constructor names its options, each with a
    default, or passes the rest on, as ``_parameters`` reads it.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Build the part.

        Raises:
            InputError: unknown option, or one that is missing.
        """
        bases = {(owner.__module__, owner.__name__) for owner in cls.__mro__}
        kind = next(k for k, entry in KINDS.items() if (entry.base_module, entry.base) in bases)
        name = name_of(cls)
        own = _parameters(cls)
        _check_keys(kind, name, own, list(own)[len(args) :], given)
        return super().__call__(*args, **given)


def _entry(kind: str) -> Kind:
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"unknown kind of part {kind!r}: {nearest(str(kind), KINDS)}")
    return KINDS[kind]


def _check_keys(
    kind: str, name: str, own: Mapping[str, tuple[Parameter, Any]], allowed: list[str], given: Any
) -> None:
    """Check that the keys of ``given`` are allowed and that none without a default is missing."""
    for key in given:
        if key not in allowed:
            raise InputError(
                f"unknown key {kind}.{key} of {kind} {name!r}: {nearest(str(key), allowed)}"
            )
    for key in allowed:
        if own[key][0].default is Parameter.empty and key not in given:
            raise InputError(f"{kind} {name!r} needs {kind}.{key}=...: no value was given")


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


def _plural(kind: str, key: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return ``labels`` for ``label``, where only the former is an option; else the key.

    Raises:
        InputError: both are given.
    """
    plural = f"{key}s"
    if key in own or plural not in own:
        return key
    if plural in given:
        raise InputError(
            f"{kind}.{key} and {kind}.{plural} are the same option: give {kind}.{plural} alone"
        )
    return plural


def _checked(annotation: Any, key: str, value: Any) -> Any:
    """Return a user's value as the type that the constructor's annotation names."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return one_or_several(TypeAdapter(annotation).validate_python, value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"{key}: {reason[0].lower()}{reason[1:]}, got {value!r}") from error
