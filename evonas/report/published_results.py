"""Published results to put beside one's own, each with its source and protocol."""

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
    """How published figures came about.

    Attributes:
        train, test: names of the data sets.
        images: how many were tested; None where papers differ or do not say.
        text: in a sentence.
        flip: figures are known to be of flip tests.
    """

    train: str
    test: str
    text: str
    images: int | None = None
    flip: bool = False

    def followed_by(self, train: str, images: int, flip: bool = False) -> bool:
        """Return whether own results on the test set were got the same way."""
        return (train, images, flip) == (self.train, self.images, self.flip)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A published result; a kind of figures each has a class of its own.

    Attributes:
        method: as its paper calls it.
        source: where the figures were printed.
        note: what keeps them from being plain figures under the protocol.
    """

    heads: ClassVar[tuple[str, ...]]

    method: str
    protocol: Protocol
    source: str
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The figures as a table shows them, in the order of ``heads``."""
        raise NotImplementedError

    @property
    def place(self) -> float:
        """By which rows are sorted, the best first."""
        raise NotImplementedError

    @property
    def remarks(self) -> str:
        """The source, and whatever a reader has to know about the figures."""
        return "; ".join([self.source, *([self.note] if self.note else [])])


@dataclass(frozen=True, kw_only=True)
class PoseRow(Row):
    """A published head pose error.

    Attributes:
        errors: yaw, pitch, roll and their mean, degrees; None where not printed.
        geodesic: degrees, where printed.
        megabytes: of the weight file, where printed.
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
        """The mean error."""
        return self.errors[-1] or 0.0

    @property
    def remarks(self) -> str:
        """Source and note, and a mean that does not follow from its angles."""
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
        """The AP, the highest first."""
        return -(self.precision[0] or 0.0)


def rows(test: str) -> list[Row]:
    """Return the published results on a test set, by protocol and the best first."""
    content = read_yaml(_FILE)
    protocols = {name: Protocol(**fields) for name, fields in content["protocols"].items()}
    found = [
        _row({**fields, "protocol": protocols[fields["protocol"]]})
        for fields in content["rows"]
        if protocols[fields["protocol"]].test == test
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


def _row(fields: Mapping[str, Any]) -> Row:
    if "precision" in fields:
        return PointsRow(**{**fields, "precision": tuple(fields["precision"])})
    return PoseRow(**{**fields, "errors": tuple(fields["errors"])})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
