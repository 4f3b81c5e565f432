"""ShuffleNetV2 unit: split, convolve one half, concatenate, shuffle (arXiv 1807.11164)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights


class ShuffleNetV2(Block):
    """The units of Ma et al. 2018, figure 3: (c) if the shape is kept, otherwise (d).

    With an odd number of channels, the right half has one channel more than the left.
    """

    linear_end = False

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the unit; see ``Block.make_body``."""
        return _Basic(spec) if spec.keeps_shape else _Down(spec)

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S (2 q^2 + k^2 q) if the shape is kept, with q = D / 2 and S the area.

        Otherwise S C q + S' (k^2 C + C q + k^2 q + q^2), with S' the area of the output.
        """
        left, right = _halves(spec.c_out)
        k, size = spec.kernel, spec.out_size(h, w)
        width_in = right if spec.keeps_shape else spec.c_in
        total = _right_macs(width_in, right, k, (h, w), size)
        if not spec.keeps_shape and left:
            c = spec.c_in
            total += conv_macs(c, c, k, *size, groups=c) + conv_macs(c, left, 1, *size)
        return total

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        left, right = _halves(spec.c_out)
        total = _right_weights(right if spec.keeps_shape else spec.c_in, right, spec)
        if not spec.keeps_shape and left:
            c = spec.c_in
            total += conv_norm_weights(c, c, spec.kernel, groups=c)
            total += conv_norm_weights(c, left, 1, act=spec.act)
        return total


class _Basic(nn.Module):
    """ShuffleNetV2 unit of stride 1: convolves one half of the channels, passes the other."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.left_channels, right = _halves(spec.c_out)
        self.right = _right_branch(right, right, spec)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[:, : self.left_channels], x[:, self.left_channels :]
        return _shuffled(left, self.right(right))


class _Down(nn.Module):
    """Unit (d): (n, c_in, h, w) -> (n, c_out, h_out, w_out); both branches use all channels."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        left, right = _halves(spec.c_out)
        c = spec.c_in
        self.left: nn.Module | None = None
        if left:
            self.left = nn.Sequential(
                conv_norm(c, c, spec.kernel, stride=spec.stride, groups=c),
                conv_norm(c, left, 1, act=spec.act),
            )
        self.right = _right_branch(c, right, spec)

    def forward(self, x: Tensor) -> Tensor:
        right: Tensor = self.right(x)
        return right if self.left is None else _shuffled(self.left(x), right)


def _halves(channels: int) -> tuple[int, int]:
    return channels // 2, channels - channels // 2


def _right_branch(c_in: int, c_out: int, spec: BlockSpec) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(c_in, c_out, 1, act=spec.act),
        conv_norm(c_out, c_out, spec.kernel, stride=spec.stride, groups=c_out),
        conv_norm(c_out, c_out, 1, act=spec.act),
    )


def _right_macs(
    c_in: int, c_out: int, kernel: int, size_in: tuple[int, int], size_out: tuple[int, int]
) -> int:
    return (
        conv_macs(c_in, c_out, 1, *size_in)
        + conv_macs(c_out, c_out, kernel, *size_out, groups=c_out)
        + conv_macs(c_out, c_out, 1, *size_out)
    )


def _right_weights(c_in: int, c_out: int, spec: BlockSpec) -> WeightCount:
    return (
        conv_norm_weights(c_in, c_out, 1, act=spec.act)
        + conv_norm_weights(c_out, c_out, spec.kernel, groups=c_out)
        + conv_norm_weights(c_out, c_out, 1, act=spec.act)
    )


def _shuffled(left: Tensor, right: Tensor) -> Tensor:
    """Return the channels of both halves interleaved; an odd one comes last."""
    n = left.shape[1]
    pairs = torch.stack([left, right[:, :n]], dim=2).flatten(1, 2)
    return torch.cat([pairs, right[:, n:]], dim=1)
