"""Tables of ``evonas evaluate``: errors in the form of the literature, ranges, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.report.published_results import Row
from evonas.report.tables import Table, in_unit, marked, with_spread

#: Order and heads of head pose columns as in Ruiz et al. (2018) and later papers.
_POSE = {
    "mae_yaw": "yaw",
    "mae_pitch": "pitch",
    "mae_roll": "roll",
    "mae": "MAE",
    "geodesic": "geodesic",
}
#: Suffix of the title of a flip test.
FLIPPED = ", FLIP TEST"
_RANGE = "|"  # in the name of a metric on part of the images: mae|yaw 0-30
_COUNT = "n"


def main(results: Sequence[Any], metrics: Sequence[str], unit: str, notes: Sequence[str]) -> Table:
    """Return the main errors and the cost of each network on one test set.

    Args:
        results: of ``evonas.workflows.evaluation``, all on the same test set.
        metrics: names of the main errors.
        unit: of the errors.
        notes: lines below the table: the protocol, warnings.
    """
    first = results[0]
    order = _ordered(metrics)
    count = max(len(result.repeats) for result in results)
    title = f"{first.test_set} ({first.images}): {in_unit('errors', unit)}"
    title += f", mean ± sd of {count} trainings" if count > 1 else ""
    title += FLIPPED if first.flip else ""
    rows = [
        [
            marked(result.network, result.over_limit),
            result.tap,
            *(_cell(result, name) for name in order),
            *_costs(result),
        ]
        for result in results
    ]
    heads = [_POSE.get(name, name) for name in order]
    below = [*notes, _COST_NOTE]
    return Table(title, ["network", "tap", *heads, *_COST_HEADS], rows, below).distinct()


def more(results: Sequence[Any], metrics: Sequence[str]) -> list[Table]:
    """Return tables of the other metrics and of all errors by range of the label."""
    first: Mapping[str, float] = results[0].repeats[0]
    others = [name for name in first if name not in metrics and _RANGE not in name]
    tables = []
    if others:
        rows = [
            [result.network, result.tap, *(_cell(result, name) for name in others)]
            for result in results
        ]
        tables.append(Table("Further errors", ["network", "tap", *others], rows))
    ranges = list(dict.fromkeys(name.split(_RANGE)[1] for name in first if _RANGE in name))
    names = list(dict.fromkeys(name.split(_RANGE)[0] for name in first if _RANGE in name))
    if ranges:
        names.remove(_COUNT)
        rows = [
            [
                f"{result.network} on {result.tap}",
                part,
                f"{result.mean(_COUNT + _RANGE + part):.0f}",
                *(_cell(result, f"{name}{_RANGE}{part}") for name in names),
            ]
            for result in results
            for part in ranges
        ]
        tables.append(
            Table(
                "By range of the true label, sign left out", ["network", "range", "n", *names], rows
            )
        )
    return [table.distinct() for table in tables]


def confusion(result: Any) -> Table | None:
    """Return the confusion matrix of a network; None if its task has none."""
    if result.matrix is None:
        return None
    names = [str(name) for name in result.matrix.names]
    rows = [
        [name, *(str(count) for count in counts)]
        for name, counts in zip(names, result.matrix.counts.tolist(), strict=True)
    ]
    title = f"{result.network} on {result.tap}: {result.matrix.title}"
    count = len(result.repeats)
    title += f", sum of {count} trainings" if count > 1 else ""
    return Table(title, ["", *names], rows, names=1)


def published(
    rows: Sequence[Row],
    train: str,
    images: int,
    flip: bool = False,
    folds: int = 0,
    fold_by: str = "",
) -> list[Table]:
    """Return published results, one table per protocol, which says whether ours is the same.

    Args:
        rows: on one test set.
        train: name of the training data set of our networks.
        images: number of images that our evaluation used.
        flip: whether our evaluation is a flip test.
        folds, fold_by: of our cross-validation, and of that of the rows.
    """
    tables = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        same = protocol.followed_by(train, images, flip, folds, fold_by)
        title = "Published, NOT comparable with the above"
        if same or folds:
            title = "Published, same protocol" if same else "Published, same kind of folds"
        notes = [f"published: {protocol.text}"]
        if not same:
            above = f"above: trained on {train}, tested on {images} images"
            above = f"above: {folds} folds by {fold_by}, {images} images" if folds else above
            notes.append(f"{above}, with a flip test" if flip else above)
        own = [row for row in rows if row.protocol == protocol]
        body = [[row.method, *row.cells, row.remarks] for row in own]
        heads = ["method", *own[0].heads, "source and remarks"]
        tables.append(Table(title, heads, body, notes, names=1))
    return tables


_COST_HEADS = ("MB head", "MB total", "M MACs head", "M MACs total")
_COST_NOTE = "total: with the backbone up to the tap; MB decimal, 32-bit floats; 1 MAC = 2 FLOPs"


def _costs(result: Any) -> list[str]:
    head, upto = result.head, result.upto
    return [
        f"{head['megabytes']:.2f}",
        f"{head['megabytes'] + upto['megabytes']:.2f}",
        f"{head['macs'] / 1e6:.2f}",
        f"{(head['macs'] + upto['macs']) / 1e6:.2f}",
    ]


def _ordered(metrics: Sequence[str]) -> list[str]:
    """Return metric names, head pose first in the order of the literature."""
    return [m for m in _POSE if m in metrics] + [m for m in metrics if m not in _POSE]


def _cell(result: Any, name: str) -> str:
    if any(name not in one for one in result.repeats):
        return "-"
    return with_spread(result.mean(name), result.spread(name) or None, ".2f")
