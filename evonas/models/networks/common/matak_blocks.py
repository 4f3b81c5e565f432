"""The eight blocks of Matak (2020, HeadPoseNAS): four kinds, each plain or upscaling.

Padding is TensorFlow's SAME: with stride 2, the odd row and column of zeros is added at the
bottom and right. "Separable" is TensorFlow's separable convolution with depth multiplier 6:
depthwise to 6 C channels without bias, then 1 x 1 with bias. An upscaling block changes the
number of channels, to 2 c for its argument c.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from evonas.models.built_weights import weights_when_built
from evonas.models.networks.common.layers import out_side
from evonas.models.weight_count import WeightCount

_MULTIPLIER = 6

KINDS = ("residual", "conv", "inverted_residual", "depthwise_separable")


def normal(kind: str, c: int, k: int) -> nn.Module:
    """Return a plain block: (n, c, h, w) -> (n, c, h, w).

    Args:
        kind: one of ``KINDS``.
        c: channels.
        k: side of its spatial convolutions, odd.
    """
    if kind == "conv":
        return same_conv(c, c, k)
    if kind == "residual":
        return _Residual([same_conv(c, c, k), _norm(c), prelu(c), same_conv(c, c, k), _norm(c)])
    if kind == "inverted_residual":
        layers = [same_conv(c, c, k), _norm(c), prelu(c)]
        layers += [*_separable(c, c, 1), _norm(c), prelu(c)]
        return _Residual([*layers, same_conv(c, c, k), _norm(c)])
    layers = [*_separable(c, c, k), same_conv(c, c, 1), _norm(c), prelu(c)]
    layers += [*_separable(c, c, k), same_conv(c, c, 1), _norm(c)]
    return nn.Sequential(_Residual(layers), prelu(c))


def upscale(kind: str, c_in: int, c: int, k: int, size: tuple[int, int]) -> nn.Module:
    """Return an upscaling block: (n, c_in, h, w) -> (n, 2 c, h', w').

    Height and width halve, rounded up; those of a ``conv`` block stay, and the pooling after
    it halves them.

    Args:
        kind: one of ``KINDS``.
        c_in, c: channels of the input, half the channels of the output.
        k: side of its spatial convolutions, odd.
        size: (height, width) of the input.
    """
    if kind == "conv":
        return nn.Sequential(_ParallelConvs(c_in, c, k), _norm(2 * c), prelu(2 * c))
    if kind == "residual":
        return nn.Sequential(
            same_conv(c_in, 2 * c, k, stride=2, size=size),
            _norm(2 * c),
            prelu(2 * c),
            same_conv(2 * c, 2 * c, k),
            _norm(2 * c),
            prelu(2 * c),
        )
    if kind == "inverted_residual":
        return nn.Sequential(
            same_conv(c_in, c, k),
            _norm(c),
            prelu(c),
            *_separable(c, c, 1, stride=2, size=size),
            _norm(c),
            prelu(c),
            same_conv(c, 2 * c, k),
            _norm(2 * c),
        )
    return nn.Sequential(
        *_separable(c_in, c, k, stride=2, size=size),
        same_conv(c, c, 1),
        _norm(c),
        prelu(c),
        *_separable(c, c, k),
        same_conv(c, 2 * c, 1),
        _norm(2 * c),
        prelu(2 * c),
    )


def normal_macs(kind: str, c: int, k: int, area: int) -> int:
    """Return a plain block's multiply-adds on a map with ``area`` = height times width."""
    formulas: dict[str, Callable[[], int]] = {
        "conv": lambda: c * c * k * k,
        "residual": lambda: 2 * c * c * k * k,
        "inverted_residual": lambda: 2 * c * c * k * k + 6 * c * c + 6 * c,
        "depthwise_separable": lambda: 2 * (6 * c * k * k + 7 * c * c),
    }
    return area * formulas[kind]()


def upscale_macs(kind: str, c_in: int, c: int, k: int, area: int, halved_area: int) -> int:
    """Return an upscaling block's multiply-adds.

    Args:
        kind: one of ``KINDS``.
        c_in, c: channels of the input, half the channels of the output.
        k: side of its spatial convolutions.
        area, halved_area: height times width of the input, and of the halved map.
    """
    kk = k * k
    if kind == "conv":
        return area * 2 * c_in * c * kk
    if kind == "residual":
        return halved_area * 2 * c * kk * (c_in + 2 * c)
    if kind == "inverted_residual":
        return area * c_in * c * kk + halved_area * (6 * c + 6 * c * c + 2 * c * c * kk)
    first = 6 * c_in * kk + 6 * c_in * c + c * c
    second = 6 * c * kk + 6 * c * c + 2 * c * c
    return halved_area * (first + second)


@cache
def normal_weights(kind: str, c: int, k: int) -> WeightCount:
    """Return the number of values in the weights of a plain block; built once for each block."""
    return weights_when_built(lambda: normal(kind, c, k))


@cache
def upscale_weights(kind: str, c_in: int, c: int, k: int) -> WeightCount:
    """Return the number of values in the weights of an upscaling block; see ``normal_weights``."""
    return weights_when_built(lambda: upscale(kind, c_in, c, k, (2, 2)))


def halves(kind: str) -> bool:
    """Whether the upscaling block of this kind halves height and width."""
    return kind != "conv"


def same_conv(
    c_in: int,
    c_out: int,
    k: int,
    *,
    stride: int = 1,
    size: tuple[int, int] = (1, 1),
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Return a convolution with TensorFlow's SAME padding and Xavier initialisation.

    Args:
        c_in, c_out: channels.
        k: side of the kernel, odd.
        stride: 1 or 2.
        size: (height, width) of the input; used only with stride 2.
        groups, bias: as in ``nn.Conv2d``.
    """
    total_h, total_w = (max((out_side(side, stride) - 1) * stride + k - side, 0) for side in size)
    padding, pad = (k // 2, k // 2), None
    if stride > 1:
        padding = (total_h // 2, total_w // 2)
        if total_h % 2 or total_w % 2:
            pad = nn.ZeroPad2d((0, total_w % 2, 0, total_h % 2))
    layer = nn.Conv2d(c_in, c_out, k, stride, padding, groups=groups, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer if pad is None else nn.Sequential(pad, layer)


class _Residual(nn.Module):
    """Layers with an identity shortcut: x -> body(x) + x."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y + x


class _ParallelConvs(nn.Module):
    """Two convolutions of one input, concatenated: (n, c_in, h, w) -> (n, 2 c, h, w)."""

    def __init__(self, c_in: int, c: int, k: int) -> None:
        super().__init__()
        self.first, self.second = same_conv(c_in, c, k), same_conv(c_in, c, k)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], dim=1)


def _separable(
    c_in: int, c_out: int, k: int, stride: int = 1, size: tuple[int, int] = (1, 1)
) -> list[nn.Module]:
    wide = _MULTIPLIER * c_in
    return [
        same_conv(c_in, wide, k, stride=stride, size=size, groups=c_in, bias=False),
        same_conv(wide, c_out, 1),
    ]


def _norm(c: int) -> nn.Module:
    # Torch's momentum of 0.1 is TensorFlow's decay of 0.9.
    return nn.BatchNorm2d(c, eps=1e-5, momentum=0.1)


def prelu(c: int) -> nn.Module:
    """Return a PReLU with one slope for each channel, 0.1 at first."""
    return nn.PReLU(c, init=0.1)
