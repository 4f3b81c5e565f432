"""Residual head: a hand-written head network, the baseline of searches at equal cost.

It consists of a 1 x 1 convolution to ``width`` channels, a residual block, a residual block of
stride 2 with twice the width, and a linear layer.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks.base import BlockSpec
from evonas.models.networks.blocks.residual import Residual
from evonas.models.networks.common.architecture_settings import choice, integer
from evonas.models.networks.common.layers import conv_macs, conv_norm, norm_act
from evonas.models.networks.common.regression_head import ENDS, end_macs, make_end
from evonas.space import Architecture


class ResidualHead(Network):
    """The family of residual heads.

    Settings: ``width``, the channels of the first block (default 45: 4.5 M multiply-adds at 128x8x8
    with 3 outputs; at 64x17x17, 20 gives 4.2 M and 21 gives 4.7 M), and ``end``
    (``flatten`` by default, ``pool`` or ``depthwise``).
    """

    settings = frozenset({"width", "end"})

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the head with fresh weights; see ``Network.build``."""
        first, second, out_shape = _specs(architecture, in_shape)
        end = choice(architecture, "end", ENDS, default="flatten")
        layers: dict[str, nn.Module] = {
            "stem": conv_norm(in_shape[0], first.c_in, 1, act="relu"),
            "stage1_residual": nn.Sequential(Residual(first)),
            "stage2_residual": nn.Sequential(Residual(second)),
            "close": nn.Sequential(*norm_act(second.c_out, "relu")),
            "end": make_end(end, out_shape, n_outputs, hidden=0, dropout=0.0, act="relu"),
        }
        return nn.Sequential(OrderedDict(layers))

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        first, second, out_shape = _specs(architecture, in_shape)
        end = choice(architecture, "end", ENDS, default="flatten")
        size = in_shape[1:]
        return (
            conv_macs(in_shape[0], first.c_in, 1, *size)
            + Residual.macs(first, *size)
            + Residual.macs(second, *size)
            + end_macs(end, out_shape, n_outputs, hidden=0)
        )


def _specs(architecture: Architecture, in_shape: Shape) -> tuple[BlockSpec, BlockSpec, Shape]:
    width = integer(architecture, "width", 1, 4096, default=45)
    first = BlockSpec(width, width)
    second = BlockSpec(width, 2 * width, stride=2)
    return first, second, (2 * width, *second.out_size(*in_shape[1:]))
