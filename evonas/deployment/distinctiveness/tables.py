"""Tables of distinctiveness: pairs of units beside chance, errors without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evonas.report.tables import Table

_HEADS = ("network", "tap", "layer")
_BY = ("", ", random", ", shuffled")


def tables(removals: Sequence[Any], unit: str, notes: Sequence[str]) -> list[Table]:
    """Return what was found, and what its removal does.

    Args:
        removals: of ``evonas.deployment.distinctiveness.study``; those that differ in the file of
            weights alone are trainings of one network, and share a row.
        unit: of the task's metrics.
        notes: lines below the first table.
    """
    groups: dict[tuple[str, ...], list[Any]] = {}
    for one in removals:
        groups.setdefault((*_names(one), one.vectors, one.merge), []).append(one)
    repeats = max(len(group) for group in groups.values())
    over = f", mean ± sd of {repeats} trainings" if repeats > 1 else ""
    metrics = list(removals[0].before)
    found, removed = [], []
    for key, group in groups.items():
        if key[-1] == removals[0].merge:  # counts do not depend on the merge
            found.append([*key[:-1], *_counts(group)])
        changes = [_change(group, metric) for metric in metrics]
        gone = [one.removed for one in group]
        by_chance = _pooled([one.shuffled.removed[one.merge] for one in group])
        sizes = [_told([one.params[k] / 1e3 for one in group], 2) for k in (0, 1)]
        removed.append([*key, _told(gone, 0), by_chance, " -> ".join(sizes), *changes])
    what = {_names(one)[2]: one.layer.note for one in removals}
    pairs = [f"{kind} pairs{by}" for kind in ("similar", "complementary") for by in _BY]
    return [
        Table(f"Pairs of units{over}", [*_HEADS, "vectors", *pairs, "zero units"], found, notes, 4),
        Table(
            f"Without these units, {unit or 'units of the label'}: before -> after{over}",
            [*_HEADS, "vectors", "merge", "removed", "shuffled", "k parameters", *metrics],
            removed,
            [f"{layer}: a removed unit takes away {note}" for layer, note in what.items()],
            5,
        ),
    ]


def _names(one: Any) -> tuple[str, str, str]:
    layer = one.layer
    return one.network, one.tap, f"{layer.name or 'network'} ({layer.units} -> {layer.outputs})"


def _counts(group: Sequence[Any]) -> list[str]:
    cells = []
    for kind in ("similar", "complementary"):
        cells.append(_told([getattr(one.related, f"{kind}_pairs") for one in group], 0))
        for model in ("random", "shuffled"):
            cells.append(_pooled([getattr(getattr(one, model), kind) for one in group]))
    return [*cells, _told([len(one.related.zero) for one in group], 0)]


def _change(group: Sequence[Any], metric: str) -> str:
    sides = (one.before for one in group), (one.after for one in group)
    return " -> ".join(_told([side[metric] for side in each], 2) for each in sides)


def _told(values: Sequence[float], digits: int) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ±{sd:.{digits}f}"


def _pooled(spreads: Sequence[Any]) -> str:
    """Return the mean over trainings, and the spread over the draws of one."""
    mean = sum(one.mean for one in spreads) / len(spreads)
    sd = math.sqrt(sum(one.sd**2 for one in spreads) / len(spreads))
    return f"{mean:.0f} ±{sd:.0f}"
