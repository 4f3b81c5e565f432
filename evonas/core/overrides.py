"""Overrides of an experiment by the command line or by keyword arguments.

In order of increasing priority, values come from the defaults in the code, the experiment file
and the command line. ``key=value`` words and named options (``--budget 20``) have equal priority
and no order: the resulting experiment contains all of them, or ``merged`` refuses those that
contradict each other. It has three rules:

1. A mapping (``optimizer={name: ga, parents: 4}``) replaces the whole section of the file.
2. The name of another part (``optimizer=ga``, ``optimizer.name=ga``, ``--optimizer ga``) removes
   the options of the old part from the section of the file. Options of the command line stay.
3. Every other value replaces that of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar

from evonas.core import recommended_taps as recommended
from evonas.core.files import parse_yaml
from evonas.errors import InputError

#: Section -> (key, type): a value of this type for the section is short for this key.
Short = Mapping[str, tuple[str, type]]
#: Sections whose keys have dots: ``recipe.task.output=[bins]`` is of the key ``task.output``.
DOTTED = frozenset({"recipe"})
# YAML 1.1 reads 1e-3 as text; here it is a number.
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
Checked = TypeVar("Checked")
_SHOWN = 80  # characters of an override in a message


@dataclass(frozen=True)
class Override:
    """A value of an experiment that the command line or a keyword argument sets.

    Attributes:
        path: keys from the outermost section inwards.
        value: plain data.
        said: the override as the user wrote it, for messages: ``budget=20`` or ``--budget 20``.
    """

    path: tuple[Any, ...]
    value: Any
    said: str

    @property
    def key(self) -> str:
        """The path with dots, as in ``training.epochs``."""
        return ".".join(map(str, self.path))


#: An override as text (``key=value``), or that of a named option.
Word = str | Override


def parse(word: Word) -> Override:
    """Return the override of a ``key=value`` word.

    Raises:
        InputError: the word has another form, or its value is not YAML.
    """
    if isinstance(word, Override):
        return word
    key, equals, text = word.partition("=")
    path = _path(key)
    if not equals or not all(path):
        raise InputError(f"{word!r}: expected key=value, such as training.epochs=5")
    # A YAML word cannot begin with the prefix of a file of taps.
    is_reference = text.startswith(recommended.SIGN)
    value = text if is_reference else plain(parse_yaml(text, f"{key}={text[:40]!r}"))
    return Override(path, value, f"{key}={text}"[:_SHOWN])


def _path(key: str) -> tuple[str, ...]:
    section, dot, rest = key.partition(".")
    return (section, rest) if dot and section in DOTTED else tuple(key.split("."))


def given(changes: Mapping[str, Any]) -> list[Override]:
    """Return the overrides of Python keyword arguments.

    A mapping gives one override per value in it, so that other values of the section stay.

    Args:
        changes: key, with or without dots -> value; see ``as_data``.
    """
    return [
        Override(leaf.path, leaf.value, f"{leaf.key}={leaf.value!r}"[:_SHOWN])
        for key, value in changes.items()
        for leaf in _leaves(Override(_path(key), as_data(value), key))
    ]


def as_data(value: Any) -> Any:
    """Convert a Python value to the types of YAML: paths to text, tuples to lists."""
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def plain(value: Any) -> Any:
    """Return a deep copy of plain data in which numbers like ``1e-3`` are numbers, not text.

    Aliases of YAML are copied too; two sections with the same anchor would otherwise change
    together.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def one_or_several(check: Callable[[Any], Checked], value: Any) -> Checked:
    """Return what a check makes of a value; a word or number may stand for a list of it alone.

    Args:
        check: returns the value as the declared type, or raises a ``ValueError`` (pydantic's
            errors are).
        value: as a user gave it.

    Raises:
        ValueError: of ``check``, for the value as it was given.
    """
    try:
        return check(value)
    except ValueError:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            with suppress(ValueError):
                return check((value,))
        raise


def merged(data: Mapping[str, Any], words: Iterable[Word], short: Short) -> dict[str, Any]:
    """Return a copy of ``data`` with all overrides applied.

    Args:
        data: content of the experiment file.
        words: overrides, in any order.
        short: sections that may be given by a plain value.

    Raises:
        InputError: two overrides contradict each other, one is not of the form ``key=value``,
            or one sets a key inside a value that is not a section.
    """
    overrides = [_written_out(parse(word), short) for word in words]
    leaves = [leaf for override in overrides for leaf in _leaves(override)]
    leaves.sort(key=lambda leaf: len(leaf.path))  # an empty mapping before the values inside it
    _refuse_contradictions(leaves)
    result: dict[str, Any] = plain(data)
    for override in sorted(overrides, key=lambda override: len(override.path)):
        if isinstance(override.value, Mapping):
            _put(result, override.path, {}, short)
    for leaf in leaves:
        section = leaf.path[0]
        if leaf.path[1:] == ("name",) and section in short:
            before = result.get(section)
            if (before.get("name") if isinstance(before, dict) else before) != leaf.value:
                result[section] = {}
    for leaf in leaves:
        _put(result, leaf.path, leaf.value, short)
    return result


def saying(words: Iterable[Word], key: str, short: Short) -> str:
    """Return the text of the override that sets a key or a key inside it; empty if none does."""
    path = tuple(key.split("."))
    for word in words:
        for leaf in _leaves(_written_out(parse(word), short)):
            if leaf.path[: len(path)] == path:
                return leaf.said
    return ""


def _written_out(override: Override, short: Short) -> Override:
    """Expand a short form: an override of ``optimizer`` by a name becomes ``optimizer.name``."""
    if len(override.path) == 1 and override.path[0] in short:
        key, kind = short[override.path[0]]
        if isinstance(override.value, kind):
            return Override((*override.path, key), override.value, override.said)
    return override


def _leaves(override: Override) -> Iterator[Override]:
    """Yield an override for each value of a mapping; the override itself for other values."""
    if isinstance(override.value, Mapping) and override.value:
        for key, value in override.value.items():
            yield from _leaves(Override((*override.path, key), value, override.said))
    else:
        yield override


def _refuse_contradictions(leaves: Sequence[Override]) -> None:
    """Check that no override undoes another.

    Raises:
        InputError: two set the same key to different values, or one sets a key inside a section
            that another sets to a plain value.
    """
    known: dict[tuple[Any, ...], Override] = {}
    for leaf in leaves:
        other = known.setdefault(leaf.path, leaf)
        if other is not leaf and not _same(other.value, leaf.value):
            raise InputError(
                f"{other.said} and {leaf.said} contradict each other: both set {leaf.key!r}: "
                "leave one of them out"
            )
    for leaf in leaves:
        for length in range(1, len(leaf.path)):
            other = known.get(leaf.path[:length], leaf)
            if other is not leaf and not isinstance(other.value, Mapping):
                raise InputError(
                    f"{other.said} and {leaf.said} contradict each other: {other.key!r} is no "
                    f"section with a key {leaf.path[length]!r}: leave one of them out"
                )


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; true and 1 are different."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _put(data: dict[str, Any], path: Sequence[Any], value: Any, short: Short) -> None:
    """Set a value, and create its sections if they are missing.

    Raises:
        InputError: one of the sections is a plain value.
    """
    target: Any = data
    for depth, part in enumerate(path[:-1]):
        inside = target.get(part)
        if inside is None:
            inside = target[part] = {}
        elif depth == 0 and part in short and isinstance(inside, short[part][1]):
            inside = target[part] = {short[part][0]: inside}
        if not isinstance(inside, dict):
            section = ".".join(map(str, path[: depth + 1]))
            raise InputError(
                f"{'.'.join(map(str, path))}: expected a section {section}, got {inside!r}"
            )
        target = inside
    target[path[-1]] = plain(value)
