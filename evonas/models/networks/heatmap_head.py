"""Heat map head: a map a key point, with learned upsampling as in SimpleBaseline.

After Xiao et al. (2018, arXiv 1804.06208): transposed convolutions on the features of
a backbone, and a 1 x 1 convolution to the maps. Before them the channels are reduced
and, where asked for, blocks look around at the tap's own resolution.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from evonas.errors import InputError
from evonas.models.networks import blocks
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks import Block, BlockSpec
from evonas.models.networks.common.architecture_settings import one_of, setting, whole
from evonas.models.networks.common.layers import (
    ACTIVATIONS,
    activation,
    conv_macs,
    conv_norm,
    norm_act,
)
from evonas.space import Architecture

_BLOCK = "residual"
#: Side of a transposed convolution -> its padding and output padding: stride 2 doubles
#: the map exactly. Xiao et al. use 4, which is symmetric; 3 costs 9 / 16 of it.
_UPSAMPLING = {2: (0, 0), 3: (1, 1), 4: (1, 0)}


@dataclass(frozen=True)
class _Plan:
    """Everything that module and cost follow from; ``block`` is None without blocks."""

    width: int
    block: type[Block] | None
    spec: BlockSpec
    repeats: int
    ups: tuple[tuple[int, int], ...]  # channels in and out of each transposed convolution
    up_kernel: int
    act: str

    @property
    def channels(self) -> int:
        """Of the map that the last convolution sees."""
        return self.ups[-1][1] if self.ups else self.width


class HeatmapHead(Network):
    """The family of heat map heads: (n, c, h, w) -> (n, n_outputs, h 2^u, w 2^u).

    It builds on every map of at least 1 x 1: nothing in it shrinks a map.

    Settings (``tap`` is the caller's), each with what it is if left out: ``width``, the
    channels behind the 1 x 1 reduction (64); ``blocks``, how many at that width (1),
    ``block``, their kind (``residual``; any file of ``networks/blocks``) and
    ``kernel``, odd (3); ``upsamples``, u, 0 to 3 (2), ``channels`` of each (32) and
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
        plan = _plan(architecture)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["stem"] = conv_norm(in_shape[0], plan.width, 1, act=plan.act)
        if plan.block is not None:
            kind = setting(architecture, "block", _BLOCK)
            trunk = [plan.block(plan.spec) for _ in range(plan.repeats)]
            layers[f"stage1_{kind}"] = nn.Sequential(*trunk)
            if plan.block.linear_end:
                layers["close"] = nn.Sequential(*norm_act(plan.width, plan.act))
        ups = [_doubled(c_in, c_out, plan.up_kernel, plan.act) for c_in, c_out in plan.ups]
        layers["stage2_up"] = nn.Sequential(*ups)
        last = layers["maps"] = nn.Conv2d(plan.channels, n_outputs, 1)
        # Heat maps are zero nearly everywhere: a network that starts there has less to unlearn.
        nn.init.normal_(last.weight, std=0.001)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        return nn.Sequential(layers)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``.

        A transposed convolution has C D k^2 for each place of its input.
        """
        plan, (c, h, w) = _plan(architecture), in_shape
        total = conv_macs(c, plan.width, 1, h, w)
        if plan.block is not None:
            total += plan.repeats * plan.block.macs(plan.spec, h, w)
        for c_in, c_out in plan.ups:
            total += conv_macs(c_in, c_out, plan.up_kernel, h, w)
            h, w = 2 * h, 2 * w
        return total + conv_macs(plan.channels, n_outputs, 1, h, w)


def _plan(architecture: Architecture) -> _Plan:
    width = whole(architecture, "width", 1, 4096, default=64)
    repeats = whole(architecture, "blocks", 0, 64, default=1)
    kernel = whole(architecture, "kernel", 1, 31, default=3)
    act = one_of(architecture, "activation", ACTIVATIONS, default="relu")
    up_kernel = whole(architecture, "up_kernel", min(_UPSAMPLING), max(_UPSAMPLING), default=4)
    channels = whole(architecture, "channels", 1, 4096, default=32)
    ups = whole(architecture, "upsamples", 0, 3, default=2)
    if kernel % 2 == 0:
        # An even kernel has no centre: it would change the size of the map.
        raise InputError(
            f"network {architecture.network!r}, setting 'kernel': expected an odd integer in "
            f"1..31, got {kernel}"
        )
    return _Plan(
        width=width,
        block=blocks.load(str(setting(architecture, "block", _BLOCK))) if repeats else None,
        spec=BlockSpec(width, width, kernel=kernel, act=act),
        repeats=repeats,
        ups=tuple((channels if i else width, channels) for i in range(ups)),
        up_kernel=up_kernel,
        act=act,
    )


def _doubled(c_in: int, c_out: int, kernel: int, act: str) -> nn.Sequential:
    """Return transposed convolution, norm, activation: (n, c_in, h, w) -> (n, c_out, 2 h, 2 w)."""
    padding, more = _UPSAMPLING[kernel]
    up = nn.ConvTranspose2d(c_in, c_out, kernel, 2, padding, more, bias=False)
    # Stride 2 spreads the kernel: an output place sees a quarter of it.
    nn.init.normal_(up.weight, std=(2.0 / (c_in * kernel * kernel / 4)) ** 0.5)
    return nn.Sequential(up, nn.BatchNorm2d(c_out), activation(act, c_out))
