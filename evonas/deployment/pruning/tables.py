"""Tables and picture of a pruning: what stays of every map, what it costs, what it errs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.deployment.pruning.reduction import COLUMNS
from evonas.report.tables import Table

_STAGES = {
    "whole": "whole, as retrained",
    "cut": "pruned, untrained",
    "pruned": "pruned, trained on",
}


def maps(choices: Sequence[Any], threshold: float, shared: str, fixed: Sequence[Any]) -> Table:
    """Return what each map had, what the labels ask of it, and what stays.

    Args:
        choices: of ``evonas.deployment.pruning.task_pruning``, one a map.
        threshold: of the knee.
        shared: how maps that share filters decide.
        fixed: (step, why) of steps that keep all that they take.
    """
    labels = list(choices[0].asked) if choices else []
    rows = []
    for one in choices:
        counts = [*one.asked.values(), *([one.any] if len(labels) > 1 else []), one.kept]
        rows.append([one.map, str(len(one.kept)), *(str(int(mask.sum())) for mask in counts)])
    notes = [f"{one.map}: {note}" for one in choices for note in one.notes]
    notes += [f"all channels that {step} takes stay: {why}" for step, why in fixed]
    rule = {
        "union": "if one of the maps that see it asks for it",
        "last": "if the last of them does",
    }
    notes.append(f"a filter that is added to others stays {rule[shared]}")
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
    """Return the errors of each stage on the images that judge.

    Args:
        metrics: stage -> metric -> value.
        names: of the metrics to show.
        unit: of the errors.
        side: the split, and how many images it has.
        warnings: lines that have to stand below the table.
    """
    rows = [
        [_STAGES[stage], *(f"{values[name]:.2f}" for name in names)]
        for stage, values in metrics.items()
    ]
    title = f"Errors on the {side[0]} split ({side[1]} images), {unit or 'units of the label'}"
    return Table(title, ["network", *names], rows, warnings, names=1)


def costs(rows: Mapping[str, Any], notes: Sequence[str]) -> Table:
    """Return multiply-adds and parameters of each network, and how much less that is.

    Args:
        rows: name -> ``transfer.reduction.Reduction``.
        notes: lines to stand below.
    """
    said = ["1 multiply-add = 2 FLOPs; MB are decimal, 32-bit floats", *notes]
    cells = [[name, *one.row()] for name, one in rows.items()]
    return Table("Cost", ["network", *COLUMNS], cells, said, names=1)


def draw(choices: Sequence[Any], threshold: float, path: Path) -> None:
    """Draw how many filters of every map stay, from input to output."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.26 * len(choices) + 1.2), layout="constrained")
    axes = figure.subplots()
    places, totals = range(len(choices)), [len(one.kept) for one in choices]
    axes.barh(places, totals, color="#d8dde3", label="filters")
    kept = [int(one.kept.sum()) for one in choices]
    asked = [int(one.any.sum()) for one in choices]
    axes.barh(places, kept, color="#4a7fb5", label="kept")
    axes.plot(asked, places, "|", color="#c0392b", markersize=9, label="asked for at the knee")
    for place, total, left in zip(places, totals, kept, strict=True):
        text = f"{left} of {total}"
        axes.annotate(
            text, (total, place), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.set_yticks(places, [one.map for one in choices], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(totals))
    axes.set_xlabel("filters")
    axes.set_title(f"What is kept of each map, input on top (threshold {threshold:g})", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=7, loc="upper right", frameon=False)
    figure.savefig(path, dpi=130)
