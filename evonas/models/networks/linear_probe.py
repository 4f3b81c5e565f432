"""Linear probe: batch norm, global average pooling and one linear layer; the cheapest baseline.

The batch norm brings features of any scale into a range in which training converges. The
multiply-adds do not count it, as it is folded into the linear layer at inference.
"""

from __future__ import annotations

from torch import nn

from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common.architecture_settings import real
from evonas.models.networks.common.regression_head import end_macs, make_end
from evonas.space import Architecture


class LinearProbe(Network):
    """The family of linear layers on pooled features (Alain and Bengio 2016, arXiv 1610.01644).

    Setting: ``dropout``, the probability of dropping a pooled feature (default 0).
    """

    settings = frozenset({"dropout"})

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the probe with fresh weights; see ``Network.build``."""
        dropout = real(architecture, "dropout", 0.0, 0.95, default=0.0)
        return nn.Sequential(
            nn.BatchNorm2d(in_shape[0]),
            make_end("pool", in_shape, n_outputs, hidden=0, dropout=dropout, act="relu"),
        )

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1: channels times outputs."""
        return end_macs("pool", in_shape, n_outputs, hidden=0)
