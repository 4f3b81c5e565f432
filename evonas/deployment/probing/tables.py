"""Tables of a probe: errors of all taps, knees of their curves, relations between tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evonas.deployment.probing.characteristic_curves import POINTS
from evonas.deployment.probing.linear_probe import Primary, Probed, rank
from evonas.report.tables import Table


def errors(primary: Primary, labels: Sequence[str], folds: int, notes: Sequence[str] = ()) -> Table:
    """Return the judged errors of all taps, from input to output, and the constant's below.

    Args:
        primary: the backbone that was probed.
        labels: in the order of the columns.
        folds: that were held out.
        notes: lines to stand below.
    """
    places = {tap: (number, share) for number, (tap, share) in enumerate(rank(primary.found), 1)}
    by_label = {label: {one.tap: one for one in primary.of(label)} for label in labels}
    sides = {label: next(iter(own.values())).judged[0] for label, own in by_label.items()}
    usual = max(sides.values(), key=list(sides.values()).count)
    rows = []
    for tap in primary.taps:
        number, share = places[tap]
        cells = [_cell(by_label[label][tap]) for label in labels]
        rows.append([tap, str(number), f"{100 * share:.1f}", *cells])
    constants = [_cell(primary.of(label)[0], constant=True) for label in labels]
    rows.append(["constant", "-", "100.0", *constants])
    heads = [label if sides[label] == usual else f"{label}, {sides[label]}" for label in labels]
    quantities = any(not one.classes for one in primary.found)
    said = ["RMSE (mean absolute error) in the label's unit"] if quantities else []
    if any(one.classes for one in primary.found):
        said.append("percentage of wrong classes")
    rule = (
        f"held out: error in {folds} folds of the training images, percent of the constant's, mean "
        f"over the labels; it alone ranks the taps"
    )
    title = f"{primary.name}: errors of linear models, {usual} images"
    found = ["; ".join(said), rule, *_notes(primary, labels), *notes]
    return Table(title, ["tap", "rank", "held out", *heads], rows, found, names=1)


def classes_note(primaries: Sequence[Primary], classes: str) -> list[str]:
    """Return a line on how classes were fitted, where there are any.

    Args:
        primaries: the backbones that were probed.
        classes: ``logistic`` or ``least_squares``.
    """
    if not any(one.classes for primary in primaries for one in primary.found):
        return []
    if classes == "logistic":
        return [
            "classes: fitted by logistic regression, where John et al. (2019) regress; "
            "probe.classes=least_squares regresses their indicators"
        ]
    return [
        "classes: least squares on their indicators, the largest names the class; John et al. "
        "(2019) choose a threshold or put a quantity into bins"
    ]


def knees(found: Sequence[Probed], thresholds: Sequence[float], folds: int, title: str) -> Table:
    """Return how many filters each knee keeps, and the held-out RMSE with them.

    Args:
        found: a row each.
        thresholds: of the knees.
        folds: that were held out.
        title: of the table.
    """
    rows = [[one.target, one.tap, *(_knee(one, value) for value in thresholds)] for one in found]
    heads = ["label", "tap", *(f"t = {value:g}" for value in thresholds)]
    notes = [
        "filters that the lasso keeps, and the held-out RMSE; t: share of the curve's range that "
        "the RMSE may be above its lowest"
    ]
    if any(one.classes for one in found):
        notes.append("of classes: RMSE of their indicators, 0 or 1")
    short = sum(one.curve.unconverged for one in found)
    if short:
        fits = POINTS * (folds + 1) * len(found)
        notes.append(f"{short} of {fits} fits stopped short of their precision")
    return Table(title, heads, rows, notes)


def relations(primaries: Sequence[Primary], labels: Sequence[str]) -> Table:
    """Return the matrix of primary tasks (rows) and labels (columns)."""
    rows = []
    for primary in primaries:
        best = [primary.best(label) for label in labels]
        rows.append([primary.name, *(f"{100 * share(one):.1f}, {one.tap}" for one in best)])
    notes = [
        "error of the best tap (chosen on held-out training images) in percent of the constant's "
        "on the images that judge: 100 is no better than not to look at the image"
    ]
    return Table("What each backbone tells of each label", ["backbone", *labels], rows, notes, 1)


def share(one: Probed) -> float:
    """Return the judged error as a share of the constant's; nan where the constant makes none."""
    return one.judged[1].relative


def _cell(one: Probed, constant: bool = False) -> str:
    """Return an error, or the constant's, with as many decimals as the constant's needs."""
    score = one.judged[1]
    error, mae = (score.constant, score.constant_mae) if constant else (score.error, score.mae)
    if one.classes:
        return f"{error:.1f} %"
    digits = _decimals(score.constant)
    return f"{error:.{digits}f} ({mae:.{digits}f})"


def _decimals(scale: float) -> int:
    """Return how many decimals show three digits of a number of this size."""
    return max(0, 2 - math.floor(math.log10(scale))) if scale > 0 else 1


def _knee(one: Probed, threshold: float) -> str:
    at = one.curve.knee(threshold)
    error = f"{one.curve.errors[at]:.{_decimals(one.curve.errors[0])}f}"
    return f"{one.curve.filters[at]} of {one.curve.chosen.shape[1]}, {error}"


def _notes(primary: Primary, labels: Sequence[str]) -> list[str]:
    """Return what is to be said of some results, each sentence once, with whom it is about."""
    about: dict[tuple[str, str], list[str]] = {}
    for label in labels:
        for one in primary.of(label):
            for note in one.notes:
                about.setdefault((label, note), []).append(one.tap)
    count = len(primary.taps)
    return [
        f"{label}{'' if len(taps) == count else f', {len(taps)} of {count} taps'}: {note}"
        for (label, note), taps in about.items()
    ]
