"""Ghost bottleneck: depthwise convolutions compute half of the channels (arXiv 1911.11907)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.networks.common.layers import conv_macs, conv_norm
from evonas.models.weight_count import WeightCount, conv_norm_weights

_EXPANSION = 2


class Ghost(Block):
    """Two ghost modules, to 2 C and to D channels, with a strided convolution between.

    Han et al. (2020). The cheap operation is a depthwise k x k convolution. The shortcut is
    the identity; the paper's strided shortcut is left out to keep the block cheap.
    """

    shortcut = "identity"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return both ghost modules and, with stride 2, the depthwise convolution between."""
        wide, k = _EXPANSION * spec.c_in, spec.kernel
        layers: list[nn.Module] = [_GhostModule(spec.c_in, wide, k, spec.act)]
        if spec.stride > 1:
            layers.append(conv_norm(wide, wide, k, stride=spec.stride, groups=wide))
        layers.append(_GhostModule(wide, spec.c_out, k, None))
        return nn.Sequential(*layers)

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return S (C D + k^2 D) / 2 for each ghost module plus S' 2 C k^2 for a stride of 2."""
        wide, size, k = _EXPANSION * spec.c_in, spec.out_size(h, w), spec.kernel
        total = _ghost_macs(spec.c_in, wide, k, h, w) + _ghost_macs(wide, spec.c_out, k, *size)
        if spec.stride > 1:
            total += conv_macs(wide, wide, k, *size, groups=wide)
        return total

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights; see ``Block.body_weights``."""
        wide, k = _EXPANSION * spec.c_in, spec.kernel
        total = _ghost_weights(spec.c_in, wide, k, spec.act)
        if spec.stride > 1:
            total += conv_norm_weights(wide, wide, k, groups=wide)
        return total + _ghost_weights(wide, spec.c_out, k, None)

    @staticmethod
    def closing_norms(body: nn.Module) -> list[nn.BatchNorm2d]:
        """Return both batch norms of the last ghost module, one for each half of its output."""
        last = list(body.children())[-1]
        return [m for m in last.modules() if isinstance(m, nn.BatchNorm2d)]


class _GhostModule(nn.Module):
    """Ghost module: (n, c_in, h, w) -> (n, c_out, h, w).

    A 1 x 1 convolution computes half of the channels; a depthwise convolution of these
    computes the other half.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, act: str | None) -> None:
        super().__init__()
        self.cheap_channels = c_out // 2
        self.primary = conv_norm(c_in, c_out - self.cheap_channels, 1, act=act)
        self.cheap: nn.Module | None = None
        if self.cheap_channels:
            n = self.cheap_channels
            self.cheap = conv_norm(n, n, kernel, groups=n, act=act)

    def forward(self, x: Tensor) -> Tensor:
        primary: Tensor = self.primary(x)
        if self.cheap is None:
            return primary
        return torch.cat([primary, self.cheap(primary[:, : self.cheap_channels])], dim=1)


def _ghost_macs(c_in: int, c_out: int, kernel: int, h: int, w: int) -> int:
    cheap = c_out // 2
    total = conv_macs(c_in, c_out - cheap, 1, h, w)
    return total + (conv_macs(cheap, cheap, kernel, h, w, groups=cheap) if cheap else 0)


def _ghost_weights(c_in: int, c_out: int, kernel: int, act: str | None) -> WeightCount:
    cheap = c_out // 2
    primary = conv_norm_weights(c_in, c_out - cheap, 1, act=act)
    if not cheap:
        return primary
    return primary + conv_norm_weights(cheap, cheap, kernel, groups=cheap, act=act)
