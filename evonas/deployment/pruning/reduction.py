"""What pruning saved, against two baselines: the whole network, and its convolutions alone.

Published reductions are against the whole network. Of VGG-Face's, taking off the fully
connected part alone is 89.85 % of the parameters (and 0.84 % of the multiply-adds), which says
nothing about pruning; so both are always given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

_BYTES_PER_PARAMETER = 4

Quantity = Literal["macs", "params"]
Baseline = Literal["whole", "convolutions"]


_QUANTITIES: tuple[tuple[Quantity, str], ...] = (
    ("macs", "multiply-adds"),
    ("params", "parameters"),
)
_BASELINES: tuple[tuple[Baseline, str], ...] = (
    ("whole", "the whole network"),
    ("convolutions", "the network up to its last tap"),
)


class Cost(NamedTuple):
    """The cost of a network at batch 1.

    Attributes:
        macs: multiply-adds; one counts as two floating point operations.
        params: number of parameters.
    """

    macs: int
    params: int

    @property
    def bytes(self) -> int:
        """Size of the parameters as 32-bit floats."""
        return _BYTES_PER_PARAMETER * self.params


@dataclass(frozen=True)
class Reduction:
    """A pruned network beside what it was made from.

    Attributes:
        pruned: what is left, with the linear layer that ends it.
        convolutions: the network without its fully connected part: up to its last tap.
        whole: with it; None where it is not known.
    """

    pruned: Cost
    convolutions: Cost
    whole: Cost | None = None

    def percent(self, quantity: Quantity, baseline: Baseline = "whole") -> float | None:
        """Return how much of a quantity is gone, in percent of a baseline; negative: it grew.

        Returns:
            None where the baseline is not known, or has nothing of the quantity.
        """
        base = self.whole if baseline == "whole" else self.convolutions
        before = getattr(base, quantity) if base is not None else 0
        return 100.0 * (1.0 - getattr(self.pruned, quantity) / before) if before else None

    @property
    def unpruned(self) -> Reduction:
        """What taking off the fully connected part alone reduces."""
        return Reduction(self.convolutions, self.convolutions, self.whole)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "macs": self.pruned.macs,
            "params": self.pruned.params,
            "less_in_percent": {
                f"{quantity}_of_{base}": self.percent(quantity, base)
                for base, _ in _BASELINES
                for quantity, _ in _QUANTITIES
            },
        }

    def row(self) -> list[str]:
        """Return the cells of a table's row, in the order of ``COLUMNS``."""
        left = self.pruned
        cells = [f"{left.macs / 1e6:,.1f}", f"{left.params / 1e6:.3f}", f"{left.bytes / 1e6:.1f}"]
        cells += [_told(self.percent(q, base)) for base, _ in _BASELINES for q, _ in _QUANTITIES]
        return cells

    def lines(self) -> list[str]:
        """Return the same as sentences: what is left, and how much less that is."""
        found = []
        for quantity, name in _QUANTITIES:
            against = [
                f"{_told(share)} against {what}"
                for baseline, what in _BASELINES
                if (share := self.percent(quantity, baseline)) is not None
            ]
            left = getattr(self.pruned, quantity) / 1e6
            found.append(f"{left:,.2f} M {name} left: {', '.join(against) or 'no baseline'}")
        if self.whole is not None:
            shares = [f"{_told(self.unpruned.percent(q))} {name}" for q, name in _QUANTITIES]
            found.append(
                "taking off what stands behind the last tap does this much alone: "
                + ", ".join(shares)
            )
        return found


#: Heads of ``Reduction.row``.
COLUMNS = (
    "M MACs",
    "M params",
    "MB",
    "MACs/whole",
    "params/whole",
    "MACs/last tap",
    "params/last tap",
)


def _told(percent: float | None) -> str:
    return "-" if percent is None else f"{-percent:+.2f} %"
