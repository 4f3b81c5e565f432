"""Inverted residual block, MBConv (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights

_EXPANSION = 4


class InvertedResidual(Block):
    """Three convolutions: 1 x 1 to 4 C channels, depthwise k x k with the stride, 1 x 1.

    No activation follows the last convolution.
    """

    shortcut = "identity"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the three convolutions; see ``Block.make_body``."""
        wide = _EXPANSION * spec.c_in
        return nn.Sequential(
            conv_norm(spec.c_in, wide, 1, act=spec.act),
            conv_norm(wide, wide, spec.kernel, stride=spec.stride, groups=wide, act=spec.act),
            conv_norm(wide, spec.c_out, 1),
        )

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S C t + S' t (k^2 + D): t = 4 C, S and S' input and output area."""
        wide, size = _EXPANSION * spec.c_in, spec.out_size(h, w)
        return (
            conv_macs(spec.c_in, wide, 1, h, w)
            + conv_macs(wide, wide, spec.kernel, *size, groups=wide)
            + conv_macs(wide, spec.c_out, 1, *size)
        )

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        wide = _EXPANSION * spec.c_in
        return (
            conv_norm_weights(spec.c_in, wide, 1, act=spec.act)
            + conv_norm_weights(wide, wide, spec.kernel, groups=wide, act=spec.act)
            + conv_norm_weights(wide, spec.c_out, 1)
        )
