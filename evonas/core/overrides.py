"""Overrides: what a command line changes of an experiment, merged in one order.

Values come from, the weaker first: the defaults in the code, the experiment's file, and the
command line. ``key=value`` words and named options (``--budget 20``) are of equal rank, and their
order does not matter: all of them hold in the resulting experiment, or ``merged`` refuses those
that contradict each other. It takes three steps:

1. A mapping (``optimizer={name: ga, parents: 4}``) replaces the whole section of the file.
2. The name of a part (``optimizer=ga``, ``optimizer.name=ga``, ``--optimizer ga``), where it is
   not the file's, drops what the file has beside the old name, which would not fit. Options given
   on the command line stay.
3. Every other value takes the place of the file's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from evonas.core import recommended_taps as recommended
from evonas.core.files import parse_yaml
from evonas.errors import InputError

#: Section -> the key that a plain value for the whole section is short for, and its type.
Short = Mapping[str, tuple[str, type]]
# YAML 1.1 reads 1e-3 as text; here it is a number.
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_SHOWN = 80  # characters of an override that a message shows


@dataclass(frozen=True)
class Override:
    """One value of an experiment that a command line sets.

    Attributes:
        path: keys from the outermost section inwards.
        value: plain data.
        said: how the person gave it, for messages: ``budget=20`` or ``--budget 20``.
    """

    path: tuple[Any, ...]
    value: Any
    said: str

    @property
    def key(self) -> str:
        """The path as a person writes it."""
        return ".".join(map(str, self.path))


#: An override as it is typed (``key=value``), or one that a named option stands for.
Word = str | Override


def parse(word: Word) -> Override:
    """Return the override that a ``key=value`` word says.

    Raises:
        InputError: the word is not of this form, or its value is no YAML.
    """
    if isinstance(word, Override):
        return word
    key, equals, text = word.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise InputError(f"{word!r}: expected key=value, such as training.epochs=5")
    # YAML cannot begin a word with the sign of a file of taps.
    named = text.startswith(recommended.SIGN)
    value = text if named else plain(parse_yaml(text, f"{key}={text[:40]!r}"))
    return Override(path, value, f"{key}={text}"[:_SHOWN])


def given(changes: Mapping[str, Any]) -> list[Override]:
    """Return the overrides that Python's keyword arguments stand for.

    A mapping stands for one override of each value in it, so that it changes what it names alone.

    Args:
        changes: key, with dots or without, -> value; see ``as_data``.
    """
    return [
        Override(leaf.path, leaf.value, f"{leaf.key}={leaf.value!r}"[:_SHOWN])
        for key, value in changes.items()
        for leaf in _leaves(Override(tuple(key.split(".")), as_data(value), key))
    ]


def as_data(value: Any) -> Any:
    """Return a Python value as YAML would have it: paths become text, tuples lists."""
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def plain(value: Any) -> Any:
    """Return a deep copy of plain data with numbers in any notation as numbers.

    Aliases of YAML become values of their own; two sections that share an anchor would otherwise
    change together.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def merged(data: Mapping[str, Any], words: Iterable[Word], short: Short) -> dict[str, Any]:
    """Return plain data in which every override holds; ``data`` stays as it is.

    Args:
        data: of the experiment's file.
        words: the overrides, in any order.
        short: the sections that a plain value may stand for.

    Raises:
        InputError: two overrides contradict each other, one is not of the form ``key=value``,
            or one sets a key inside a value that is no section.
    """
    found = [_written_out(parse(word), short) for word in words]
    leaves = [leaf for override in found for leaf in _leaves(override)]
    leaves.sort(key=lambda one: len(one.path))  # an empty mapping before what goes into it
    _refuse_contradictions(leaves)
    result: dict[str, Any] = plain(data)
    for override in sorted(found, key=lambda one: len(one.path)):
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
    """Return how a person set a key, or a key inside of it; empty if nobody did."""
    path = tuple(key.split("."))
    for word in words:
        for leaf in _leaves(_written_out(parse(word), short)):
            if leaf.path[: len(path)] == path:
                return leaf.said
    return ""


def _written_out(override: Override, short: Short) -> Override:
    """Return an override of ``optimizer.name`` for one of ``optimizer`` alone."""
    if len(override.path) == 1 and override.path[0] in short:
        key, kind = short[override.path[0]]
        if isinstance(override.value, kind):
            return Override((*override.path, key), override.value, override.said)
    return override


def _leaves(override: Override) -> Iterator[Override]:
    """Yield an override for each value of a mapping; the override itself if it holds no mapping."""
    if isinstance(override.value, Mapping) and override.value:
        for key, value in override.value.items():
            yield from _leaves(Override((*override.path, key), value, override.said))
    else:
        yield override


def _refuse_contradictions(leaves: Sequence[Override]) -> None:
    """Refuse overrides of which one would undo another.

    Raises:
        InputError: two set one key to different values, or one sets a key inside what is a plain
            value for another.
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
    """Whether two values are equal; true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _put(data: dict[str, Any], path: Sequence[Any], value: Any, short: Short) -> None:
    """Set a value, creating the sections around it.

    Raises:
        InputError: one of these sections is a plain value.
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
            raise InputError(f"{'.'.join(map(str, path))}: {section} is no section: got {inside!r}")
        target = inside
    target[path[-1]] = plain(value)
