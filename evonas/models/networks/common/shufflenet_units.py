"""The unit of ShuffleNetV2 under the names of the common ImageNet weights.

The arithmetic is that of ``blocks.shufflenet_v2`` (whose cost formula is used as it is);
there the branches are nested for the master module, here they are flat, so that a
published state dict fits name by name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.models.networks.blocks.base import BlockSpec
from evonas.models.networks.blocks.shufflenet_v2 import ShuffleNetV2 as Block
from evonas.models.networks.common.layers import conv


class Unit(nn.Module):
    """(n, c_in, h, w) -> (n, c_out, ceil(h / stride), ceil(w / stride)).

    Ma et al. 2018 (arXiv 1807.11164), figure 3 (c) at stride 1, where half the channels
    pass unchanged and ``c_in`` must be ``c_out``, and (d) at stride 2. ``c_out`` is even.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half = c_out // 2
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(*_depthwise(c_in, stride), *_pointwise(c_in, half))
        self.branch2 = nn.Sequential(
            *_pointwise(c_in if stride == 2 else half, half),
            *_depthwise(half, stride),
            *_pointwise(half, half),
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the halves with their channels taken in turns."""
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        pair = [self.branch1(left), self.branch2(right)]
        return torch.stack(pair, dim=2).flatten(1, 2)


def unit_macs(c_in: int, c_out: int, stride: int, h: int, w: int) -> int:
    """Return the multiply-adds of a unit on an h x w input."""
    return Block.body_macs(BlockSpec(c_in, c_out, stride=stride), h, w)


def _pointwise(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    return conv(c_in, c_out, 1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, ...]:
    return conv(channels, channels, 3, stride=stride, groups=channels), nn.BatchNorm2d(channels)
