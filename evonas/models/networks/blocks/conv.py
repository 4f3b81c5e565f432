"""Plain convolution block: convolution, batch norm, activation."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights


class Conv(Block):
    """One k x k convolution with batch norm and activation, without a shortcut."""

    linear_end = False

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the convolution, batch norm and activation; see ``Block.make_body``."""
        return conv_norm(spec.c_in, spec.c_out, spec.kernel, stride=spec.stride, act=spec.act)

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S C D k^2, with S the area of the output."""
        return conv_macs(spec.c_in, spec.c_out, spec.kernel, *spec.out_size(h, w))

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        return conv_norm_weights(spec.c_in, spec.c_out, spec.kernel, act=spec.act)
