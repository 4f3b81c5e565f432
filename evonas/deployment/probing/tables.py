"""Results of a probe as tables (errors, knees, relations between tasks) and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evonas.core import recommended_taps
from evonas.core.compression_settings import ProbeSettings
from evonas.deployment.probing.characteristic_curves import POINTS, Curve
from evonas.deployment.probing.linear_models import Score
from evonas.deployment.probing.linear_probe import Primary, Probed, rank
from evonas.report.tables import Table


def errors(primary: Primary, labels: Sequence[str], folds: int, notes: Sequence[str] = ()) -> Table:
    """Return the table of the errors of all taps, from input to output, and of a constant.

    Args:
        primary: results of the backbone.
        labels: labels in the order of the columns.
        folds: number of folds of the training images.
        notes: further notes of the table.
    """
    ranks = {tap: (number, error) for number, (tap, error) in enumerate(rank(primary.found), 1)}
    by_label = {label: {probed.tap: probed for probed in primary.of(label)} for label in labels}
    sides = {label: next(iter(own.values())).judged[0] for label, own in by_label.items()}
    usual = max(sides.values(), key=list(sides.values()).count)
    rows = []
    for tap in primary.taps:
        number, error = ranks[tap]
        cells = [_cell(by_label[label][tap]) for label in labels]
        rows.append([tap, str(number), f"{100 * error:.1f}", *cells])
    constants = [_cell(primary.of(label)[0], constant=True) for label in labels]
    rows.append(["constant", "-", "100.0", *constants])
    heads = [label if sides[label] == usual else f"{label}, {sides[label]}" for label in labels]
    quantities = any(not probed.classes for probed in primary.found)
    units = ["RMSE (mean absolute error) in the label's unit"] if quantities else []
    if any(probed.classes for probed in primary.found):
        units.append("percentage of wrong classes")
    rule = (
        f"held out: error in {folds} folds of the training images, percent of the constant's, mean "
        f"over the labels; only this error ranks the taps"
    )
    title = f"{primary.name}: errors of linear models, {usual} images"
    below = ["; ".join(units), rule, *_notes(primary, labels), *notes]
    return Table(title, ["tap", "rank", "held out", *heads], rows, below, names=1)


def classes_note(primaries: Sequence[Primary], classes: str) -> list[str]:
    """Return a note on how classes were fitted, if a label has classes.

    Args:
        primaries: results of the backbones.
        classes: ``logistic`` or ``least_squares``.
    """
    if not any(probed.classes for primary in primaries for probed in primary.found):
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
    """Return the table of knees: the number of filters and the held-out RMSE at each threshold.

    Args:
        found: results of taps and labels, one for each row.
        thresholds: thresholds of the knees.
        folds: number of folds of the training images.
        title: title of the table.
    """
    rows = [
        [probed.target, probed.tap, *(_knee(probed, value) for value in thresholds)]
        for probed in found
    ]
    heads = ["label", "tap", *(f"t = {value:g}" for value in thresholds)]
    notes = [
        "filters that the lasso keeps, and the held-out RMSE; t: fraction of the curve's range by "
        "which the RMSE may exceed its minimum"
    ]
    if any(probed.classes for probed in found):
        notes.append("of classes: RMSE of their indicators, 0 or 1")
    short = sum(probed.curve.unconverged for probed in found)
    if short:
        fits = POINTS * (folds + 1) * len(found)
        notes.append(f"{short} of {fits} fits stopped short of their precision")
    return Table(title, heads, rows, notes)


def relations(primaries: Sequence[Primary], labels: Sequence[str]) -> Table:
    """Return the table of the best tap of each backbone (rows) for each label (columns)."""
    rows = []
    for primary in primaries:
        best = [primary.best(label) for label in labels]
        rows.append(
            [primary.name, *(f"{100 * share(probed):.1f}, {probed.tap}" for probed in best)]
        )
    notes = [
        "error of the best tap (chosen on held-out training images) on the evaluation images, in "
        "percent of the error of a constant"
    ]
    return Table("Best tap of each backbone for each label", ["backbone", *labels], rows, notes, 1)


def share(probed: Probed) -> float:
    """Return the evaluation error relative to a constant's; nan if the constant has no error."""
    return probed.judged[1].relative


def _cell(probed: Probed, constant: bool = False) -> str:
    """Return an error, or that of the constant, with three digits of the constant's error."""
    score = probed.judged[1]
    error, mae = (score.constant, score.constant_mae) if constant else (score.error, score.mae)
    if probed.classes:
        return f"{error:.1f} %"
    digits = _decimals(score.constant)
    return f"{error:.{digits}f} ({mae:.{digits}f})"


def _decimals(scale: float) -> int:
    """Return the number of decimals that show three significant digits of ``scale``."""
    return max(0, 2 - math.floor(math.log10(scale))) if scale > 0 else 1


def _knee(probed: Probed, threshold: float) -> str:
    at = probed.curve.knee(threshold)
    error = f"{probed.curve.errors[at]:.{_decimals(probed.curve.errors[0])}f}"
    return f"{probed.curve.filters[at]} of {probed.curve.chosen.shape[1]}, {error}"


def _notes(primary: Primary, labels: Sequence[str]) -> list[str]:
    """Return the notes of all results without repetitions, each with label and number of taps."""
    taps_of: dict[tuple[str, str], list[str]] = {}
    for label in labels:
        for probed in primary.of(label):
            for note in probed.notes:
                taps_of.setdefault((label, note), []).append(probed.tap)
    count = len(primary.taps)
    return [
        f"{label}{'' if len(taps) == count else f', {len(taps)} of {count} taps'}: {note}"
        for (label, note), taps in taps_of.items()
    ]


def content(
    primaries: Sequence[Primary], settings: ProbeSettings, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of probe.json: all results of a probe as plain data.

    Args:
        primaries: results of each backbone; the recommended taps are those of the first.
        settings: settings of the probe.
        facts: further entries, on the experiment and its data.
    """
    first = primaries[0]
    ranked = [tap for tap, _ in rank(first.found)]
    return {
        **recommended_taps.header(ranked, first.taps, settings.keep),
        **facts,
        "ranking": _ranking(first),
        "primaries": [
            {
                "name": primary.name,
                "backbone": primary.fingerprint,
                "taps": list(primary.taps),
                "ranking": _ranking(primary),
                "seconds_of_features": primary.seconds,
                "found": [_result(each, settings.thresholds) for each in primary.found],
            }
            for primary in primaries
        ],
    }


def _ranking(primary: Primary) -> list[dict[str, Any]]:
    return [{"tap": tap, "held_out": share} for tap, share in rank(primary.found)]


def _result(probed: Probed, thresholds: Sequence[float]) -> dict[str, Any]:
    return {
        "tap": probed.tap,
        "label": probed.target,
        "classes": probed.classes,
        "judged": probed.judged[0],
        "held_out": _score_facts(probed.held_out),
        "validation": _score_facts(probed.validation),
        "test": _score_facts(probed.test),
        "knees": [_knee_facts(probed.curve, threshold) for threshold in thresholds],
        "curve": {
            "lambdas": [_rounded(value) for value in probed.curve.lambdas.tolist()],
            "filters": probed.curve.filters.tolist(),
            "errors": [_rounded(value) for value in probed.curve.errors.tolist()],
            "constant": list(probed.curve.constant),
            "unconverged": probed.curve.unconverged,
        },
        "notes": probed.notes,
        "seconds": probed.seconds,
    }


def _knee_facts(curve: Curve, threshold: float) -> dict[str, Any]:
    at = curve.knee(threshold)
    filters = int(curve.filters[at])
    return {
        "threshold": threshold,
        "filters": filters,
        "share": filters / curve.chosen.shape[1],
        "error": _rounded(float(curve.errors[at])),
    }


def _score_facts(score: Score | None) -> dict[str, Any] | None:
    """Return a score as plain data, with None in place of nan, which JSON lacks."""
    if score is None:
        return None
    numbers = asdict(score) | {"relative": score.relative}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in numbers.items()
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
