"""A decoded architecture: frozen plain data with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import ne
from typing import Any, TypedDict

from evonas.errors import InputError

_SETTING = frozenset((str, int, float, bool))


class Plain(TypedDict):
    """An architecture as JSON holds it."""

    network: str
    settings: dict[str, str | int | float | bool]


class Settings(Mapping[str, Any]):
    """An immutable, hashable mapping of setting name to value."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[str, Any]:
        """Return names with values."""
        return self._items.items()

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._items.items())))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True)
class Architecture:
    """What a genome decodes to: the name of a network and its settings.

    Two genomes that decode to equal settings are one architecture: it is trained
    once. The digest is the name under which that is remembered.
    """

    network: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", Settings(self.settings))

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that follow from network and settings alone."""
        return hashlib.blake2b(_text(self).encode(), digest_size=8).hexdigest()

    def to_dict(self) -> Plain:
        """Return plain data that JSON can hold."""
        return {"network": self.network, "settings": dict(self.settings.items())}

    @classmethod
    def from_dict(cls, data: Any) -> Architecture:
        """Build an architecture from plain data.

        Raises:
            InputError: the data has not the form that ``to_dict`` gives.
        """
        cls.check(data)
        return cls(data["network"], data["settings"])

    @staticmethod
    def check(data: Any) -> None:
        """Refuse plain data that ``from_dict`` could not build from.

        Raises:
            InputError: the data has not the form that ``to_dict`` gives.
        """
        fits = (
            isinstance(data, dict)
            and isinstance(data.get("network"), str)
            and isinstance(data.get("settings"), dict)
        )
        if not fits:
            raise InputError(
                f"expected an architecture with 'network' and 'settings', got {str(data)[:80]!r}"
            )
        values = data["settings"].values()
        # nothing else has a digest, a place in a gene or a name in a table
        if _SETTING.issuperset(map(type, values)) and not any(map(ne, values, values)):
            return
        for name, value in data["settings"].items():
            if type(value) not in _SETTING or value != value:
                raise InputError(
                    f"expected text, a number or true/false as setting {str(name)[:40]!r}, got "
                    f"{str(value)[:40]!r}"
                )


def _text(architecture: Architecture) -> str:
    """Return the JSON of an architecture, sorted by name and without spaces.

    Searches know every network by it, and space and names are the same in all of them: so what
    stands for a name or a value is made once, and put together here.
    """
    try:
        settings = dict(architecture.settings.items())
        parts = [_name(name) + _value(settings[name]) for name in sorted(settings)]
    except TypeError:  # names or values of other kinds: as json has them, if it has
        return json.dumps(architecture.to_dict(), sort_keys=True, separators=(",", ":"))
    return f'{{"network":{json.dumps(architecture.network)},"settings":{{{",".join(parts)}}}}}'


def _value(value: Any) -> str:
    # 0.0 and -0.0 are equal, so a memory would take one for the other
    return repr(value) if type(value) is float and not value else _written(value)


@lru_cache(4096, typed=True)
def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@lru_cache(4096, typed=True)
def _name(name: Any) -> str:
    return json.dumps({name: 0}, separators=(",", ":"))[1:-2]
