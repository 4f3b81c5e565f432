"""Limit on the sum of some genes, which mutations of an evolution respect."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evonas.errors import InputError, nearest
from evonas.space.gene import Gene, Value

KEYS = ("genes", "at_most")
#: Tolerance, relative to the limit, for the rounding of sums of fractions.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """Upper limit on the sum of the values of some numeric genes.

    Only mutations and the first generation of the optimizer ``evolution`` respect it: decoding
    and the other optimizers ignore it.

    Attributes:
        genes: names of the genes; an inactive gene (``when``) counts as 0.
        at_most: largest sum of their values.
    """

    genes: tuple[str, ...]
    at_most: float

    @classmethod
    def from_dict(cls, spec: Any, genes: Mapping[str, Gene], where: str) -> Limit:
        """Build a limit from ``{"genes": [...], "at_most": number}``.

        Args:
            spec: plain data.
            genes: genes of the space, by name.
            where: description of the place for error messages.

        Raises:
            InputError: a key is unknown or missing, a gene is unknown, listed twice or not
                numeric, or ``at_most`` is not a finite number.
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
                raise InputError(f"{where}: expected each gene once, got {name!r} twice")
            if not genes[name].numeric:
                raise InputError(
                    f"{where}: expected genes whose values are numbers, got {name!r} with the "
                    f"values {list(genes[name].values)}"
                )
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if not (is_number and abs(most) <= sys.float_info.max):
            raise InputError(f"{where}, 'at_most': expected a number, got {most!r}")
        return cls(tuple(names), most)

    def holds(self, settings: Mapping[str, Value]) -> bool:
        """Return whether the settings of an architecture satisfy the limit."""
        numbers = [settings.get(name, 0) for name in self.genes]
        total = math.fsum(number for number in numbers if isinstance(number, int | float))
        return total <= self.at_most + ROUNDING * abs(self.at_most)

    def among(self, genes: Iterable[Gene]) -> Limit | None:
        """Return the limit restricted to the numeric ones of ``genes``; None if none is left."""
        numeric = {gene.name for gene in genes if gene.numeric}
        names = tuple(name for name in self.genes if name in numeric)
        return Limit(names, self.at_most) if names else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which ``from_dict`` builds an equal limit."""
        return {"genes": list(self.genes), "at_most": self.at_most}
