"""Residual block: two convolutions and a shortcut (He et al. 2016, arXiv 1512.03385)."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights


class Residual(Block):
    """The basic block of ResNet: two k x k convolutions, the first with the stride."""

    shortcut = "projection"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the two convolutions; see ``Block.make_body``."""
        return nn.Sequential(
            conv_norm(spec.c_in, spec.c_out, spec.kernel, stride=spec.stride, act=spec.act),
            conv_norm(spec.c_out, spec.c_out, spec.kernel),
        )

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S D k^2 (C + D), with S the area of the output."""
        size = spec.out_size(h, w)
        return conv_macs(spec.c_in, spec.c_out, spec.kernel, *size) + conv_macs(
            spec.c_out, spec.c_out, spec.kernel, *size
        )

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        first = conv_norm_weights(spec.c_in, spec.c_out, spec.kernel, act=spec.act)
        return first + conv_norm_weights(spec.c_out, spec.c_out, spec.kernel)
