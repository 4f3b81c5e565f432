"""Bottleneck residual block with a quarter of the channels (arXiv 1512.03385, figure 5)."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights


class Bottleneck(Block):
    """Three convolutions: 1 x 1 to a quarter of the channels, k x k with the stride, 1 x 1."""

    shortcut = "projection"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the three convolutions; see ``Block.make_body``."""
        inner = _inner(spec)
        return nn.Sequential(
            conv_norm(spec.c_in, inner, 1, act=spec.act),
            conv_norm(inner, inner, spec.kernel, stride=spec.stride, act=spec.act),
            conv_norm(inner, spec.c_out, 1),
        )

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S C q + S' (q^2 k^2 + q D): q = D / 4, S and S' input and output area."""
        inner, size = _inner(spec), spec.out_size(h, w)
        return (
            conv_macs(spec.c_in, inner, 1, h, w)
            + conv_macs(inner, inner, spec.kernel, *size)
            + conv_macs(inner, spec.c_out, 1, *size)
        )

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        inner = _inner(spec)
        return (
            conv_norm_weights(spec.c_in, inner, 1, act=spec.act)
            + conv_norm_weights(inner, inner, spec.kernel, act=spec.act)
            + conv_norm_weights(inner, spec.c_out, 1)
        )


def _inner(spec: BlockSpec) -> int:
    return max(1, spec.c_out // 4)
