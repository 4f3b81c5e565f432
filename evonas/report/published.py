"""Published results to put beside one's own, each with its source and protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evonas.files import read_yaml

_FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Protocol:
    """How published errors came about.

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


@dataclass(frozen=True)
class Row:
    """A published result.

    Attributes:
        method: as its paper calls it.
        errors: yaw, pitch, roll and their mean, degrees; None where not printed.
        geodesic: degrees, where printed.
        megabytes: of the weight file, where printed.
        source: where the figures were printed.
        note: what keeps them from being plain errors under the protocol.
    """

    method: str
    protocol: Protocol
    errors: tuple[float | None, ...]
    source: str
    geodesic: float | None = None
    megabytes: float | None = None
    note: str = ""

    @property
    def remarks(self) -> str:
        """The source, and whatever a reader has to know about the figures."""
        *three, mean = self.errors
        remarks = [self.source, *([self.note] if self.note else [])]
        known = [error for error in three if error is not None]
        if mean is not None and len(known) == 3 and abs(sum(known) / 3 - mean) > 0.02:
            remarks.append(f"the three angles give a mean of {sum(known) / 3:.2f}")
        return "; ".join(remarks)


def rows(test: str) -> list[Row]:
    """Return the published results on a test set, best mean error first."""
    content = read_yaml(_FILE)
    protocols = {name: Protocol(**fields) for name, fields in content["protocols"].items()}
    found = []
    for fields in content["rows"]:
        protocol = protocols[fields["protocol"]]
        if protocol.test == test:
            found.append(Row(**{**fields, "protocol": protocol, "errors": tuple(fields["errors"])}))
    return sorted(found, key=lambda row: (row.protocol.text, row.errors[-1] or 0.0))
