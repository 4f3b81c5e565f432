"""A limit on a sum of genes, which a mutation keeps."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evonas.errors import InputError, nearest
from evonas.space.gene import Gene, Value

KEYS = ("genes", "at_most")
#: Sums of fractions are off by rounding; that much of the limit is no excess.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """The sum of some numeric genes is at most so much.

    It binds mutations and the start of an evolution alone: a space decodes any point, and
    other strategies ask it.

    Attributes:
        genes: their names; one that does not count (``when``) adds nothing.
        at_most: the highest sum of their values.
    """

    genes: tuple[str, ...]
    at_most: float

    @classmethod
    def from_dict(cls, spec: Any, genes: Mapping[str, Gene], where: str) -> Limit:
        """Build a limit from ``{"genes": [...], "at_most": number}``.

        Args:
            spec: the plain data.
            genes: of the space, by name.
            where: what an error message calls the place.

        Raises:
            InputError: a key is unknown or missing, a gene is unknown, stands twice or is
                not numeric, or ``at_most`` is no finite number.
        """
        if not isinstance(spec, dict):
            raise InputError(f"{where}: expected a mapping with {', '.join(KEYS)}, got {spec!r}")
        for key in spec:
            if key not in KEYS:
                raise InputError(f"{where}: unknown key {key!r}: {nearest(str(key), KEYS)}")
        for key in KEYS:
            if key not in spec:
                raise InputError(f"{where}: the key {key!r} is missing")
        names, most = spec["genes"], spec["at_most"]
        if not isinstance(names, list) or not names:
            raise InputError(f"{where}: expected a list with at least one gene, got {names!r}")
        for number, name in enumerate(names):
            if not isinstance(name, str) or name not in genes:
                raise InputError(f"{where}: no gene {name!r}: {nearest(str(name), genes)}")
            if name in names[:number]:
                raise InputError(f"{where}: the gene {name!r} stands twice")
            if not genes[name].numeric:
                raise InputError(
                    f"{where}: expected genes whose values are numbers, got {name!r} with "
                    f"{list(genes[name].values)}"
                )
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if not (is_number and abs(most) <= sys.float_info.max):
            raise InputError(f"{where}, 'at_most': expected a number, got {most!r}")
        return cls(tuple(names), most)

    def holds(self, settings: Mapping[str, Value]) -> bool:
        """Whether an architecture's settings keep the limit."""
        numbers = [settings.get(name, 0) for name in self.genes]
        total = math.fsum(number for number in numbers if isinstance(number, int | float))
        return total <= self.at_most + ROUNDING * abs(self.at_most)

    def among(self, genes: Iterable[Gene]) -> Limit | None:
        """Return the limit on those of its genes that are there and numeric; None: on none."""
        there = {gene.name for gene in genes if gene.numeric}
        kept = tuple(name for name in self.genes if name in there)
        return Limit(kept, self.at_most) if kept else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which ``from_dict`` makes an equal limit."""
        return {"genes": list(self.genes), "at_most": self.at_most}
