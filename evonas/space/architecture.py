"""Architecture: the network family and settings that a genome decodes to, with a digest."""

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
    """JSON form of an architecture."""

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
    """Name of a network family and its settings; immutable and hashable.

    Genomes that decode to equal settings are the same architecture, which is trained once. It is
    identified by its digest.

    Attributes:
        network: name of the network family.
        settings: setting name -> value.
    """

    network: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", Settings(self.settings))

    @cached_property
    def digest(self) -> str:
        """Hash of network and settings, 16 hexadecimal digits."""
        return hashlib.blake2b(_text(self).encode(), digest_size=8).hexdigest()

    def to_dict(self) -> Plain:
        """Return plain data for JSON."""
        return {"network": self.network, "settings": dict(self.settings.items())}

    @classmethod
    def from_dict(cls, data: Any) -> Architecture:
        """Build an architecture from plain data.

        Raises:
            InputError: the data has not the form of ``to_dict``.
        """
        cls.check(data)
        return cls(data["network"], data["settings"])

    @staticmethod
    def check(data: Any) -> None:
        """Check that plain data has the form of ``to_dict``.

        Raises:
            InputError: it has not.
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
        # fast path: all values are of these types, and none is nan
        if _SETTING.issuperset(map(type, values)) and not any(map(ne, values, values)):
            return
        for name, value in data["settings"].items():
            if type(value) not in _SETTING or value != value:
                raise InputError(
                    f"expected text, a number or true/false for setting {str(name)[:40]!r}, got "
                    f"{str(value)[:40]!r}"
                )


def _text(architecture: Architecture) -> str:
    """Return the JSON of an architecture, sorted by name and without spaces.

    A search computes many digests from few names and values, so their JSON is cached.
    """
    try:
        settings = dict(architecture.settings.items())
        parts = [_name(name) + _value(settings[name]) for name in sorted(settings)]
    except TypeError:  # names or values of other types: json converts or refuses them
        return json.dumps(architecture.to_dict(), sort_keys=True, separators=(",", ":"))
    return f'{{"network":{json.dumps(architecture.network)},"settings":{{{",".join(parts)}}}}}'


def _value(value: Any) -> str:
    # 0.0 and -0.0 are equal, so a cache would confuse them
    return repr(value) if type(value) is float and not value else _json(value)


@lru_cache(4096, typed=True)
def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@lru_cache(4096, typed=True)
def _name(name: Any) -> str:
    return json.dumps({name: 0}, separators=(",", ":"))[1:-2]
