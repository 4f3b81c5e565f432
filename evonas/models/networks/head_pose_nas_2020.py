"""The master module of Matak (2020, HeadPoseNAS): 6 block kinds, 6 kernels, 1 multiplier.

Source: github.com/jmatak/HeadPoseNAS, model/model.py and model/representation.py.
The order of layers is: 1 x 1 convolution to 8 channels, 1 x 1 to ch = int(8 sqrt(F)), block 0,
upscaling block 1 (to 2 ch), pooling, blocks 2 and 3, upscaling block 4 (to 24 ch), pooling,
block 5, pooling, flattening, a linear layer of width 128 without activation, and the linear
layer of the outputs. The depth factor is always 1, so the multiplier F changes only the width.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common import matak_blocks
from evonas.models.networks.common.architecture_settings import choice, integer
from evonas.models.networks.common.layers import conv_macs, out_side
from evonas.models.weight_count import (
    WeightCount,
    conv_weights,
    linear_weights,
)
from evonas.space import Architecture

_REDUCED = 8
_HIDDEN = 128
_BLOCKS = 6

#: The default architecture of ``train_specific.py`` in HeadPoseNAS.
AUTHOR_DEFAULT = Architecture(
    "head_pose_nas_2020",
    {f"block{i}": "conv" for i in range(_BLOCKS)}
    | {f"kernel{i}": kernel for i, kernel in enumerate((1, 3, 3, 3, 3, 1))}
    | {"flops": 2},
)


class HeadPoseNas2020(Network):
    """The family of HeadPoseNAS networks.

    Settings: ``block0`` to ``block5`` (``residual``, ``conv``, ``inverted_residual``,
    ``depthwise_separable``), ``kernel0`` to ``kernel5`` (1, 3, 5) and ``flops``, the
    multiplier F (1, 2, 4, 8).
    """

    settings = frozenset(AUTHOR_DEFAULT.settings)

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the module with fresh weights; see ``Network.build``."""
        kinds, k, ch = _read(architecture)
        wide = 24 * ch
        sides = _sides(kinds, in_shape)
        layers: dict[str, nn.Module] = {
            "reduce": matak_blocks.same_conv(in_shape[0], _REDUCED, 1, bias=False),
            "stem": matak_blocks.same_conv(_REDUCED, ch, 1, bias=False),
            f"block0_{kinds[0]}": matak_blocks.normal(kinds[0], ch, k[0]),
            f"block1_{kinds[1]}": matak_blocks.upscale(kinds[1], ch, ch, k[1], sides[0]),
            "pool1": _pool(),
            f"block2_{kinds[2]}": matak_blocks.normal(kinds[2], 2 * ch, k[2]),
            f"block3_{kinds[3]}": matak_blocks.normal(kinds[3], 2 * ch, k[3]),
            f"block4_{kinds[4]}": matak_blocks.upscale(kinds[4], 2 * ch, 12 * ch, k[4], sides[2]),
            "pool4": _pool(),
            f"block5_{kinds[5]}": matak_blocks.normal(kinds[5], wide, k[5]),
            "pool5": _pool(),
            "flatten": nn.Flatten(),
            "hidden": _linear(wide * math.prod(sides[-1]), _HIDDEN),
            "outputs": _linear(_HIDDEN, n_outputs),
        }
        return nn.Sequential(OrderedDict(layers))

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        kinds, k, ch = _read(architecture)
        wide = 24 * ch
        s0, half0, s1, half1, s2, s3 = (h * w for h, w in _sides(kinds, in_shape))
        return (
            conv_macs(in_shape[0], _REDUCED, 1, s0, 1)
            + conv_macs(_REDUCED, ch, 1, s0, 1)
            + matak_blocks.normal_macs(kinds[0], ch, k[0], s0)
            + matak_blocks.upscale_macs(kinds[1], ch, ch, k[1], s0, half0)
            + matak_blocks.normal_macs(kinds[2], 2 * ch, k[2], s1)
            + matak_blocks.normal_macs(kinds[3], 2 * ch, k[3], s1)
            + matak_blocks.upscale_macs(kinds[4], 2 * ch, 12 * ch, k[4], s1, half1)
            + matak_blocks.normal_macs(kinds[5], wide, k[5], s2)
            + wide * s3 * _HIDDEN
            + _HIDDEN * n_outputs
        )

    def weights(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> WeightCount:
        """Return the number of values in the weights; see ``Network.weights``."""
        kinds, k, ch = _read(architecture)
        wide = 24 * ch
        total = conv_weights(in_shape[0], _REDUCED, 1) + conv_weights(_REDUCED, ch, 1)
        for position, channels in ((0, ch), (2, 2 * ch), (3, 2 * ch), (5, wide)):
            total += matak_blocks.normal_weights(kinds[position], channels, k[position])
        total += matak_blocks.upscale_weights(kinds[1], ch, ch, k[1])
        total += matak_blocks.upscale_weights(kinds[4], 2 * ch, 12 * ch, k[4])
        flat = wide * math.prod(_sides(kinds, in_shape)[-1])
        return total + linear_weights(flat, _HIDDEN) + linear_weights(_HIDDEN, n_outputs)


def _read(architecture: Architecture) -> tuple[list[str], list[int], int]:
    """Return the kinds of the blocks, their kernels, and the channels ch of block 0."""
    kinds = [choice(architecture, f"block{i}", matak_blocks.KINDS) for i in range(_BLOCKS)]
    # The paper has odd kernels only; even ones would be valid as well with SAME padding.
    kernels = [integer(architecture, f"kernel{i}", 1, 31) for i in range(_BLOCKS)]
    multiplier = integer(architecture, "flops", 1, 1024)
    return kinds, kernels, int(8 * math.sqrt(multiplier))


def _sides(kinds: list[str], in_shape: Shape) -> list[tuple[int, int]]:
    """Return the (height, width) of six maps.

    They are the input of block 1 and its half, the input of block 4 and its half, the input of
    block 5, and the output of the last pooling.
    """
    size = in_shape[1:]
    sides: list[tuple[int, int]] = []
    for position in (1, 4):
        halved = _half(size)
        sides += [size, halved]
        size = _half(halved if matak_blocks.halves(kinds[position]) else size)
    return [*sides, size, _half(size)]


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return out_side(size[0], 2), out_side(size[1], 2)


def _pool() -> nn.Module:
    # As TensorFlow's SAME padding: an odd side ends with a window of one row or column.
    return nn.MaxPool2d(2, 2, ceil_mode=True)


def _linear(c_in: int, c_out: int) -> nn.Linear:
    layer = nn.Linear(c_in, c_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
