"""ShuffleNetV2 on whole images: a small published baseline, in three widths.

Ma et al. 2018 (arXiv 1807.11164), table 5, widths 0.5x, 1.0x and 1.5x.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks.base import BlockSpec
from evonas.models.networks.blocks.shufflenet_v2 import ShuffleNetV2 as ShuffleNetBlock
from evonas.models.networks.common.architecture_settings import choice, setting
from evonas.models.networks.common.layers import (
    conv,
    conv_macs,
    conv_norm,
    out_side,
    output_linear,
)
from evonas.space import Architecture

CLASSIFIERS = ("dropped", "kept")

_STEM, _LAST, _CLASSES = 24, 1024, 1000
#: width -> channels of stage2 to stage4.
_STAGES = {0.5: (48, 96, 192), 1.0: (116, 232, 464), 1.5: (176, 352, 704)}
_REPEATS = (4, 8, 4)


class ShuffleNetV2(Network):
    """The family of ShuffleNetV2 networks.

    Settings: ``width`` (0.5, 1.0 or 1.5; default 1.0) and ``classifier``: with ``dropped``
    (default) one linear layer ``fc`` computes the outputs; with ``kept`` a linear layer
    ``outputs`` computes them from the 1000 scores of the ImageNet classifier ``fc``, without an
    activation between, which agrees with the parameter count of a published head pose study.

    Parameters with 198 outputs, dropped and kept: 544,742 and 1,564,990 at width 0.5,
    1,456,554 and 2,476,802 at 1.0, 2,681,574 and 3,701,822 at 1.5.

    Weights have their common names (``conv1.0``, ``stage2.0.branch1.0``, ``conv5.1``, ``fc``),
    so that training can start from published ImageNet weights.
    """

    settings = frozenset({"width", "classifier"})

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the network with fresh weights; see ``Network.build``."""
        return _ShuffleNet(
            in_shape[0], n_outputs, _stages(architecture), _keeps_classifier(architecture)
        )

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        channels, *size = in_shape
        h, w = (out_side(side, 2) for side in size)
        total = conv_macs(channels, _STEM, 3, h, w)
        h, w = out_side(h, 2), out_side(w, 2)
        c_in = _STEM
        for c_out, repeats in zip(_stages(architecture), _REPEATS, strict=True):
            total += unit_macs(c_in, c_out, 2, h, w)
            h, w, c_in = out_side(h, 2), out_side(w, 2), c_out
            total += (repeats - 1) * unit_macs(c_out, c_out, 1, h, w)
        total += conv_macs(c_in, _LAST, 1, h, w)
        if _keeps_classifier(architecture):
            return total + _LAST * _CLASSES + _CLASSES * n_outputs
        return total + _LAST * n_outputs


def _keeps_classifier(architecture: Architecture) -> bool:
    return choice(architecture, "classifier", CLASSIFIERS, default="dropped") == "kept"


def _stages(architecture: Architecture) -> tuple[int, int, int]:
    """Return the channels of stage2 to stage4."""
    width = setting(architecture, "width", 1.0)
    is_number = isinstance(width, int | float) and not isinstance(width, bool)
    if not is_number or width not in _STAGES:
        raise InputError(
            f"network {architecture.network!r}, setting 'width': "
            f"expected one of {', '.join(map(str, _STAGES))}, got {width!r}"
        )
    return _STAGES[float(width)]


class Unit(nn.Module):
    """ShuffleNetV2 unit: (n, c_in, h, w) -> (n, c_out, ceil(h / stride), ceil(w / stride)).

    Ma et al. 2018 (arXiv 1807.11164), figure 3 (c) at stride 1, where half of the channels
    pass unchanged and ``c_in`` must be ``c_out``, and (d) at stride 2. ``c_out`` is even. The
    block ``blocks.shufflenet_v2`` computes the same function with other names of weights;
    here the names are those of published state dicts.
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
        """Return the outputs of both branches, with their channels interleaved."""
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        pair = [self.branch1(left), self.branch2(right)]
        return torch.stack(pair, dim=2).flatten(1, 2)


def unit_macs(c_in: int, c_out: int, stride: int, h: int, w: int) -> int:
    """Return the multiply-adds of a unit on an h x w input."""
    return ShuffleNetBlock.body_macs(BlockSpec(c_in, c_out, stride=stride), h, w)


def _pointwise(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    return conv(c_in, c_out, 1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, ...]:
    return conv(channels, channels, 3, stride=stride, groups=channels), nn.BatchNorm2d(channels)


class _ShuffleNet(nn.Module):
    """Module of the family: (n, c, h, w) -> (n, n_outputs)."""

    def __init__(
        self, channels: int, n_outputs: int, stages: tuple[int, ...], keep_classifier: bool
    ) -> None:
        super().__init__()
        self.conv1 = conv_norm(channels, _STEM, 3, stride=2, act="relu")
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        c_in = _STEM
        for number, (c_out, repeats) in enumerate(zip(stages, _REPEATS, strict=True), start=2):
            units = [Unit(c_in, c_out, 2)] + [Unit(c_out, c_out, 1) for _ in range(repeats - 1)]
            self.add_module(f"stage{number}", nn.Sequential(*units))
            c_in = c_out
        self.conv5 = conv_norm(c_in, _LAST, 1, act="relu")
        if keep_classifier:
            self.fc = nn.Linear(_LAST, _CLASSES)
            self.outputs: nn.Module = output_linear(_CLASSES, n_outputs)
        else:
            self.fc = output_linear(_LAST, n_outputs)
            self.outputs = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        for number in range(2, len(_REPEATS) + 2):
            x = self.get_submodule(f"stage{number}")(x)
        x = self.conv5(x).mean((2, 3))
        return cast(Tensor, self.outputs(self.fc(x)))
