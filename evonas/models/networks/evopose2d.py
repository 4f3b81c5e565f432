"""EvoPose2D: an EfficientNet with searched stages, which computes heat maps of key points.

McNally et al. (2021, arXiv 2011.08446): the stages of EfficientNet-B0 (Tan and Le 2019, arXiv
1905.11946), whose kernel, repeats, filters and stride are searched, followed by the three
transposed convolutions of Xiao et al. (2018, arXiv 1804.06208). The input is the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common.architecture_settings import integer, odd_kernel, setting
from evonas.models.networks.common.layers import (
    conv,
    conv_macs,
    heatmap_conv,
    out_side,
    upsampling_conv,
)
from evonas.models.weight_count import (
    WeightCount,
    conv_norm_weights,
    conv_weights,
)
from evonas.space import Architecture

#: (kernel, repeats, filters / 8, stride) of each stage of EfficientNet-B0.
ANCESTOR = (
    *((3, 1, 2, 1), (3, 2, 3, 2), (5, 2, 5, 2), (3, 3, 10, 2)),
    *((5, 3, 14, 1), (5, 4, 24, 2), (3, 1, 40, 1)),
)
#: Stages whose stride is searched.
STRIDED = (5, 6, 7)
_STEM = 32
_EXPANSION = 6  # of all stages except the first, which has no expansion
_SQUEEZE = 4  # reduction of a squeeze-and-excitation, relative to the block's input channels
_UP_CHANNELS = 128  # of each transposed convolution, before scaling in width
_UPS = 3
_EPSILON = 1e-3  # of batch norms, as in EfficientNet
#: (largest image side, drop rate of the last residual branch in training), by side.
_DROP_RATES = ((240, 0.2), (300, 0.3), (456, 0.4), (math.inf, 0.5))


@dataclass(frozen=True)
class _MBConvSpec:
    """Shape of an inverted residual; ``drop_rate``: probability of dropping its branch."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    expansion: int
    drop_rate: float

    @property
    def wide(self) -> int:
        """Channels between expansion and projection."""
        return self.c_in * self.expansion

    @property
    def squeezed(self) -> int:
        """Channels of the hidden layer of the squeeze-and-excitation."""
        return max(1, self.c_in // _SQUEEZE)


@dataclass(frozen=True)
class _Dimensions:
    """Sizes of a network: channels of stem and upsampling, and the blocks of each stage."""

    stem: int
    stages: tuple[tuple[_MBConvSpec, ...], ...]
    up_channels: int


class EvoPose2D(Network):
    """The family of EvoPose2D networks: (n, c, h, w) images -> (n, n_outputs, 8 h', 8 w') maps.

    h' is h divided by 2 (stem) and by the strides of the stages, rounded up each time.

    Settings of stage i, 1 to 7: ``kernel<i>`` (odd), ``repeats<i>``, ``filters<i>`` (number of
    filters / 8), and for stages 5 to 7 ``stride<i>``, 1 or 2. The default is the value of
    EfficientNet-B0. The strides of stages 1 to 4 are 1, 2, 2, 2. Depth and width grow with the
    size of the images by compound scaling, see ``scaling``.
    """

    settings = frozenset(
        f"{name}{stage}"
        for name in ("kernel", "repeats", "filters", "stride")
        for stage in range(1, len(ANCESTOR) + 1)
        if name != "stride" or stage in STRIDED
    )
    dense = True

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the network with fresh weights; see ``Network.build``."""
        return _EvoPose2D(_dimensions(architecture, in_shape), in_shape[0], n_outputs)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        dimensions = _dimensions(architecture, in_shape)
        channels, *size = in_shape
        h, w = (out_side(side, 2) for side in size)
        total = conv_macs(channels, dimensions.stem, 3, h, w)
        c_in = dimensions.stem
        for block in (block for stage in dimensions.stages for block in stage):
            if block.expansion > 1:
                total += conv_macs(block.c_in, block.wide, 1, h, w)
            h, w = out_side(h, block.stride), out_side(w, block.stride)
            total += conv_macs(block.wide, block.wide, block.kernel, h, w, groups=block.wide)
            total += 2 * block.wide * block.squeezed
            total += conv_macs(block.wide, block.c_out, 1, h, w)
            c_in = block.c_out
        for _ in range(_UPS):
            # The cost of a transposed convolution is proportional to the size of its input.
            total += conv_macs(c_in, dimensions.up_channels, 3, h, w)
            h, w, c_in = 2 * h, 2 * w, dimensions.up_channels
        return total + conv_macs(c_in, n_outputs, 1, h, w)

    def weights(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> WeightCount:
        """Return the number of values in the weights; see ``Network.weights``."""
        dimensions = _dimensions(architecture, in_shape)
        total = conv_norm_weights(in_shape[0], dimensions.stem, 3)
        c_in, channels = dimensions.stages[-1][-1].c_out, dimensions.up_channels
        for block in (block for stage in dimensions.stages for block in stage):
            if block.expansion > 1:
                total += conv_norm_weights(block.c_in, block.wide, 1)
            total += conv_norm_weights(block.wide, block.wide, block.kernel, groups=block.wide)
            total += conv_weights(block.wide, block.squeezed, 1, bias=True)
            total += conv_weights(block.squeezed, block.wide, 1, bias=True)
            total += conv_norm_weights(block.wide, block.c_out, 1)
        for number in range(_UPS):
            total += conv_norm_weights(channels if number else c_in, channels, 3)
        return total + conv_weights(channels, n_outputs, 1, bias=True)


def scaling(h: int, w: int) -> tuple[float, float]:
    """Return the factors of compound scaling on depth and width for h x w images.

    McNally et al. (2021) derive phi from the resolution: phi = log_1.15(size / 224), where
    size is the mean side; depth grows by 1.2^phi and width by 1.1^phi. Networks for images
    smaller than 224 are not scaled.
    """
    phi = max(0.0, math.log((h + w) / 2 / 224) / math.log(1.15))
    return 1.2**phi, 1.1**phi


def rounded(filters: float) -> int:
    """Return ``filters`` rounded to a multiple of 8, at least 90 % of ``filters``."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest


def _dimensions(architecture: Architecture, in_shape: Shape) -> _Dimensions:
    depth, width = scaling(*in_shape[1:])
    side = sum(in_shape[1:]) / 2
    last_drop_rate = next(rate for limit, rate in _DROP_RATES if side <= limit)
    genes = [_stage_genes(architecture, stage) for stage in range(1, len(ANCESTOR) + 1)]
    repeats = [math.ceil(depth * gene[1]) for gene in genes]
    c_in, stages, n_blocks = rounded(width * _STEM), [], 0
    for number, (kernel, _, eights, stride) in enumerate(genes):
        c_out, blocks = rounded(width * 8 * eights), []
        for repeat in range(repeats[number]):
            blocks.append(
                _MBConvSpec(
                    c_in,
                    c_out,
                    kernel,
                    stride=stride if repeat == 0 else 1,
                    expansion=1 if number == 0 else _EXPANSION,
                    # The drop rate grows linearly with the depth of the block.
                    drop_rate=last_drop_rate * n_blocks / sum(repeats),
                )
            )
            c_in, n_blocks = c_out, n_blocks + 1
        stages.append(tuple(blocks))
    return _Dimensions(rounded(width * _STEM), tuple(stages), rounded(width * _UP_CHANNELS))


def _stage_genes(architecture: Architecture, stage: int) -> tuple[int, int, int, int]:
    """Return (kernel, repeats, filters / 8, stride) of a stage, counted from 1."""
    kernel, repeats, eights, stride = ANCESTOR[stage - 1]
    kernel = odd_kernel(architecture, f"kernel{stage}", default=kernel)
    if stage in STRIDED:
        stride = integer(architecture, f"stride{stage}", 1, 2, default=stride)
    elif (value := setting(architecture, f"stride{stage}", stride)) != stride:
        raise InputError(
            f"network {architecture.network!r}, setting 'stride{stage}': expected {stride}, got "
            f"{value!r}: only the strides of stages {STRIDED[0]} to {STRIDED[-1]} can be chosen"
        )
    return (
        kernel,
        integer(architecture, f"repeats{stage}", 1, 64, default=repeats),
        integer(architecture, f"filters{stage}", 1, 512, default=eights),
        stride,
    )


class _EvoPose2D(nn.Module):
    """Module of the family; weights are named by stage and repeat (``stage3.1.depthwise...``)."""

    def __init__(self, dimensions: _Dimensions, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.stem = _conv_norm(channels, dimensions.stem, 3, stride=2, act=True)
        for number, stage in enumerate(dimensions.stages, start=1):
            self.add_module(f"stage{number}", nn.Sequential(*(_MBConv(block) for block in stage)))
        c_in, up_channels = dimensions.stages[-1][-1].c_out, dimensions.up_channels
        self.up = nn.Sequential(
            *(_upsample(up_channels if i else c_in, up_channels) for i in range(_UPS))
        )
        self.maps = heatmap_conv(up_channels, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(1, len(ANCESTOR) + 1):
            x = self.get_submodule(f"stage{number}")(x)
        return cast(Tensor, self.maps(self.up(x)))


class _MBConv(nn.Module):
    """Inverted residual: (n, c_in, h, w) -> (n, c_out, ceil(h / stride), ceil(w / stride))."""

    def __init__(self, block: _MBConvSpec) -> None:
        super().__init__()
        wide = block.wide
        self.expand = _conv_norm(block.c_in, wide, 1, act=True) if block.expansion > 1 else None
        self.depthwise = _conv_norm(
            wide, wide, block.kernel, stride=block.stride, groups=wide, act=True
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv(wide, block.squeezed, 1, bias=True),
            nn.SiLU(),
            conv(block.squeezed, wide, 1, bias=True),
            nn.Sigmoid(),
        )
        self.project = _conv_norm(wide, block.c_out, 1)
        self.drop_rate = block.drop_rate
        self.has_shortcut = block.stride == 1 and block.c_in == block.c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        y = self.project(y * self.squeeze(y))
        if not self.has_shortcut:
            return cast(Tensor, y)
        if self.training and self.drop_rate:
            # Stochastic depth (Huang et al. 2016, arXiv 1603.09382), sample by sample.
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop_rate
            y = y * kept / (1 - self.drop_rate)
        return cast(Tensor, x + y)


def _conv_norm(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Sequential:
    layers = [
        conv(c_in, c_out, kernel, stride=stride, groups=groups),
        nn.BatchNorm2d(c_out, eps=_EPSILON),
    ]
    return nn.Sequential(*layers, *([nn.SiLU()] if act else []))


def _upsample(c_in: int, c_out: int) -> nn.Sequential:
    """Return transposed convolution, norm, swish: (n, c_in, h, w) -> (n, c_out, 2 h, 2 w)."""
    up = upsampling_conv(c_in, c_out, 3)
    return nn.Sequential(up, nn.BatchNorm2d(c_out, eps=_EPSILON), nn.SiLU())
