"""Master module: stem, up to three stages of searched blocks, and a regression end.

The stem reduces the tap's channels with a 1 x 1 convolution. Each stage doubles
the channels of the one before and halves its resolution; the first keeps a map of
up to 8 x 8 and halves a larger one, so that large taps do not decide the cost.

Compound scaling at a fixed resolution: operations grow linearly with depth and
with the square of width, so ``n`` multiplies them by 2^n, and ``split`` = s gives
depth d = 2^(n s) and width sqrt(2^n / d) (after Tan and Le 2019, arXiv 1905.11946,
equation 3, without its resolution term; s = 0 is width alone, as in Matak 2020).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from evonas.errors import InputError
from evonas.models.networks import blocks
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks import Block, BlockSpec
from evonas.models.networks.common.architecture_settings import number, one_of, setting, whole
from evonas.models.networks.common.attention import ATTENTIONS
from evonas.models.networks.common.layers import ACTIVATIONS, conv_macs, conv_norm, norm_act
from evonas.models.networks.common.regression_head import ENDS, end_macs, make_end
from evonas.space import Architecture

#: Side of the largest map that the first stage does not halve.
FULL_SIDE = 8
#: The most stages.
STAGES = 3


@dataclass(frozen=True)
class Placed:
    """A block and the h x w map that it stands on."""

    block: type[Block]
    spec: BlockSpec
    h: int
    w: int


@dataclass(frozen=True)
class Plan:
    """Everything that module and cost follow from.

    Attributes:
        stem_channels: channels behind the stem.
        stages: the blocks of each stage, in order.
        out_shape: (channels, height, width) behind the last block.
    """

    stem_channels: int
    stages: tuple[tuple[Placed, ...], ...]
    out_shape: Shape


class MasterModule(Network):
    """The family of master modules.

    Settings (``tap`` is the caller's): ``stem``, ``n``, ``split`` (where n > 0),
    ``stages`` (1 to 3; 3 if left out), for each stage i ``block<i>``,
    ``kernel<i>`` (3 if left out), ``attention<i>``; ``activation``, ``end``,
    ``hidden`` (0 for none), ``dropout`` (0 if left out).
    """

    settings = frozenset(
        {
            *("stem", "stages", "n", "split", "activation", "end", "hidden", "dropout"),
            *(
                f"{name}{stage}"
                for name in ("block", "kernel", "attention")
                for stage in range(1, STAGES + 1)
            ),
        }
    )

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the head network with fresh weights; see ``Network.build``."""
        plan = make_plan(architecture, in_shape)
        act = one_of(architecture, "activation", ACTIVATIONS)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["stem"] = conv_norm(in_shape[0], plan.stem_channels, 1, act=act)
        for i, stage in enumerate(plan.stages, start=1):
            kind = architecture.settings[f"block{i}"]
            layers[f"stage{i}_{kind}"] = nn.Sequential(*(p.block(p.spec) for p in stage))
        if plan.stages[-1][-1].block.linear_end:
            layers["close"] = nn.Sequential(*norm_act(plan.out_shape[0], act))
        layers["end"] = make_end(
            one_of(architecture, "end", ENDS),
            plan.out_shape,
            n_outputs,
            hidden=whole(architecture, "hidden", 0, 65536),
            dropout=number(architecture, "dropout", 0.0, 0.95, default=0.0),
            act=act,
        )
        return nn.Sequential(layers)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        plan = make_plan(architecture, in_shape)
        hidden = whole(architecture, "hidden", 0, 65536)
        return (
            conv_macs(in_shape[0], plan.stem_channels, 1, *in_shape[1:])
            + sum(p.block.macs(p.spec, p.h, p.w) for stage in plan.stages for p in stage)
            + end_macs(one_of(architecture, "end", ENDS), plan.out_shape, n_outputs, hidden=hidden)
        )


def make_plan(architecture: Architecture, in_shape: Shape) -> Plan:
    """Return the blocks of an architecture and the maps that they stand on.

    Raises:
        InputError: a setting is missing or has a value the family does not know.
    """
    stages = whole(architecture, "stages", 1, STAGES, default=STAGES)
    repeats, width = compound(
        stages,
        whole(architecture, "n", 0, 8),
        number(architecture, "split", 0.0, 1.0, default=0.0),
    )
    act = one_of(architecture, "activation", ACTIVATIONS)
    first = channels = _round_to_4(width * whole(architecture, "stem", 1, 65536))
    h, w = in_shape[1:]
    placed: list[tuple[Placed, ...]] = []
    for i in range(stages):
        block = blocks.load(str(setting(architecture, f"block{i + 1}")))
        kernel = _kernel(architecture, f"kernel{i + 1}")
        attention = one_of(architecture, f"attention{i + 1}", ATTENTIONS)
        stride = 2 if i > 0 or max(h, w) > FULL_SIDE else 1
        stage = []
        for repeat in range(repeats[i]):
            spec = BlockSpec(
                c_in=channels,
                c_out=first * 2**i,
                kernel=kernel,
                # A map of one place cannot shrink: a stride there would only drop the shortcut.
                stride=stride if repeat == 0 and max(h, w) > 1 else 1,
                attention=attention,
                act=act,
            )
            stage.append(Placed(block, spec, h, w))
            channels = spec.c_out
            h, w = spec.out_size(h, w)
        placed.append(tuple(stage))
    return Plan(first, tuple(placed), (channels, h, w))


def compound(stages: int, n: int, split: float) -> tuple[list[int], float]:
    """Return the blocks of each stage and the width multiplier.

    The depth is a whole number of blocks in all, the earlier stages taking the
    spare ones, and the width follows from that depth; so operations are 2^n times
    those of n = 0 however depth was rounded.
    """
    total = max(stages, round(stages * 2.0 ** (n * split)))
    repeats = [total // stages + (i < total % stages) for i in range(stages)]
    return repeats, math.sqrt(2.0**n * stages / total)


def _kernel(architecture: Architecture, name: str) -> int:
    kernel = whole(architecture, name, 1, 31, default=3)
    if kernel % 2 == 0:
        # An even kernel has no centre: it would change the size of the map.
        raise InputError(f"master_module, setting {name!r}: expected an odd kernel, got {kernel}")
    return kernel


def _round_to_4(channels: float) -> int:
    """Return the nearest multiple of 4, 4 at least: what vector units like."""
    return max(4, 4 * round(channels / 4))
