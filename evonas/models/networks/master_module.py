"""Master module: a head of a stem, up to three stages of searched blocks, and linear layers.

The stem reduces the tap's channels with a 1 x 1 convolution. Each further stage doubles the
channels and halves the resolution of the previous stage. Whether the first stage halves the
tap's resolution is a setting, ``stride1``.

Compound scaling at a fixed resolution: the number of operations grows linearly with depth and
quadratically with width. ``n`` multiplies it by 2^n, and ``split`` = s gives depth
d = 2^(n s) and width sqrt(2^n / d) (after Tan and Le 2019, arXiv 1905.11946, equation 3,
without its resolution term; s = 0 scales width alone, as in Matak 2020).
"""

from __future__ import annotations

import math
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
    real,
    setting,
)
from evonas.models.networks.common.attention import ATTENTIONS
from evonas.models.networks.common.layers import ACTIVATIONS, conv_macs, conv_norm, norm_act
from evonas.models.networks.common.regression_head import ENDS, end_macs, end_weights, make_end
from evonas.models.weight_count import (
    WeightCount,
    conv_norm_weights,
    norm_act_weights,
)
from evonas.space import Architecture

#: Side of the largest map that the first stage does not halve without ``stride1``.
FULL_SIDE = 8
#: Largest number of stages.
STAGES = 3


@dataclass(frozen=True)
class BlockInstance:
    """A block's class and shape, and the height and width of its input."""

    block: type[Block]
    spec: BlockSpec
    h: int
    w: int


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a master module, from which both the module and its cost follow.

    Attributes:
        stem_channels: output channels of the stem.
        stages: the blocks of each stage, in order.
        out_shape: (channels, height, width) of the last block's output.
    """

    stem_channels: int
    stages: tuple[tuple[BlockInstance, ...], ...]
    out_shape: Shape


class MasterModule(Network):
    """The family of master modules.

    Settings beside ``tap``: ``stem`` (channels), ``n``, ``split`` (read if n > 0), ``stages``
    (1 to 3; default 3), ``stride1`` (1 or 2; default 1 for maps up to 8 x 8, else 2, so that the
    cost does not depend mainly on the tap's resolution), for each stage i ``block<i>``,
    ``kernel<i>`` (default 3) and ``attention<i>``; ``activation``, ``end``, ``hidden`` (0: no
    hidden layer), ``dropout`` (default 0).
    """

    settings = frozenset(
        {
            *("stem", "stages", "n", "split", "stride1"),
            *("activation", "end", "hidden", "dropout"),
            *(
                f"{name}{stage}"
                for name in ("block", "kernel", "attention")
                for stage in range(1, STAGES + 1)
            ),
        }
    )
    # The first is the residual head at its default end; the second is cheap on large maps.
    designs = tuple(
        {"n": 0, "stages": 2, "block1": "residual", "block2": "residual"}
        | {"kernel1": 3, "kernel2": 3, "stride1": stride, "end": end}
        for stride, end in ((1, "flatten"), (2, "depthwise"))
    )
    width = "stem"

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the head network with fresh weights; see ``Network.build``."""
        sizes = dimensions(architecture, in_shape)
        act = choice(architecture, "activation", ACTIVATIONS)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["stem"] = conv_norm(in_shape[0], sizes.stem_channels, 1, act=act)
        for i, stage in enumerate(sizes.stages, start=1):
            kind = architecture.settings[f"block{i}"]
            layers[f"stage{i}_{kind}"] = nn.Sequential(*(b.block(b.spec) for b in stage))
        if sizes.stages[-1][-1].block.linear_end:
            layers["close"] = nn.Sequential(*norm_act(sizes.out_shape[0], act))
        layers["end"] = make_end(
            choice(architecture, "end", ENDS),
            sizes.out_shape,
            n_outputs,
            hidden=integer(architecture, "hidden", 0, 65536),
            dropout=real(architecture, "dropout", 0.0, 0.95, default=0.0),
            act=act,
        )
        return nn.Sequential(layers)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        sizes = dimensions(architecture, in_shape)
        hidden = integer(architecture, "hidden", 0, 65536)
        return (
            conv_macs(in_shape[0], sizes.stem_channels, 1, *in_shape[1:])
            + sum(b.block.macs(b.spec, b.h, b.w) for stage in sizes.stages for b in stage)
            + end_macs(choice(architecture, "end", ENDS), sizes.out_shape, n_outputs, hidden=hidden)
        )

    def weights(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> WeightCount:
        """Return the number of values in the weights; see ``Network.weights``."""
        sizes = dimensions(architecture, in_shape)
        act = choice(architecture, "activation", ACTIVATIONS)
        hidden, end = integer(architecture, "hidden", 0, 65536), choice(architecture, "end", ENDS)
        total = conv_norm_weights(in_shape[0], sizes.stem_channels, 1, act=act)
        total += end_weights(end, sizes.out_shape, n_outputs, hidden=hidden, act=act)
        for one in (one for stage in sizes.stages for one in stage):
            total += one.block.weights(one.spec)
        if sizes.stages[-1][-1].block.linear_end:
            total += norm_act_weights(sizes.out_shape[0], act)
        return total


def dimensions(architecture: Architecture, in_shape: Shape) -> Dimensions:
    """Return the blocks of an architecture, with the size of each block's input.

    Raises:
        InputError: a setting is missing or has an unknown value.
    """
    n_stages = integer(architecture, "stages", 1, STAGES, default=STAGES)
    repeats, width = compound(
        n_stages,
        integer(architecture, "n", 0, 8),
        real(architecture, "split", 0.0, 1.0, default=0.0),
    )
    act = choice(architecture, "activation", ACTIVATIONS)
    first = channels = _round_to_4(width * integer(architecture, "stem", 1, 65536))
    h, w = in_shape[1:]
    first_stride = integer(architecture, "stride1", 1, 2, default=1 + (max(h, w) > FULL_SIDE))
    stages: list[tuple[BlockInstance, ...]] = []
    for i in range(n_stages):
        block = blocks.load(str(setting(architecture, f"block{i + 1}")))
        kernel = odd_kernel(architecture, f"kernel{i + 1}", default=3)
        attention = choice(architecture, f"attention{i + 1}", ATTENTIONS)
        stride = 2 if i > 0 else first_stride
        stage = []
        for repeat in range(repeats[i]):
            spec = BlockSpec(
                c_in=channels,
                c_out=first * 2**i,
                kernel=kernel,
                # A 1 x 1 map cannot shrink: a stride would only remove the block's shortcut.
                stride=stride if repeat == 0 and max(h, w) > 1 else 1,
                attention=attention,
                act=act,
            )
            stage.append(BlockInstance(block, spec, h, w))
            channels = spec.c_out
            h, w = spec.out_size(h, w)
        stages.append(tuple(stage))
    return Dimensions(first, tuple(stages), (channels, h, w))


def compound(stages: int, n: int, split: float) -> tuple[list[int], float]:
    """Return the number of blocks of each stage and the width multiplier.

    The total number of blocks is rounded, and the first stages take the remainder of its
    division by ``stages``. The width is computed from the rounded depth, so the number of
    operations is 2^n times that of n = 0 in spite of the rounding.
    """
    total = max(stages, round(stages * 2.0 ** (n * split)))
    repeats = [total // stages + (i < total % stages) for i in range(stages)]
    return repeats, math.sqrt(2.0**n * stages / total)


def _round_to_4(channels: float) -> int:
    """Return the nearest multiple of 4, at least 4, as SIMD units process 4 values at once."""
    return max(4, 4 * round(channels / 4))
