"""Heat map head: one map for each key point, computed with transposed convolutions.

After Xiao et al. (2018, arXiv 1804.06208, SimpleBaseline): transposed convolutions on the
features of a backbone, then a 1 x 1 convolution. Before them, a 1 x 1 convolution reduces the
channels and optional blocks work at the resolution of the tap.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from evonas.models.networks import blocks
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks import Block, BlockSpec
from evonas.models.networks.common.architecture_settings import (
    choice,
    integer,
    odd_kernel,
    setting,
)
from evonas.models.networks.common.layers import (
    ACTIVATIONS,
    UPSAMPLING,
    activation,
    conv_macs,
    conv_norm,
    heatmap_conv,
    norm_act,
    upsampling_conv,
)
from evonas.models.weight_count import (
    WeightCount,
    conv_norm_weights,
    conv_weights,
    norm_act_weights,
)
from evonas.space import Architecture

_BLOCK = "residual"


@dataclass(frozen=True)
class _Dimensions:
    """Sizes and kinds of a head's layers; ``block`` is None without blocks."""

    width: int
    block: type[Block] | None
    spec: BlockSpec
    repeats: int
    ups: tuple[tuple[int, int], ...]  # channels in and out of each transposed convolution
    up_kernel: int
    act: str

    @property
    def last_channels(self) -> int:
        """Input channels of the last convolution."""
        return self.ups[-1][1] if self.ups else self.width


class HeatmapHead(Network):
    """The family of heat map heads: (n, c, h, w) -> (n, n_outputs, h 2^u, w 2^u).

    Every map of at least 1 x 1 is a valid input, as no layer reduces the resolution.

    Settings beside ``tap``, with defaults in brackets: ``width``, output channels of the 1 x 1
    reduction (64); ``blocks``, number of blocks of that width (1); ``block``, their kind
    (``residual``; any file of ``networks/blocks``); ``kernel``, their kernel, odd (3);
    ``upsamples``, number u of transposed convolutions, 0 to 3 (2); ``channels`` of each (32);
    ``up_kernel``, 2, 3 or 4 (4); ``activation`` (``relu``).
    """

    settings = frozenset(
        {
            *("width", "blocks", "block", "kernel"),
            *("upsamples", "channels", "up_kernel", "activation"),
        }
    )
    dense = True

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the head with fresh weights; see ``Network.build``."""
        sizes = _dimensions(architecture)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["stem"] = conv_norm(in_shape[0], sizes.width, 1, act=sizes.act)
        if sizes.block is not None:
            kind = setting(architecture, "block", _BLOCK)
            trunk = [sizes.block(sizes.spec) for _ in range(sizes.repeats)]
            layers[f"stage1_{kind}"] = nn.Sequential(*trunk)
            if sizes.block.linear_end:
                layers["close"] = nn.Sequential(*norm_act(sizes.width, sizes.act))
        ups = [_upsample(c_in, c_out, sizes.up_kernel, sizes.act) for c_in, c_out in sizes.ups]
        layers["stage2_up"] = nn.Sequential(*ups)
        layers["maps"] = heatmap_conv(sizes.last_channels, n_outputs)
        return nn.Sequential(layers)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``.

        A transposed convolution with a k x k kernel has C D k^2 for each position of its input.
        """
        sizes, (c, h, w) = _dimensions(architecture), in_shape
        total = conv_macs(c, sizes.width, 1, h, w)
        if sizes.block is not None:
            total += sizes.repeats * sizes.block.macs(sizes.spec, h, w)
        for c_in, c_out in sizes.ups:
            total += conv_macs(c_in, c_out, sizes.up_kernel, h, w)
            h, w = 2 * h, 2 * w
        return total + conv_macs(sizes.last_channels, n_outputs, 1, h, w)

    def weights(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> WeightCount:
        """Return the number of values in the weights; see ``Network.weights``."""
        sizes = _dimensions(architecture)
        total = conv_norm_weights(in_shape[0], sizes.width, 1, act=sizes.act)
        if sizes.block is not None:
            total += sizes.block.weights(sizes.spec) * sizes.repeats
            if sizes.block.linear_end:
                total += norm_act_weights(sizes.width, sizes.act)
        for c_in, c_out in sizes.ups:
            total += conv_norm_weights(c_in, c_out, sizes.up_kernel, act=sizes.act)
        return total + conv_weights(sizes.last_channels, n_outputs, 1, bias=True)


def _dimensions(architecture: Architecture) -> _Dimensions:
    width = integer(architecture, "width", 1, 4096, default=64)
    repeats = integer(architecture, "blocks", 0, 64, default=1)
    act = choice(architecture, "activation", ACTIVATIONS, default="relu")
    up_kernel = integer(architecture, "up_kernel", min(UPSAMPLING), max(UPSAMPLING), default=4)
    channels = integer(architecture, "channels", 1, 4096, default=32)
    ups = integer(architecture, "upsamples", 0, 3, default=2)
    kernel = odd_kernel(architecture, "kernel", default=3)
    return _Dimensions(
        width=width,
        block=blocks.load(str(setting(architecture, "block", _BLOCK))) if repeats else None,
        spec=BlockSpec(width, width, kernel=kernel, act=act),
        repeats=repeats,
        ups=tuple((channels if i else width, channels) for i in range(ups)),
        up_kernel=up_kernel,
        act=act,
    )


def _upsample(c_in: int, c_out: int, kernel: int, act: str) -> nn.Sequential:
    """Return transposed convolution, norm, activation: (n, c_in, h, w) -> (n, c_out, 2 h, 2 w)."""
    up = upsampling_conv(c_in, c_out, kernel)
    return nn.Sequential(up, nn.BatchNorm2d(c_out), activation(act, c_out))
