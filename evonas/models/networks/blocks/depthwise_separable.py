"""Depthwise separable convolution (Howard et al. 2017, arXiv 1704.04861)."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights


class DepthwiseSeparable(Block):
    """Depthwise k x k convolution with the stride, then a 1 x 1 convolution.

    Unlike MobileNet's block, it has an identity shortcut if input and output have the same
    shape, so that stages of many blocks can be trained.
    """

    shortcut = "identity"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the two convolutions; see ``Block.make_body``."""
        c = spec.c_in
        return nn.Sequential(
            conv_norm(c, c, spec.kernel, stride=spec.stride, groups=c, act=spec.act),
            conv_norm(c, spec.c_out, 1),
        )

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S C (k^2 + D), with S the area of the output."""
        c, size = spec.c_in, spec.out_size(h, w)
        return conv_macs(c, c, spec.kernel, *size, groups=c) + conv_macs(c, spec.c_out, 1, *size)

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        c = spec.c_in
        depthwise = conv_norm_weights(c, c, spec.kernel, groups=c, act=spec.act)
        return depthwise + conv_norm_weights(c, spec.c_out, 1)
