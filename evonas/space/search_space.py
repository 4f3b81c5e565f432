"""Search space: an ordered list of genes, and the decoding of genomes to architectures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import read_yaml
from evonas.errors import InputError, nearest
from evonas.space.architecture import Architecture
from evonas.space.gene import Gene, Value
from evonas.space.limit import Limit

KEYS = ("name", "network", "genes")
#: Optional keys, which only the optimizer ``evolution`` uses.
RULES = ("limits", "ancestors")
#: Size of the cache of decoded genomes: strategy, archive and search decode the same ones.
_RECENT = 1024

Genome = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class SearchSpace:
    """A search space: every point of the unit cube decodes to an architecture.

    Args:
        genes: one gene per coordinate, at least one; see ``Choice``, ``Ordinal``, ``Integer``
            and ``LogFloat``.
        name: name of the space, for messages.
        network: network family that builds the architectures; empty for a space without
            networks, such as that of ``evonas.minimize``.
        limits: limits on sums of genes, which only the optimizer ``evolution`` respects.
        ancestors: architectures that the optimizer ``evolution`` starts from; empty: random
            ones.

    Raises:
        InputError: there is no gene, two have the same name, or a ``when`` names no earlier
            gene.

    Examples:
        >>> space = SearchSpace([Ordinal("width", [8, 16, 32]), LogFloat("rate", 1e-4, 1e-1)])
        >>> dict(space.decode([0.9, 1.0]).settings)
        {'width': 32, 'rate': 0.1}
    """

    genes: tuple[Gene, ...]
    name: str
    network: str
    limits: tuple[Limit, ...]
    ancestors: tuple[Architecture, ...]

    def __init__(
        self,
        genes: Iterable[Gene],
        name: str = "search space",
        network: str = "",
        limits: Iterable[Limit] = (),
        ancestors: Iterable[Architecture] = (),
    ) -> None:
        known = _checked_genes(genes, name)
        for field, value in (
            *(("genes", known), ("name", name), ("network", network)),
            *(("limits", tuple(limits)), ("ancestors", tuple(ancestors))),
        ):
            object.__setattr__(self, field, value)

    @classmethod
    def from_dict(cls, data: Any, where: str = "search space") -> SearchSpace:
        """Build a space from ``{"name", "network", "genes": [...]}``.

        Optional keys are ``limits``, a list for ``Limit.from_dict``, and ``ancestors``, a list
        of mappings of genes to values.

        Args:
            data: plain data.
            where: description of the source for error messages.

        Raises:
            InputError: a key is unknown or missing, a name is not text, a gene is malformed, two
                genes have the same name, a ``when`` names no earlier gene, a limit is malformed,
                or an ancestor is not in this space, violates a limit or occurs twice.
        """
        if not isinstance(data, dict):
            raise InputError(f"{where}: expected a mapping with {', '.join(KEYS)}, got {data!r}")
        for key in data:
            if key not in (*KEYS, *RULES):
                known = nearest(str(key), (*KEYS, *RULES))
                raise InputError(f"{where}: unknown key {key!r}: {known}")
        for key in KEYS:
            if key not in data:
                raise InputError(f"{where}: the key {key!r} is missing")
        for key in ("name", "network"):
            # ``network`` may be empty
            if not isinstance(data[key], str) or not (data[key] or key == "network"):
                raise InputError(f"{where}, {key!r}: expected text, got {data[key]!r}")
        if not isinstance(data["genes"], list) or not data["genes"]:
            raise InputError(f"{where}: expected at least one gene, got {data['genes']!r}")
        genes: list[Gene] = []
        for spec in data["genes"]:
            gene = Gene.from_dict(spec, where)
            _check_place(gene, genes, where)
            genes.append(gene)
        return cls(genes, data["name"], data["network"])._ruled(data, where)

    def _ruled(self, data: dict[str, Any], where: str) -> SearchSpace:
        """Return the space with the limits and ancestors of ``data``."""
        for key in RULES:
            if not isinstance(data.get(key, []), list):
                raise InputError(f"{where}, {key!r}: expected a list, got {data[key]!r}")
        genes = {gene.name: gene for gene in self.genes}
        limits = tuple(
            Limit.from_dict(spec, genes, f"{where}, limit {number}")
            for number, spec in enumerate(data.get("limits", []), 1)
        )
        space = replace(self, limits=limits)
        ancestors: list[Architecture] = []
        for number, settings in enumerate(data.get("ancestors", []), 1):
            ancestor = space._ancestor(settings, f"{where}, ancestor {number}")
            if ancestor in ancestors:
                raise InputError(
                    f"{where}, ancestor {number}: expected a new architecture, got ancestor "
                    f"{ancestors.index(ancestor) + 1} again"
                )
            ancestors.append(ancestor)
        return replace(space, ancestors=tuple(ancestors))

    def _ancestor(self, settings: Any, where: str) -> Architecture:
        """Return the architecture with these settings.

        Raises:
            InputError: a setting is unknown, missing, out of range or of an inactive gene, or
                they violate a limit.
        """
        if not isinstance(settings, dict):
            raise InputError(f"{where}: expected a mapping of genes to values, got {settings!r}")
        names = [gene.name for gene in self.genes]
        for name in settings:
            if name not in names:
                raise InputError(f"{where}: no gene {name!r}: {nearest(str(name), names)}")
        genome = np.full(self.dim, 0.5)
        for i, gene in enumerate(self.genes):
            if gene.name in settings:
                try:
                    genome[i] = gene.encode(settings[gene.name])
                except InputError as error:
                    raise InputError(f"{where}: {error}") from error
        ancestor = self.decode(genome)
        for name in names:
            if name in ancestor.settings and name not in settings:
                raise InputError(f"{where}: expected a value for each gene, got none for {name!r}")
            if name in settings and name not in ancestor.settings:
                raise InputError(
                    f"{where}: expected no value for {name!r}, whose 'when' does not hold, got "
                    f"{settings[name]!r}"
                )
        for limit in self.limits:
            if not limit.holds(ancestor.settings):
                raise InputError(
                    f"{where}: expected a sum of {', '.join(limit.genes)} of at most "
                    f"{limit.at_most}, got {[ancestor.settings.get(n, 0) for n in limit.genes]}"
                )
        return ancestor

    @classmethod
    def from_file(cls, path: Path | str) -> SearchSpace:
        """Read a space from a YAML file.

        Raises:
            InputError: the file is missing, is not YAML, or is not a valid space.
        """
        if not isinstance(path, Path | str):
            raise InputError(f"search space: expected the path of a YAML file, got {path!r:.80}")
        return cls.from_dict(read_yaml(Path(path)), str(path))

    @property
    def dim(self) -> int:
        """Length of a genome."""
        return len(self.genes)

    @cached_property
    def size(self) -> float:
        """Number of architectures; an upper bound if genes have a ``when``."""
        return math.prod(gene.size for gene in self.genes)

    @property
    def bins(self) -> NDArray[np.float64]:
        """Width of one value's interval in each coordinate, (dim,); 0 if continuous."""
        return np.array([0.0 if math.isinf(g.size) else 1.0 / g.size for g in self.genes])

    @property
    def ordered(self) -> NDArray[np.bool_]:
        """Whether the values of each gene are ordered, (dim,)."""
        return np.array([gene.kind != "choice" for gene in self.genes])

    def decode(self, genome: Genome | Sequence[float]) -> Architecture:
        """Return the architecture of a genome.

        Args:
            genome: (dim,) values in [0, 1].

        Raises:
            ValueError: the length is wrong, or a value is outside [0, 1].
        """
        point = np.asarray(genome, dtype=np.float64)
        if point.shape != (self.dim,):
            raise ValueError(
                f"{self.name}: expected a genome of shape ({self.dim},), got {point.shape}"
            )
        key = point.tobytes()
        if (architecture := self._recent.get(key)) is None:
            architecture = self._decoded(point.tolist())
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[key] = architecture
        return architecture

    def _decoded(self, point: list[float]) -> Architecture:
        if not all(0.0 <= x <= 1.0 for x in point):
            raise ValueError(f"{self.name}: expected numbers in [0, 1], got {point}")
        settings: dict[str, Value] = {}
        for (gene, name, values, when), x in zip(self._plan, point, strict=True):
            for other, needed in when:
                if other not in settings or settings[other] not in needed:
                    break
            else:
                index = math.ceil(x * len(values)) - 1  # Gene.decode, inlined for speed
                settings[name] = values[max(index, 0)] if values else gene.decode(x)
        return Architecture(self.network, settings)

    @cached_property
    def _plan(self) -> list[tuple[Gene, str, tuple[Value, ...], Any]]:
        return [(gene, gene.name, gene.values, gene.when) for gene in self.genes]

    @cached_property
    def _recent(self) -> dict[bytes, Architecture]:
        return {}

    def encode(self, architecture: Architecture) -> Genome:
        """Return the genome of an architecture: bin centres, and 0.5 for inactive genes.

        Raises:
            InputError: the architecture is not in this space.
        """
        if architecture.network != self.network:
            raise InputError(
                f"space {self.name!r}: expected a network {self.network!r}, got "
                f"{architecture.network!r}"
            )
        unknown = [key for key in architecture.settings if key not in {g.name for g in self.genes}]
        if unknown:
            raise InputError(f"space {self.name!r} has no gene {unknown[0]!r}")
        genome = np.full(self.dim, 0.5)
        for i, gene in enumerate(self.genes):
            if gene.name in architecture.settings:
                genome[i] = gene.encode(architecture.settings[gene.name])
        if self.decode(genome) != architecture:
            raise InputError(
                f"space {self.name!r}: a setting is missing in {architecture.settings}"
            )
        return genome

    def narrowed(self, ranges: Mapping[str, Any]) -> SearchSpace:
        """Return the space with other ranges for some genes.

        A gene whose ``when`` can no longer hold is removed, which shortens the genome. Removed
        values are removed from ``mutable``, removed genes from their limits, and ancestors that
        are not in the new space are dropped.

        Args:
            ranges: gene name -> a list of choices, or a single value.

        Raises:
            InputError: no gene has the name, or the list is empty.
        """
        genes = {gene.name: gene for gene in self.genes}
        for name, values in ranges.items():
            if name not in genes:
                raise InputError(
                    f"space {self.name!r} has no gene {name!r}: {nearest(name, genes)}"
                )
            old = genes[name]
            spec = {
                "name": name,
                "kind": "choice" if old.kind == "choice" else "ordinal",
                "choices": values if isinstance(values, list) else [values],
            }
            gene = Gene.from_dict(spec, f"space {self.name!r}")
            mutable = old.mutable
            if mutable is not None:
                mutable = tuple(gene.decode(gene.encode(v)) for v in mutable if gene.takes(v))
            genes[name] = replace(gene, when=old.when, step=old.step, mutable=mutable)
        kept: dict[str, Gene] = {}
        for old in self.genes:
            gene = genes[old.name]
            when = tuple(
                (
                    other,
                    tuple(v for v in values if v in kept[other].values or not kept[other].values),
                )
                for other, values in gene.when
                if other in kept
            )
            if len(when) == len(gene.when) and all(values for _, values in when):
                kept[gene.name] = replace(gene, when=when)
        limits = [limit.among(kept.values()) for limit in self.limits]
        space = replace(
            self,
            genes=tuple(kept.values()),
            limits=tuple(limit for limit in limits if limit is not None),
            ancestors=(),
        )
        ancestors: list[Architecture] = []
        for ancestor in self.ancestors:
            with suppress(InputError):
                ancestors.append(space._ancestor(dict(ancestor.settings), ""))
        return replace(space, ancestors=tuple(ancestors))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which ``from_dict`` builds an equal space."""
        listing: list[dict[str, Any]] = []
        for gene in self.genes:
            spec: dict[str, Any] = {"name": gene.name, "kind": gene.kind}
            if gene.kind in ("choice", "ordinal"):
                spec["choices"] = list(gene.values)
            elif gene.kind == "integer":
                spec |= {"low": gene.values[0], "high": gene.values[-1]}
            else:
                spec |= {"low": gene.low, "high": gene.high}
            if gene.when:
                spec["when"] = {other: list(values) for other, values in gene.when}
            if gene.step:
                spec["step"] = gene.step
            if gene.mutable is not None:
                spec["mutable"] = list(gene.mutable)
            listing.append(spec)
        data: dict[str, Any] = {"name": self.name, "network": self.network, "genes": listing}
        # left out if empty: run directories of earlier versions have no such keys
        if self.limits:
            data["limits"] = [limit.to_dict() for limit in self.limits]
        if self.ancestors:
            data["ancestors"] = [dict(ancestor.settings) for ancestor in self.ancestors]
        return data


def _checked_genes(genes: Iterable[Gene], where: str) -> tuple[Gene, ...]:
    """Return the genes of a space.

    Raises:
        InputError: there is no gene, an item is not a gene, two have the same name, or a ``when``
            names no earlier gene.
    """
    if not isinstance(genes, Iterable):
        raise InputError(f"{where}: expected a list of genes, got {genes!r}")
    known: list[Gene] = []
    for gene in genes:
        if not isinstance(gene, Gene):
            raise InputError(
                f"{where}: expected genes, such as Ordinal('width', [8, 16]), got {gene!r}"
            )
        _check_place(gene, known, where)
        known.append(gene)
    if not known:
        raise InputError(f"{where}: expected at least one gene, got []")
    return tuple(known)


def _check_place(gene: Gene, before: Sequence[Gene], where: str) -> None:
    """Check a gene against the genes before it.

    Raises:
        InputError: its name is taken, or its ``when`` names no earlier gene or not a value of
            one.
    """
    earlier = {previous.name: previous for previous in before}
    if gene.name in earlier:
        raise InputError(f"{where}: expected each gene name once, got {gene.name!r} twice")
    for other, values in gene.when:
        if other not in earlier:
            raise InputError(
                f"{where}, gene {gene.name!r}: expected earlier genes in 'when', got {other!r}: "
                f"{nearest(other, earlier)}"
            )
        for value in values:
            try:
                earlier[other].encode(value)
            except InputError as error:
                raise InputError(f"{where}, gene {gene.name!r}, 'when': {error}") from error
