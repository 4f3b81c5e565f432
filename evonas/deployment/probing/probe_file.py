"""What probe.json holds: all that a probe found, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evonas.core import recommended_taps as recommended
from evonas.core.compression_settings import ProbeSettings
from evonas.deployment.probing.characteristic_curves import Curve
from evonas.deployment.probing.linear_models import Score
from evonas.deployment.probing.linear_probe import Primary, Probed, rank


def content(
    primaries: Sequence[Primary], settings: ProbeSettings, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return plain data; the first backbone, the experiment's own, gives the recommended taps.

    Args:
        primaries: one a backbone.
        settings: of the probe.
        facts: of the experiment and its data, to stand beside.
    """
    own = primaries[0]
    ranked = [tap for tap, _ in rank(own.found)]
    return {
        **recommended.header(ranked, own.taps, settings.keep),
        **facts,
        "ranking": _ranking(own),
        "primaries": [
            {
                "name": one.name,
                "backbone": one.fingerprint,
                "taps": list(one.taps),
                "ranking": _ranking(one),
                "seconds_of_features": one.seconds,
                "found": [_found(each, settings.thresholds) for each in one.found],
            }
            for one in primaries
        ],
    }


def _ranking(primary: Primary) -> list[dict[str, Any]]:
    return [{"tap": tap, "held_out": share} for tap, share in rank(primary.found)]


def _found(one: Probed, thresholds: Sequence[float]) -> dict[str, Any]:
    return {
        "tap": one.tap,
        "label": one.target,
        "classes": one.classes,
        "judged": one.judged[0],
        "held_out": _score(one.held_out),
        "validation": _score(one.validation),
        "test": _score(one.test),
        "knees": [_knee(one.curve, threshold) for threshold in thresholds],
        "curve": {
            "lambdas": [_short(value) for value in one.curve.lambdas.tolist()],
            "filters": one.curve.filters.tolist(),
            "errors": [_short(value) for value in one.curve.errors.tolist()],
            "constant": list(one.curve.constant),
            "unconverged": one.curve.unconverged,
        },
        "notes": one.notes,
        "seconds": one.seconds,
    }


def _knee(curve: Curve, threshold: float) -> dict[str, Any]:
    at = curve.knee(threshold)
    filters, of = int(curve.filters[at]), curve.chosen.shape[1]
    error = _short(float(curve.errors[at]))
    return {
        "threshold": threshold,
        "filters": filters,
        "share": filters / of,
        "error": error,
    }


def _score(score: Score | None) -> dict[str, Any] | None:
    """Return a score; JSON has no nan."""
    if score is None:
        return None
    numbers = asdict(score) | {"relative": score.relative}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in numbers.items()
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
