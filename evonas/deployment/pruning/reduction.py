"""Reductions of cost by pruning, relative to the full network and to its convolutions.

Published reductions are relative to the full network. In VGG-Face, removing the fully connected
layers alone saves 89.85 % of the parameters (and 0.84 % of the multiply-adds), which is not due
to pruning of filters; therefore both baselines are always given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.full_network import TruncatedBackbone

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
        macs: multiply-adds; each is two floating point operations.
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
    """The cost of a pruned network, and two baselines.

    Attributes:
        pruned: cost of the pruned backbone with its head.
        convolutions: cost of the original backbone up to its last tap, without fully connected
            layers.
        whole: cost of the original network with its fully connected layers; None if unknown.
    """

    pruned: Cost
    convolutions: Cost
    whole: Cost | None = None

    def percent(self, quantity: Quantity, baseline: Baseline = "whole") -> float | None:
        """Return the reduction of a quantity in percent of a baseline; negative for an increase.

        Returns:
            The percentage, or None if the baseline is unknown or 0.
        """
        base = self.whole if baseline == "whole" else self.convolutions
        before = getattr(base, quantity) if base is not None else 0
        return 100.0 * (1.0 - getattr(self.pruned, quantity) / before) if before else None

    @property
    def unpruned(self) -> Reduction:
        """The reduction by removing the fully connected layers alone."""
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
        cost = self.pruned
        cells = [f"{cost.macs / 1e6:,.1f}", f"{cost.params / 1e6:.3f}", f"{cost.bytes / 1e6:.1f}"]
        cells += [_signed(self.percent(q, base)) for base, _ in _BASELINES for q, _ in _QUANTITIES]
        return cells

    def lines(self) -> list[str]:
        """Return sentences on the cost of the pruned network and its reductions."""
        sentences = []
        for quantity, name in _QUANTITIES:
            comparisons = [
                f"{_signed(percent)} against {baseline_name}"
                for baseline, baseline_name in _BASELINES
                if (percent := self.percent(quantity, baseline)) is not None
            ]
            value = getattr(self.pruned, quantity) / 1e6
            sentences.append(f"{value:,.2f} M {name}: {', '.join(comparisons) or 'no baseline'}")
        if self.whole is not None:
            parts = [f"{_signed(self.unpruned.percent(q))} {name}" for q, name in _QUANTITIES]
            sentences.append(
                "removing the layers after the last tap accounts for: " + ", ".join(parts)
            )
        return sentences


def reduction(pruned: Cost, backbone: Backbone) -> Reduction:
    """Return the reduction that a pruned network achieves, relative to its original backbone.

    Args:
        pruned: cost of the pruned backbone with its head.
        backbone: the original backbone.
    """
    upto = TruncatedBackbone(backbone, list(backbone.taps)[-1])
    last = count(upto, tuple(upto.example().shape[1:]))
    full = backbone.full_cost()
    return Reduction(pruned, Cost(last.macs, last.params), None if full is None else Cost(*full))


#: Column titles of ``Reduction.row``.
COLUMNS = (
    "M MACs",
    "M params",
    "MB",
    "MACs/whole",
    "params/whole",
    "MACs/last tap",
    "params/last tap",
)


def _signed(percent: float | None) -> str:
    return "-" if percent is None else f"{-percent:+.2f} %"
