"""Gene: a named variable of a search space and its map from the unit interval.

A discrete gene with n values is decoded as by Matak (2020, HeadPoseNAS):
index = max(ceil(x * n), 1) - 1, so x = 0 gives 0, x = 1 gives n - 1, and value i has the interval
(i/n, (i+1)/n].
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evonas.errors import InputError, nearest

#: kind -> keys that define the range
KINDS: dict[str, tuple[str, ...]] = {
    "choice": ("choices",),
    "ordinal": ("choices",),
    "integer": ("low", "high"),
    "log_float": ("low", "high"),
}

#: kinds with discrete ordered values, for which ``step`` limits a mutation
STEPPED = ("ordinal", "integer")

#: Largest number of values of an integer gene (memory), and largest value (exact as a float).
_MOST, _LARGEST = 100_000, 2**53

Value = str | int | float | bool


@dataclass(frozen=True)
class Gene:
    """A named variable, given by one coordinate of a genome.

    Attributes:
        name: name of the setting in an architecture.
        kind: ``choice`` (unordered), ``ordinal`` (ordered choices), ``integer`` (low..high,
            both included) or ``log_float`` (log-uniform, rounded to three significant digits so
            that equal architectures are recognised).
        values: discrete values in order; empty for ``log_float``.
        low: least value of a ``log_float``; else unused.
        high: largest value of a ``log_float``; else unused.
        when: the gene is active only if each named earlier gene has one of the listed values;
            the setting of an inactive gene is left out of the architecture.
        step: largest move of a mutation, in values, at least 1; 0: any.
        mutable: values that a mutation may choose, empty: the gene never mutates; None: all.
            Only ``Mutation`` uses this and ``step``; decoding does not.
    """

    name: str
    kind: str
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    step: int = 0
    mutable: tuple[Value, ...] | None = None

    @classmethod
    def from_dict(cls, spec: dict[str, Any], where: str) -> Gene:
        """Build a gene from plain data.

        Args:
            spec: ``name``, ``kind``, the range (``choices`` or ``low`` and
                ``high``) and optionally ``when``, ``step`` and ``mutable``.
            where: description of the place for error messages.

        Raises:
            InputError: a key is unknown or missing, the range is empty, ``when`` is not a
                mapping of gene names to values, ``step`` is not a whole number of at least 1 or
                the values are unordered, or ``mutable`` is not a list of values of the gene.
        """
        if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
            raise InputError(f"{where}: expected a gene with a name, got {spec!r}")
        where = f"{where}, gene {spec['name']!r}"
        kind = spec.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise InputError(f"{where}: unknown kind {kind!r}: {nearest(str(kind), KINDS)}")
        allowed = {"name", "kind", "when", "step", "mutable", *KINDS[kind]}
        for key in spec:
            if key not in allowed:
                raise InputError(f"{where}: unknown key {key!r}: {nearest(str(key), allowed)}")
        for key in KINDS[kind]:
            if key not in spec:
                raise InputError(f"{where}: kind {kind!r} needs the key {key!r}")
        gene = cls._of_range(spec, where)
        return replace(
            gene,
            when=_conditions(spec.get("when"), where),
            step=_step(spec["step"], kind, where) if "step" in spec else 0,
            mutable=_mutable(spec["mutable"], gene, where) if "mutable" in spec else None,
        )

    @classmethod
    def _of_range(cls, spec: dict[str, Any], where: str) -> Gene:
        """Return the gene with name, kind and range."""
        name, kind = spec["name"], spec["kind"]
        if "choices" in spec:
            return cls(name, kind, _choices(spec["choices"], where))
        low, high = spec["low"], spec["high"]
        if kind == "integer":
            if not (_is_int(low) and _is_int(high) and low <= high):
                raise InputError(f"{where}: expected integers low <= high, got {low!r}, {high!r}")
            if high - low >= _MOST or max(abs(low), abs(high)) > _LARGEST:
                raise InputError(
                    f"{where}: expected at most {_MOST} values, got {low} to {high}: use kind "
                    "'log_float', or 'ordinal' with fewer choices"
                )
            return cls(name, kind, tuple(range(low, high + 1)))
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
        if not (numbers and 0 < low < high <= sys.float_info.max):
            raise InputError(f"{where}: expected numbers 0 < low < high, got {low!r}, {high!r}")
        return cls(name, kind, low=float(low), high=float(high))

    @property
    def size(self) -> float:
        """Number of values; infinite for ``log_float``."""
        return len(self.values) if self.values else math.inf

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers; true and false are not."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def decode(self, x: float) -> Value:
        """Return the value at x in [0, 1]."""
        if self.values:
            return self.values[max(math.ceil(x * len(self.values)), 1) - 1]
        value = math.exp(math.log(self.low) + x * (math.log(self.high) - math.log(self.low)))
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def encode(self, value: Value) -> float:
        """Return the centre of the value's bin (its exact position for ``log_float``).

        Raises:
            InputError: the gene cannot take the value.
        """
        if self.values:
            for index, own in enumerate(self.values):
                if own == value and isinstance(own, bool) == isinstance(value, bool):
                    return (index + 0.5) / len(self.values)
            raise InputError(
                f"gene {self.name!r}: expected one of {list(self.values)}, got {value!r}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, str) or not (number and self.low <= value <= self.high):
            raise InputError(
                f"gene {self.name!r}: expected a number in [{self.low:g}, {self.high:g}], "
                f"got {value!r}"
            )
        return math.log(float(value) / self.low) / math.log(self.high / self.low)

    def takes(self, value: Value) -> bool:
        """Return whether ``value`` is a value of the gene."""
        try:
            self.encode(value)
        except InputError:
            return False
        return True


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _conditions(when: Any, where: str) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    if when is None:
        return ()
    if not isinstance(when, dict):
        raise InputError(f"{where}: expected 'when' as a mapping of genes to values, got {when!r}")
    conditions = []
    for other, values in when.items():
        listed = _choices(values if isinstance(values, list) else [values], f"{where}, 'when'")
        conditions.append((str(other), listed))
    return tuple(conditions)


def _step(step: Any, kind: str, where: str) -> int:
    if kind not in STEPPED:
        raise InputError(
            f"{where}: expected 'step' with kind {' or '.join(STEPPED)} only, got kind {kind!r}"
        )
    if not (_is_int(step) and step >= 1):
        raise InputError(f"{where}, 'step': expected a whole number of at least 1, got {step!r}")
    return int(step)


def _mutable(values: Any, gene: Gene, where: str) -> tuple[Value, ...]:
    if not isinstance(values, list):
        raise InputError(
            f"{where}, 'mutable': expected a list of the gene's values ([]: none), got {values!r}"
        )
    try:
        # the gene's own objects: 1 and 1.0 are the same value
        own = [gene.decode(gene.encode(v)) for v in values]
    except InputError as error:
        raise InputError(f"{where}, 'mutable': {error}") from error
    return _choices(own, f"{where}, 'mutable'") if own else ()


def _choices(choices: Any, where: str) -> tuple[Value, ...]:
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise InputError(f"{where}: expected a list with at least one choice, got {choices!r}")
    for choice in choices:
        if _is_int(choice) and abs(choice) > _LARGEST:
            raise InputError(f"{where}: expected numbers up to {_LARGEST}, got {str(choice)[:40]}")
        # JSON has no infinities and no nan, and nan differs from itself.
        infinite = isinstance(choice, float) and not math.isfinite(choice)
        if infinite or not isinstance(choice, str | int | float | bool):
            raise InputError(
                f"{where}: expected choices of text, numbers or true/false, got {choice!r}"
            )
    if len({(type(c), c) for c in choices}) != len(choices):
        raise InputError(f"{where}: expected each choice once, got {list(choices)}")
    return tuple(choices)
