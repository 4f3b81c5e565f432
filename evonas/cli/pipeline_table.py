"""The table of a pipeline: what each step left of cost, size and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.errors import InputError, one_line
from evonas.report.tables import Table


def stages(
    pruned: Mapping[str, Any], quantized: Mapping[str, Any], names: Sequence[str], unit: str
) -> Table:
    """Return cost and errors after the search, after pruning and in 8 bits.

    Args:
        pruned: the content of prune.json.
        quantized: the content of quantize.json.
        names: of the main metrics.
        unit: of the errors.

    Raises:
        InputError: a file is not as evonas writes it.
    """
    try:
        return _table(pruned, quantized, names, unit)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"prune.json, quantize.json: expected what `evonas prune` and `quantize` write, got "
            f"other data ({one_line(error)}): remove both and do the steps again"
        ) from error


def _table(
    pruned: Mapping[str, Any], quantized: Mapping[str, Any], names: Sequence[str], unit: str
) -> Table:
    cost, errors = pruned["cost"], pruned["metrics"]
    before, after = cost["up to the tap, with head"], cost["pruned, with head"]
    rows = [
        _row("searched head on whole backbone", before, errors["whole"], names),
        _row("pruned and trained on", after, errors["pruned"], names),
        _row("in 8 bits", after, quantized["after"], names, quantized["bytes"]["after"]),
    ]
    judged = pruned["judged"]
    less = after["less_in_percent"]
    whole = less.get("macs_of_whole"), less.get("params_of_whole")
    notes = [f"head and backbone up to its tap, {pruned['tap']}"]
    if None not in whole:
        notes.append(
            f"against the whole backbone: {whole[0]:.1f} % fewer multiply-adds, {whole[1]:.1f} % "
            "fewer parameters"
        )
    title = (
        f"What is left: errors in {unit or 'units of the label'} on the {judged['side']} split "
        f"({judged['images']} images)"
    )
    return Table(title, ["network", "M MACs", "M params", "MB", *names], rows, notes, names=1)


def _row(
    name: str,
    cost: Mapping[str, Any],
    errors: Mapping[str, float],
    names: Sequence[str],
    size: int | None = None,
) -> list[str]:
    size = 4 * cost["params"] if size is None else size
    figures = [f"{cost['macs'] / 1e6:.1f}", f"{cost['params'] / 1e6:.3f}", f"{size / 1e6:.2f}"]
    return [name, *figures, *(f"{errors[one]:.2f}" for one in names)]
