"""Tables of distinctiveness: pairs of units compared with chance, and errors without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evonas.report.tables import Table, in_unit

_HEADS = ("network", "tap", "layer")
_BY = ("", ", random", ", shuffled")


def tables(removals: Sequence[Any], unit: str, notes: Sequence[str]) -> list[Table]:
    """Return the table of related units, and the table of errors after their removal.

    Args:
        removals: ``Removal`` of ``deployment.distinctiveness.study``; removals that differ only
            in the file of weights are trainings of one network, and share a row.
        unit: unit of the task's metrics.
        notes: notes of the first table.
    """
    groups: dict[tuple[str, ...], list[Any]] = {}
    for removal in removals:
        names = (*_names(removal), removal.vectors, removal.merge)
        groups.setdefault(names, []).append(removal)
    repeats = max(len(group) for group in groups.values())
    over = f", mean ± sd of {repeats} trainings" if repeats > 1 else ""
    metrics = list(removals[0].before)
    pair_rows, error_rows = [], []
    for key, group in groups.items():
        if key[-1] == removals[0].merge:  # counts do not depend on the merge
            pair_rows.append([*key[:-1], *_counts(group)])
        changes = [_change(group, metric) for metric in metrics]
        removed = _mean_sd([removal.removed for removal in group], 0)
        by_chance = _pooled([removal.shuffled.removed[removal.merge] for removal in group])
        sizes = [_mean_sd([removal.params[k] / 1e3 for removal in group], 2) for k in (0, 1)]
        error_rows.append([*key, removed, by_chance, " -> ".join(sizes), *changes])
    layers = {_names(removal)[2]: removal.layer.note for removal in removals}
    pairs = [f"{kind} pairs{by}" for kind in ("similar", "complementary") for by in _BY]
    heads = [*_HEADS, "vectors", *pairs, "zero units"]
    return [
        Table(f"Pairs of units{over}", heads, pair_rows, notes, 4),
        Table(
            f"{in_unit('Without these units', unit, ', ')}: before -> after{over}",
            [*_HEADS, "vectors", "merge", "removed", "shuffled", "k parameters", *metrics],
            error_rows,
            [f"{layer}: removing a unit removes {note}" for layer, note in layers.items()],
            5,
        ),
    ]


def _names(removal: Any) -> tuple[str, str, str]:
    layer = removal.layer
    name = f"{layer.name or 'network'} ({layer.units} -> {layer.outputs})"
    return removal.network, removal.tap, name


def _counts(group: Sequence[Any]) -> list[str]:
    cells = []
    for kind in ("similar", "complementary"):
        cells.append(_mean_sd([getattr(removal.related, f"{kind}_pairs") for removal in group], 0))
        for model in ("random", "shuffled"):
            cells.append(_pooled([getattr(getattr(removal, model), kind) for removal in group]))
    return [*cells, _mean_sd([len(removal.related.zero) for removal in group], 0)]


def _change(group: Sequence[Any], metric: str) -> str:
    before = _mean_sd([removal.before[metric] for removal in group], 2)
    return f"{before} -> {_mean_sd([removal.after[metric] for removal in group], 2)}"


def _mean_sd(values: Sequence[float], digits: int) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ±{sd:.{digits}f}"


def _pooled(spreads: Sequence[Any]) -> str:
    """Return the mean over trainings, and the pooled standard deviation of the draws."""
    mean = sum(spread.mean for spread in spreads) / len(spreads)
    sd = math.sqrt(sum(spread.sd**2 for spread in spreads) / len(spreads))
    return f"{mean:.0f} ±{sd:.0f}"
