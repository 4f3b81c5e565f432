"""Recorded quality of shipped experiments, the bounds that follow, and the comparison with them.

A record holds two samples: several retrainings of the shipped search's winner, with further seeds,
and several searches with other seeds. The same commands on the same kind of processor find the same
winner, so only the retrainings' spread is noise: the mean of n new ones may be worse than that of
the m recorded ones by ``MARGIN`` standard deviations of the difference of both means,
``sd * sqrt(1/n + 1/m)``. Other searches find other winners; their means are held against the spread
of the recorded searches in the same way, which counts as no less than that of the retrainings: two
or three searches may agree by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from evonas.core.files import read_json
from evonas.errors import InputError
from evonas.report.tables import Table
from evonas.runs.file_schemas import checked

FORMAT = 1
#: Standard deviations beyond which a result misses its bound, or is worth a note.
MARGIN, NOTEWORTHY = 3.0, 2.0

Values = Mapping[str, float]  # measure -> value


@dataclass(frozen=True)
class Measure:
    """One figure that is held against a bound.

    Attributes:
        searched: whether its value depends on which winner a search finds.
        trained: whether its value differs from one retraining to the next.
    """

    name: str
    words: str
    unit: str
    searched: bool = True
    trained: bool = True
    higher_is_better: bool = False
    digits: int = 2

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:,.{self.digits}f} {self.unit}"

    def worst(self, value: float, limit: float) -> float:
        """Return a bound that does not lie beyond a limit."""
        return max(value, limit) if self.higher_is_better else min(value, limit)


MEASURES = (
    Measure("error", "test error of the retrained winner", "degrees"),
    Measure("hand_made", "test error of the hand-made network", "degrees", searched=False),
    Measure("lead", "lead over the hand-made network", "degrees", higher_is_better=True),
    Measure("macs", "cost of the winner's head", "multiply-adds", trained=False, digits=0),
    Measure("failed", "failed trainings of the search", "trainings", trained=False, digits=1),
)


@dataclass(frozen=True)
class Sample:
    """Results of retrainings, or of searches.

    Attributes:
        trainings: of the networks of all searches, those measures that differ among them.
        searches: all measures, means over the trainings of a search.
    """

    trainings: Sequence[Values]
    searches: Sequence[Values]

    def column(self, measure: Measure, same_winner: bool) -> list[float]:
        """Return the values of a measure whose spread is noise."""
        by_training = measure.trained and (same_winner or not measure.searched)
        return [one[measure.name] for one in (self.trainings if by_training else self.searches)]


@dataclass(frozen=True)
class Verdict:
    """A measure held against its record.

    Attributes:
        state: ``ok``, ``missed``, ``worse`` or ``better``; only ``missed`` is a failure.
        value: the new mean.
        mean, sd: of the recorded values.
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
    repeats: int = Field(ge=1)
    date: str
    processor: str
    winner: dict[str, Any]
    limits: dict[str, float]
    trainings: list[dict[str, float]] = Field(min_length=2)
    searches: dict[int, dict[str, float]] = Field(min_length=2)
    bounds: dict[str, float]


class _File(BaseModel):
    format: int
    experiments: dict[str, _Record]


def compare(record: Sample, new: Sample, limits: Values, same_winner: bool = True) -> list[Verdict]:
    """Return a verdict on each measure.

    Args:
        record: at least two trainings and two searches.
        new: at least one of each.
        limits: measure -> hard limit, beyond which no bound lies.
        same_winner: whether, but for a change of evonas, the winner has to be the recorded one.
    """
    return [
        _verdict(
            measure,
            record.column(measure, same_winner),
            new.column(measure, same_winner),
            limits.get(measure.name),
            stdev([one[measure.name] for one in record.trainings]) if measure.trained else 0.0,
        )
        for measure in MEASURES
    ]


def table(name: str, verdicts: Sequence[Verdict]) -> Table:
    """Return the verdicts on an experiment for people."""
    rows = [
        [
            verdict.measure.words,
            verdict.measure.text(verdict.value),
            ("≥ " if verdict.measure.higher_is_better else "≤ ")
            + f"{verdict.bound:,.{verdict.measure.digits}f}",
            f"{verdict.mean:,.{verdict.measure.digits}f} ±{verdict.sd:,.{verdict.measure.digits}f}",
            verdict.state,
        ]
        for verdict in verdicts
    ]
    return Table(f"Quality of {name}", ["measure", "now", "bound", "recorded", ""], rows, names=1)


def read(path: Path, name: str) -> dict[str, Any]:
    """Return the record of an experiment.

    Raises:
        InputError: the file is missing or damaged, has no such record, or a bound in it does not
            follow from the recorded values.
    """
    again = "record it with --record"
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: expected format {FORMAT}, got {content.get('format')!r}: {again}"
        )
    checked(content, _File, path)
    record: dict[str, Any] = content["experiments"].get(name)
    if record is None:
        raise InputError(f"{path}: expected a record of {name!r}, got none: {again}")
    try:
        follow = bounds(record)
    except KeyError as missing:
        raise InputError(f"{path}: {name}: expected {missing} in every result: {again}") from None
    for measure, bound in follow.items():
        if not math.isclose(record["bounds"].get(measure, math.nan), bound, abs_tol=1e-3):
            raise InputError(
                f"{path}: {name}: bound of {measure}: expected {bound:.6g}, which follows from the "
                f"recorded values, got {record['bounds'].get(measure)}: {again}"
            )
    return record


def sample(record: Mapping[str, Any]) -> Sample:
    """Return what a record holds."""
    return Sample(record["trainings"], list(record["searches"].values()))


def bounds(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the bound of each measure for the shipped search and its usual retrainings."""
    known = sample(record)
    new = Sample(known.trainings[:1] * record["repeats"], known.searches[:1])
    return {one.measure.name: one.bound for one in compare(known, new, record["limits"])}


def plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return the verdicts as data for JSON."""
    return [{**asdict(verdict), "measure": verdict.measure.name} for verdict in verdicts]


def _verdict(
    measure: Measure, recorded: list[float], new: list[float], limit: float | None, least: float
) -> Verdict:
    mean, sd, value = fmean(recorded), max(stdev(recorded), least), fmean(new)
    sign = -1 if measure.higher_is_better else 1
    step = sign * sd * math.sqrt(1 / len(new) + 1 / len(recorded))
    bound = mean + MARGIN * step
    if limit is not None:
        bound = measure.worst(bound, limit)
    state = "ok"
    # A value that is no number misses the bound: no comparison with it is true.
    if not sign * value <= sign * bound:
        state = "missed"
    elif sign * value > sign * (mean + NOTEWORTHY * step):
        state = "worse"
    elif sign * value < sign * (mean - NOTEWORTHY * step):
        state = "better"
    return Verdict(measure, state, value, mean, sd, bound)
