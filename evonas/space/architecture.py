"""A decoded architecture: frozen plain data with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evonas.errors import InputError

_SETTING = (str, int, float, bool)


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
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {"network": self.network, "settings": dict(self.settings)}

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
        for name, value in data["settings"].items():
            # nothing else has a digest, a place in a gene or a name in a table
            if type(value) not in _SETTING or value != value:
                raise InputError(
                    f"expected text, a number or true/false as setting {str(name)[:40]!r}, got "
                    f"{str(value)[:40]!r}"
                )
