"""Tables and figure of a pruning: kept filters, cost and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.deployment.pruning.reduction import COLUMNS
from evonas.report.tables import Table, in_unit

_STAGES = {
    "whole": "retrained, not pruned",
    "cut": "pruned, not trained",
    "pruned": "pruned and trained",
}


def maps(choices: Sequence[Any], threshold: float, shared: str, fixed: Sequence[Any]) -> Table:
    """Return the table of maps: their filters, those that labels need, and those kept.

    Args:
        choices: ``MapChoice`` of ``deployment.pruning.task_pruning`` for each map.
        threshold: threshold of the knee.
        shared: ``union`` or ``last``, which maps decide on shared filters.
        fixed: (node, reason) of nodes whose input channels are all kept.
    """
    labels = list(choices[0].asked) if choices else []
    rows = []
    for choice in choices:
        masks = [*choice.asked.values(), *([choice.any] if len(labels) > 1 else []), choice.kept]
        rows.append([choice.map, str(len(choice.kept)), *(str(int(m.sum())) for m in masks)])
    notes = [f"{choice.map}: {note}" for choice in choices for note in choice.notes]
    notes += [f"all input channels of {step} are kept: {why}" for step, why in fixed]
    rule = {"union": "if one of its maps needs it", "last": "if the last of its maps needs it"}
    notes.append(f"a filter that is added to others is kept {rule[shared]}")
    heads = ["map", "filters", *labels, *(["any label"] if len(labels) > 1 else []), "kept"]
    title = f"Filters at the knee, threshold {threshold:g}"
    return Table(title, heads, rows, notes, names=1)


def errors(
    metrics: Mapping[str, Mapping[str, float]],
    names: Sequence[str],
    unit: str,
    side: tuple[str, int],
    warnings: Sequence[str] = (),
) -> Table:
    """Return the table of errors before pruning, after pruning, and after training.

    Args:
        metrics: stage -> metric -> value.
        names: names of the metrics to show.
        unit: unit of the errors.
        side: (name of the split, number of images).
        warnings: notes of the table.
    """
    rows = [
        [_STAGES[stage], *(f"{values[name]:.2f}" for name in names)]
        for stage, values in metrics.items()
    ]
    title = in_unit(f"Errors on the {side[0]} split ({side[1]} images)", unit, ", ")
    return Table(title, ["network", *names], rows, warnings, names=1).distinct()


def costs(rows: Mapping[str, Any], notes: Sequence[str]) -> Table:
    """Return the table of multiply-adds, parameters and reductions of each network.

    Args:
        rows: name -> ``deployment.pruning.reduction.Reduction``.
        notes: further notes of the table.
    """
    units = "1 multiply-add = 2 FLOPs; MB are decimal, 32-bit floats"
    cells = [[name, *reduction.row()] for name, reduction in rows.items()]
    return Table("Cost", ["network", *COLUMNS], cells, [units, *notes], names=1)


def draw(choices: Sequence[Any], threshold: float, path: Path) -> None:
    """Save a bar chart of the kept filters of every map, from input to output."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.26 * len(choices) + 1.2), layout="constrained")
    axes = figure.subplots()
    rows, totals = range(len(choices)), [len(choice.kept) for choice in choices]
    axes.barh(rows, totals, color="#d8dde3", label="filters")
    kept = [int(choice.kept.sum()) for choice in choices]
    needed = [int(choice.any.sum()) for choice in choices]
    axes.barh(rows, kept, color="#4a7fb5", label="kept")
    axes.plot(needed, rows, "|", color="#c0392b", markersize=9, label="needed at the knee")
    for row, total, count in zip(rows, totals, kept, strict=True):
        text = f"{count} of {total}"
        axes.annotate(
            text, (total, row), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.set_yticks(rows, [choice.map for choice in choices], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(totals))
    axes.set_xlabel("filters")
    axes.set_title(f"Kept filters of each map, input on top (threshold {threshold:g})", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=7, loc="upper right", frameon=False)
    figure.savefig(path, dpi=130)
