"""Linear probe: batch norm, global average pool, one linear layer; the cheapest baseline.

The norm has no counterpart in the multiply-adds: at inference it folds into the
linear layer. It puts features of any scale into a range that trains.
"""

from __future__ import annotations

from torch import nn

from evonas.networks._end import end_macs, make_end
from evonas.networks.base import Network, Shape
from evonas.space import Architecture


class LinearProbe(Network):
    """The family of one member; it has no settings (Alain and Bengio 2016, arXiv 1610.01644)."""

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the probe with fresh weights; see ``Network.build``."""
        return nn.Sequential(
            nn.BatchNorm2d(in_shape[0]),
            make_end("pool", in_shape, n_outputs, hidden=0, dropout=0.0, act="relu"),
        )

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1: channels times outputs."""
        return end_macs("pool", in_shape, n_outputs, hidden=0)
