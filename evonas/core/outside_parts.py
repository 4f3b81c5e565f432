"""Parts that other installed packages offer by entry points, read without importing any.

A package offers the optimizer ``mine`` by a line of its own metadata::

    [project.entry-points."evonas.optimizers"]
    mine = "my_package.strategies:Mine"
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Offer:
    """A part of another package.

    Attributes:
        package: distribution that offers it.
        group: of the entry point, such as ``evonas.optimizers``.
        name: of the entry point.
        target: ``module:Class``.
    """

    package: str
    group: str
    name: str
    target: str

    def __str__(self) -> str:
        return f"package {self.package}, entry point {self.name!r} of {self.group}"


def offers(group: str, own: Collection[str]) -> dict[str, Offer]:
    """Return public name -> part of the packages that are installed.

    A name that evonas itself has, or that two packages give, cannot be taken: such a part goes by
    its dotted name, and a warning says so once.

    Args:
        group: of the entry points.
        own: names of evonas itself.
    """
    return _named(group, frozenset(own), tuple(sys.path))


@cache
def _named(group: str, own: frozenset[str], path: tuple[str, ...]) -> dict[str, Offer]:
    every = [
        Offer(point.dist.name if point.dist else "?", group, point.name, _target(point))
        for point in _scanned(path).select(group=group)
    ]
    times = Counter(offer.name for offer in every)
    found = {}
    for offer in every:
        owner = "evonas itself" if offer.name in own else "another package as well"
        taken = offer.name in own or times[offer.name] > 1
        if taken:
            warnings.warn(
                f"{offer}: the name is one of {owner}: this part is {offer.target!r}", stacklevel=4
            )
        found[offer.target if taken else offer.name] = offer
    return found


@cache
def _scanned(path: tuple[str, ...]) -> Any:
    """Return the entry points of all packages on ``sys.path``, which is ``path``: one scan."""
    from importlib.metadata import entry_points  # late: with email and zipfile it takes 0.1 s

    return entry_points()


def _target(point: EntryPoint) -> str:
    return point.value.partition("[")[0].strip()
