"""Published results to compare with, each with its source and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evonas.core.files import read_yaml

_FILE = Path(__file__).with_name("published.yaml")
Figures = tuple[float | None, ...]


@dataclass(frozen=True)
class Protocol:
    """Evaluation protocol of published results.

    Attributes:
        train, test: names of the data sets.
        images: number of test images; None if papers differ or do not say.
        text: description in one sentence.
        flip: whether the results are known to be of flip tests.
        folds: of a cross-validation; 0: train and test sets are fixed.
        fold_by: what its folds consist of: ``group``, ``image`` or ``each-group``.
    """

    train: str
    test: str
    text: str
    images: int | None = None
    flip: bool = False
    folds: int = 0
    fold_by: str = ""

    def followed_by(
        self, train: str, images: int, flip: bool = False, folds: int = 0, fold_by: str = ""
    ) -> bool:
        """Return whether own results on the test set follow this protocol."""
        own = (train, images, flip, folds, fold_by)
        return own == (self.train, self.images, self.flip, self.folds, self.fold_by)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Base class of published results.

    Attributes:
        method: name in its paper.
        source: publication of the figures.
        note: deviations from the protocol.
    """

    heads: ClassVar[tuple[str, ...]]

    method: str
    protocol: Protocol
    source: str
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Figures as text, in the order of ``heads``."""
        raise NotImplementedError

    @property
    def place(self) -> float:
        """Sort key of rows, lowest first."""
        raise NotImplementedError

    @property
    def remarks(self) -> str:
        """Source and notes."""
        return "; ".join([self.source, *([self.note] if self.note else [])])


@dataclass(frozen=True, kw_only=True)
class PoseRow(Row):
    """A published head pose error.

    Attributes:
        errors: of yaw, pitch, roll and their mean, degrees; None if not published.
        geodesic: geodesic error in degrees, if published.
        megabytes: size of the weight file, if published.
    """

    heads = ("yaw", "pitch", "roll", "MAE", "geodesic", "MB")

    errors: Figures
    geodesic: float | None = None
    megabytes: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Errors, geodesic error, megabytes."""
        return tuple(map(_number, (*self.errors, self.geodesic, self.megabytes)))

    @property
    def place(self) -> float:
        """Mean error."""
        return self.errors[-1] or 0.0

    @property
    def remarks(self) -> str:
        """Source and notes, and a warning if the mean is not that of the three angles."""
        *three, mean = self.errors
        known = [error for error in three if error is not None]
        if mean is None or len(known) < 3 or abs(sum(known) / 3 - mean) <= 0.02:
            return super().remarks
        return f"{super().remarks}; the three angles give a mean of {sum(known) / 3:.2f}"


@dataclass(frozen=True, kw_only=True)
class PointsRow(Row):
    """A published precision of key points.

    Attributes:
        precision: COCO's AP, AP50, AP75, AP of medium and of large persons, and AR, percent;
            None where not printed.
        input: height x width of the crops, pixels.
        start: of the weights: ``random``, ``pretrained`` or ``inherited`` from a parent.
        mparams: millions of parameters, where printed.
        gflops: billions of floating point operations as printed.
    """

    heads = ("start", "input", "M params", "G FLOPs", "AP", "AP50", "AP75", "APM", "APL", "AR")

    precision: Figures
    input: str
    start: str
    mparams: float | None = None
    gflops: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Start, input, cost, precision."""
        figures = map(_number, (self.mparams, self.gflops, *self.precision))
        return (self.start, self.input, *figures)

    @property
    def place(self) -> float:
        """Negative AP."""
        return -(self.precision[0] or 0.0)


def rows(test: str, folds: int = 0, fold_by: str = "") -> list[Row]:
    """Return the published results on a test set, by protocol and the best first.

    Args:
        test: name of the test set.
        folds, fold_by: of the cross-validation that the results are of; by default none is.
    """
    content = read_yaml(_FILE)
    protocols = {name: Protocol(**fields) for name, fields in content["protocols"].items()}
    found = [
        _row({**fields, "protocol": protocols[fields["protocol"]]})
        for fields in content["rows"]
        if _setting(protocols[fields["protocol"]]) == (test, folds, fold_by)
    ]
    order = list(protocols.values())
    return sorted(found, key=lambda row: (order.index(row.protocol), row.place))


def unread(test: str) -> list[str]:
    """Return a line for each publication on a test set whose figures could not be read."""
    return [
        f"no figures of {one['method']} are known: {one['text']}"
        for one in read_yaml(_FILE)["unread"]
        if test in one["tests"]
    ]


def _setting(protocol: Protocol) -> tuple[str, int, str]:
    return protocol.test, protocol.folds, protocol.fold_by


def _row(fields: Mapping[str, Any]) -> Row:
    if "precision" in fields:
        return PointsRow(**{**fields, "precision": tuple(fields["precision"])})
    return PoseRow(**{**fields, "errors": tuple(fields["errors"])})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
