"""Constructors of genes, one for each kind: the genes of a search space as Python writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.space.gene import Gene, Value

#: WarmStart gene -> the value, or the values, at which a gene counts.
When = Mapping[str, Value | Sequence[Value]]


def Choice(  # noqa: N802
    name: str,
    choices: Sequence[Value],
    *,
    when: When | None = None,
    mutable: Sequence[Value] | None = None,
) -> Gene:
    """Return a gene whose values have no order, such as kinds of blocks.

    Args:
        name: of the setting that the gene decides.
        choices: its values, each once: text, numbers or true/false.
        when: the gene counts only where these earlier genes have these values.
        mutable: the values that a mutation may give it; None: all.

    Raises:
        InputError: there is no choice, one stands twice or is of another kind.

    Examples:
        >>> Choice("block", ["conv", "ghost"]).decode(0.9)
        'ghost'
    """
    return _gene("choice", name, choices=choices, when=when, mutable=mutable)


def Ordinal(  # noqa: N802
    name: str,
    choices: Sequence[Value],
    *,
    when: When | None = None,
    step: int | None = None,
    mutable: Sequence[Value] | None = None,
) -> Gene:
    """Return a gene with listed values in an order, such as widths.

    Args:
        name: of the setting that the gene decides.
        choices: its values in their order, each once.
        when: the gene counts only where these earlier genes have these values.
        step: how many places up or down a mutation may move it; None: to any.
        mutable: the values that a mutation may give it; None: all.

    Raises:
        InputError: there is no choice, one stands twice or is of another kind, or ``step`` is no
            whole number of at least 1.

    Examples:
        >>> Ordinal("width", [8, 16, 32]).decode(0.5)
        16
    """
    return _gene("ordinal", name, choices=choices, when=when, step=step, mutable=mutable)


def Integer(  # noqa: N802
    name: str,
    low: int,
    high: int,
    *,
    when: When | None = None,
    step: int | None = None,
    mutable: Sequence[Value] | None = None,
) -> Gene:
    """Return a gene of whole numbers from ``low`` to ``high``, both included.

    Args:
        name: of the setting that the gene decides.
        low, high: the least and the largest value.
        when: the gene counts only where these earlier genes have these values.
        step: by how much a mutation may change it; None: to any value.
        mutable: the values that a mutation may give it; None: all.

    Raises:
        InputError: the range is empty, holds more than 100,000 values, or is not of whole numbers.

    Examples:
        >>> Integer("depth", 1, 4).decode(1.0)
        4
    """
    return _gene("integer", name, low=low, high=high, when=when, step=step, mutable=mutable)


def LogFloat(  # noqa: N802
    name: str, low: float, high: float, *, when: When | None = None
) -> Gene:
    """Return a gene of numbers, uniform in their logarithm, such as learning rates.

    Values are rounded to three significant digits, so that equal settings are recognised.

    Args:
        name: of the setting that the gene decides.
        low, high: the range, both above 0.
        when: the gene counts only where these earlier genes have these values.

    Raises:
        InputError: the range is empty, or reaches 0.

    Examples:
        >>> LogFloat("rate", 1e-4, 1e-2).decode(0.5)
        0.001
    """
    return _gene("log_float", name, low=low, high=high, when=when)


def _gene(kind: str, name: str, *, when: When | None, **given: Any) -> Gene:
    spec = {"name": name, "kind": kind} | {k: v for k, v in given.items() if v is not None}
    for key in ("choices", "mutable"):
        if isinstance(spec.get(key), Sequence) and not isinstance(spec[key], str):
            spec[key] = list(spec[key])
    if when is not None:
        several = isinstance(when, Mapping)
        spec["when"] = (
            {o: list(v) if isinstance(v, tuple) else v for o, v in when.items()}
            if (several)
            else when
        )
    return Gene.from_dict(spec, "search space")
