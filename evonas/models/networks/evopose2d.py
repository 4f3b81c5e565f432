"""EvoPose2D: inverted residual stages that end in heat maps of key points, on whole images.

McNally et al. (2021, arXiv 2011.08446): the body of EfficientNet-B0 (Tan and Le 2019, arXiv
1905.11946) with kernel, repeats, filters and stride of each stage left to the search, and the
end of Xiao et al. (2018, arXiv 1804.06208) behind it: three transposed convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common.architecture_settings import setting, whole
from evonas.models.networks.common.layers import conv, conv_macs, out_side
from evonas.space import Architecture

#: (kernel, repeats, filters / 8, stride) of each stage of EfficientNet-B0.
ANCESTOR = (
    *((3, 1, 2, 1), (3, 2, 3, 2), (5, 2, 5, 2), (3, 3, 10, 2)),
    *((5, 3, 14, 1), (5, 4, 24, 2), (3, 1, 40, 1)),
)
#: Stages whose stride is searched.
STRIDED = (5, 6, 7)
_STEM = 32
_EXPANSION = 6  # of all stages but the first, which has none
_SQUEEZE = 4  # of a block's input channels, in its squeeze-and-excitation
_END = 128  # channels of each transposed convolution, scaled in width as well
_UPS = 3
_EPSILON = 1e-3  # of the norms, as in EfficientNet
#: Largest side up to which a share of residual branches is dropped in training.
_DROPPED = ((240, 0.2), (300, 0.3), (456, 0.4), (math.inf, 0.5))


@dataclass(frozen=True)
class _Block:
    """One inverted residual; ``dropped``: share of its residual branches in training."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    expansion: int
    dropped: float

    @property
    def wide(self) -> int:
        """Channels between expansion and projection."""
        return self.c_in * self.expansion

    @property
    def squeezed(self) -> int:
        """Channels in the middle of the squeeze-and-excitation."""
        return max(1, self.c_in // _SQUEEZE)


@dataclass(frozen=True)
class _Plan:
    """Everything that module and cost follow from; ``stem`` and ``end`` are channels."""

    stem: int
    stages: tuple[tuple[_Block, ...], ...]
    end: int


class EvoPose2D(Network):
    """The family: (n, c, h, w) images -> (n, n_outputs, 8 h', 8 w') heat maps.

    h' is h behind the stem's stride of 2 and those of the stages, rounded up each time.

    Settings of stage i, 1 to 7: ``kernel<i>`` (odd), ``repeats<i>``, ``filters<i>`` (in
    eights), and for stages 5 to 7 ``stride<i>``, 1 or 2; each is EfficientNet-B0's if left
    out. The strides of stages 1 to 4 are 1, 2, 2, 2. Depth and width grow with the images by
    compound scaling, see ``scaling``.
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
        return _EvoPose2D(_plan(architecture, in_shape), in_shape[0], n_outputs)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        plan = _plan(architecture, in_shape)
        channels, *size = in_shape
        h, w = (out_side(side, 2) for side in size)
        total = conv_macs(channels, plan.stem, 3, h, w)
        c_in = plan.stem
        for block in (block for stage in plan.stages for block in stage):
            if block.expansion > 1:
                total += conv_macs(block.c_in, block.wide, 1, h, w)
            h, w = out_side(h, block.stride), out_side(w, block.stride)
            total += conv_macs(block.wide, block.wide, block.kernel, h, w, groups=block.wide)
            total += 2 * block.wide * block.squeezed
            total += conv_macs(block.wide, block.c_out, 1, h, w)
            c_in = block.c_out
        for _ in range(_UPS):
            total += conv_macs(c_in, plan.end, 3, h, w)  # of a transposed one: a place of its input
            h, w, c_in = 2 * h, 2 * w, plan.end
        return total + conv_macs(c_in, n_outputs, 1, h, w)


def scaling(h: int, w: int) -> tuple[float, float]:
    """Return the factors on depth and width for h x w images.

    Compound scaling read backwards (McNally et al. 2021): the resolution gives phi =
    log_1.15(size / 224), size being the mean side, then depth 1.2^phi and width 1.1^phi.
    Smaller images than 224 have the unscaled network.
    """
    phi = max(0.0, math.log((h + w) / 2 / 224) / math.log(1.15))
    return 1.2**phi, 1.1**phi


def rounded(filters: float) -> int:
    """Return the multiple of 8 next to so many filters, never below 90 % of them."""
    near = max(8, int(filters + 4) // 8 * 8)
    return near + 8 if near < 0.9 * filters else near


def _plan(architecture: Architecture, in_shape: Shape) -> _Plan:
    depth, width = scaling(*in_shape[1:])
    side = sum(in_shape[1:]) / 2
    most = next(share for limit, share in _DROPPED if side <= limit)
    genes = [_gene(architecture, stage) for stage in range(1, len(ANCESTOR) + 1)]
    repeats = [math.ceil(depth * gene[1]) for gene in genes]
    c_in, stages, done = rounded(width * _STEM), [], 0
    for number, (kernel, _, eights, stride) in enumerate(genes):
        c_out, blocks = rounded(width * 8 * eights), []
        for repeat in range(repeats[number]):
            dropped = most * done / sum(repeats)
            expansion = 1 if number == 0 else _EXPANSION
            first = repeat == 0
            blocks.append(_Block(c_in, c_out, kernel, stride if first else 1, expansion, dropped))
            c_in, done = c_out, done + 1
        stages.append(tuple(blocks))
    return _Plan(rounded(width * _STEM), tuple(stages), rounded(width * _END))


def _gene(architecture: Architecture, stage: int) -> tuple[int, int, int, int]:
    kernel, repeats, eights, stride = ANCESTOR[stage - 1]
    found = whole(architecture, f"kernel{stage}", 1, 31, default=kernel)
    if found % 2 == 0:
        # An even kernel has no centre: it would change the size of the map.
        raise InputError(
            f"network {architecture.network!r}, setting 'kernel{stage}': expected an odd integer "
            f"in 1..31, got {found}"
        )
    if stage in STRIDED:
        stride = whole(architecture, f"stride{stage}", 1, 2, default=stride)
    elif setting(architecture, f"stride{stage}", stride) != stride:
        raise InputError(
            f"network {architecture.network!r}, setting 'stride{stage}': is {stride}; those of "
            f"stages {STRIDED[0]} to {STRIDED[-1]} can be chosen"
        )
    return (
        found,
        whole(architecture, f"repeats{stage}", 1, 64, default=repeats),
        whole(architecture, f"filters{stage}", 1, 512, default=eights),
        stride,
    )


class _EvoPose2D(nn.Module):
    """Names of weights tell stage and repeat (``stage3.1.depthwise.0.weight``)."""

    def __init__(self, plan: _Plan, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.stem = _conv_norm(channels, plan.stem, 3, stride=2, act=True)
        for number, stage in enumerate(plan.stages, start=1):
            self.add_module(f"stage{number}", nn.Sequential(*(_MBConv(block) for block in stage)))
        c_in = plan.stages[-1][-1].c_out
        self.up = nn.Sequential(*(_doubled(plan.end if n else c_in, plan.end) for n in range(_UPS)))
        self.maps = nn.Conv2d(plan.end, n_outputs, 1)
        # Heat maps are zero nearly everywhere: a network that starts there has less to unlearn.
        nn.init.normal_(self.maps.weight, std=0.001)
        assert self.maps.bias is not None
        nn.init.zeros_(self.maps.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(1, len(ANCESTOR) + 1):
            x = self.get_submodule(f"stage{number}")(x)
        return cast(Tensor, self.maps(self.up(x)))


class _MBConv(nn.Module):
    """(n, c_in, h, w) -> (n, c_out, ceil(h / stride), ceil(w / stride))."""

    def __init__(self, block: _Block) -> None:
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
        self.dropped = block.dropped
        self.kept = block.stride == 1 and block.c_in == block.c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        y = self.project(y * self.squeeze(y))
        if not self.kept:
            return cast(Tensor, y)
        if self.training and self.dropped:
            # Stochastic depth (Huang et al. 2016, arXiv 1603.09382), sample by sample.
            alive = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.dropped
            y = y * alive / (1 - self.dropped)
        return cast(Tensor, x + y)


def _conv_norm(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Sequential:
    layers = [
        conv(c_in, c_out, kernel, stride=stride, groups=groups),
        nn.BatchNorm2d(c_out, eps=_EPSILON),
    ]
    return nn.Sequential(*layers, *([nn.SiLU()] if act else []))


def _doubled(c_in: int, c_out: int) -> nn.Sequential:
    """Return transposed convolution, norm, swish: (n, c_in, h, w) -> (n, c_out, 2 h, 2 w)."""
    up = nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, 1, bias=False)
    # Stride 2 spreads the kernel: an output place sees a quarter of it.
    nn.init.normal_(up.weight, std=(2.0 / (c_in * 9 / 4)) ** 0.5)
    return nn.Sequential(up, nn.BatchNorm2d(c_out, eps=_EPSILON), nn.SiLU())
