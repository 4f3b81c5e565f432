"""Recorded quality of shipped experiments, the bounds that follow, and the comparison with them.

A record holds what several searches gave, each with another seed. Their mean and sample standard
deviation give the bound: a new mean of n searches may be worse than the recorded mean of m searches
by ``MARGIN`` standard deviations of the difference of both means, ``sd * sqrt(1/n + 1/m)``. Where
the experiment itself has a hard limit, as on multiply-adds, no bound lies beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict

from evonas.errors import InputError
from evonas.files import checked, read_json
from evonas.report.tables import Table

FORMAT = 1
#: Standard deviations beyond which a result misses its bound, or is worth a note.
MARGIN, NOTEWORTHY = 3.0, 2.0

Results = Mapping[int, Mapping[str, float]]  # search seed -> measure -> value


@dataclass(frozen=True)
class Measure:
    """One figure of a retrained winner that is held against a bound."""

    name: str
    words: str
    unit: str
    higher_is_better: bool = False
    digits: int = 2

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:,.{self.digits}f} {self.unit}"


MEASURES = (
    Measure("error", "test error of the retrained winner", "degrees"),
    Measure("hand_made", "test error of the hand-made network", "degrees"),
    Measure("lead", "lead of the winner over the hand-made network", "degrees", True),
    Measure("macs", "cost of the winner's head", "multiply-adds", digits=0),
    Measure("failed", "failed trainings of the search", "trainings", digits=1),
)


@dataclass(frozen=True)
class Verdict:
    """A measure held against its record.

    Attributes:
        state: ``ok``, ``missed``, ``worse`` or ``better``; only ``missed`` is a failure.
        value: mean over the new searches.
        mean, sd: of the recorded searches.
        bound: that ``value`` must not miss.
    """

    measure: Measure
    state: str
    value: float
    mean: float
    sd: float
    bound: float

    def line(self) -> str:
        """Return what was expected and what came."""
        side = "at least" if self.measure.higher_is_better else "at most"
        text = self.measure.text
        return (
            f"{self.measure.words}: expected {side} {text(self.bound)}, got {text(self.value)} "
            f"(recorded {text(self.mean)}, sd {text(self.sd)})"
        )


class _Record(BaseModel):
    """What a comparison reads of a record."""

    model_config = ConfigDict(allow_inf_nan=False)

    data: str
    backbone: str
    repeats: int
    date: str
    machine: str
    winners: dict[int, dict[str, Any]]
    limits: dict[str, float]
    values: dict[int, dict[str, float]]
    bounds: dict[str, float]


class _File(BaseModel):
    format: int
    experiments: dict[str, _Record]


def compare(
    record: Results, results: Results, limits: Mapping[str, float] | None = None
) -> list[Verdict]:
    """Return a verdict on each measure.

    Args:
        record: of at least two searches.
        results: of at least one search.
        limits: measure -> hard limit, beyond which no bound lies.
    """
    found = bounds(record, len(results), limits)
    return [_verdict(measure, record, results, found[measure.name]) for measure in MEASURES]


def bounds(
    record: Results, searches: int = 1, limits: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the bound of each measure for the mean of so many new searches."""
    found = {}
    for measure in MEASURES:
        bound = _away(measure, _column(record, measure.name), searches, MARGIN)
        worst = max if measure.higher_is_better else min
        found[measure.name] = worst(bound, (limits or {}).get(measure.name, bound))
    return found


def table(name: str, verdicts: Sequence[Verdict]) -> Table:
    """Return the verdicts on an experiment for people."""
    rows = [
        [
            verdict.measure.words,
            f"{verdict.measure.text(verdict.mean)} ±{verdict.sd:,.{verdict.measure.digits}f}",
            ("≥ " if verdict.measure.higher_is_better else "≤ ")
            + verdict.measure.text(verdict.bound),
            verdict.measure.text(verdict.value),
            verdict.state,
        ]
        for verdict in verdicts
    ]
    return Table(f"Quality of {name}", ["measure", "recorded", "bound", "now", ""], rows, names=1)


def read(path: Path, name: str) -> dict[str, Any]:
    """Return the record of an experiment, ``values`` by seed as numbers.

    Raises:
        InputError: the file is missing or damaged, has no such record, or a bound in it does not
            follow from the recorded values.
    """
    content = checked(read_json(path), _File, str(path))
    again = "record it with --record"
    if content["format"] != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT}, got {content['format']!r}: {again}")
    if name not in content["experiments"]:
        raise InputError(f"{path}: expected a record of {name!r}, got none: {again}")
    record: dict[str, Any] = content["experiments"][name]
    record["values"] = values = {int(seed): one for seed, one in record["values"].items()}
    expected = {measure.name for measure in MEASURES}
    if len(values) < 2 or any(set(one) != expected for one in values.values()):
        raise InputError(
            f"{path}: {name}: expected {', '.join(sorted(expected))} of at least two seeds: {again}"
        )
    for measure, bound in bounds(values, 1, record["limits"]).items():
        if not math.isclose(record["bounds"].get(measure, math.nan), bound, abs_tol=1e-3):
            raise InputError(
                f"{path}: {name}: bound of {measure}: expected {bound:.6g}, which follows from the "
                f"values, got {record['bounds'].get(measure)}: {again}"
            )
    return record


def entry(
    results: Results, limits: Mapping[str, float], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a new record of an experiment.

    Args:
        results: of at least two searches.
        limits: measure -> hard limit, beyond which no bound lies.
        about: where they come from: command, date, machine and the like.
    """
    statistics = {}
    for measure in MEASURES:
        column = _column(results, measure.name)
        statistics[measure.name] = {"mean": round(fmean(column), 6), "sd": round(stdev(column), 6)}
    return {
        **about,
        "values": {str(seed): dict(one) for seed, one in results.items()},
        "spread": statistics,
        "limits": dict(limits),
        "bounds": {k: round(bound, 4) for k, bound in bounds(results, 1, limits).items()},
    }


def plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return the verdicts as data for JSON."""
    return [{**asdict(verdict), "measure": verdict.measure.name} for verdict in verdicts]


def _verdict(measure: Measure, record: Results, results: Results, bound: float) -> Verdict:
    column, searches = _column(record, measure.name), len(results)
    value = fmean(_column(results, measure.name))
    sign = -1 if measure.higher_is_better else 1
    state = "ok"
    # A value that is no number misses the bound: no comparison with it is true.
    if not sign * value <= sign * bound:
        state = "missed"
    elif sign * value > sign * _away(measure, column, searches, NOTEWORTHY):
        state = "worse"
    elif sign * value < sign * _away(measure, column, searches, -NOTEWORTHY):
        state = "better"
    return Verdict(measure, state, value, fmean(column), stdev(column), bound)


def _away(measure: Measure, column: Sequence[float], searches: int, margin: float) -> float:
    """Return the recorded mean plus so many standard deviations in the worse direction."""
    spread = stdev(column) * math.sqrt(1 / searches + 1 / len(column))
    return fmean(column) + (-margin if measure.higher_is_better else margin) * spread


def _column(results: Results, name: str) -> list[float]:
    return [one[name] for one in results.values()]
