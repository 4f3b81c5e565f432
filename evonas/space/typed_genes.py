"""Constructors of genes for search spaces defined in Python, one for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.space.gene import Gene, Value

#: Earlier gene -> the value, or the values, for which a gene is active.
When = Mapping[str, Value | Sequence[Value]]


def Choice(  # noqa: N802
    name: str,
    choices: Sequence[Value],
    *,
    when: When | None = None,
    mutable: Sequence[Value] | None = None,
) -> Gene:
    """Return a gene with unordered values, such as kinds of blocks.

    Args:
        name: name of the setting that the gene controls.
        choices: values, each once: text, numbers or true/false.
        when: the gene is active only if these earlier genes have these values.
        mutable: values that a mutation may choose; None: all.

    Raises:
        InputError: there are no choices, one occurs twice or is of another type.

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
    """Return a gene with a list of ordered values, such as widths.

    Args:
        name: name of the setting that the gene controls.
        choices: values in order, each once.
        when: the gene is active only if these earlier genes have these values.
        step: largest move of a mutation, in places of the list; None: any.
        mutable: values that a mutation may choose; None: all.

    Raises:
        InputError: there are no choices, one occurs twice or is of another type, or ``step`` is
            not a whole number of at least 1.

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
        name: name of the setting that the gene controls.
        low: least value.
        high: largest value.
        when: the gene is active only if these earlier genes have these values.
        step: largest change by a mutation; None: any.
        mutable: values that a mutation may choose; None: all.

    Raises:
        InputError: the range is empty, has more than 100,000 values, or its ends are not whole
            numbers.

    Examples:
        >>> Integer("depth", 1, 4).decode(1.0)
        4
    """
    return _gene("integer", name, low=low, high=high, when=when, step=step, mutable=mutable)


def LogFloat(  # noqa: N802
    name: str, low: float, high: float, *, when: When | None = None
) -> Gene:
    """Return a gene of numbers with a log-uniform scale, such as learning rates.

    Values are rounded to three significant digits, so that equal settings are recognised.

    Args:
        name: name of the setting that the gene controls.
        low: least value, above 0.
        high: largest value.
        when: the gene is active only if these earlier genes have these values.

    Raises:
        InputError: the range is empty or contains 0.

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
    if isinstance(when, Mapping):
        spec["when"] = {o: list(v) if isinstance(v, tuple) else v for o, v in when.items()}
    elif when is not None:
        spec["when"] = when  # refused by from_dict
    return Gene.from_dict(spec, "search space")
