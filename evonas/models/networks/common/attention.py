"""Attention over channels and positions: squeeze-and-excitation and CBAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.errors import InputError, nearest
from evonas.models.networks.common.layers import conv, conv_macs
from evonas.models.weight_count import (
    WeightCount,
    conv_weights,
    linear_weights,
    norm_weights,
)

ATTENTIONS = ("none", "se", "cbam")


def make_attention(kind: str, channels: int) -> nn.Module:
    """Return an attention module; its output has the shape of its input, (n, channels, h, w).

    Args:
        kind: ``none``, ``se`` (squeeze-and-excitation) or ``cbam``.
        channels: channels of the map.

    Raises:
        InputError: the kind is unknown.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "se":
        return SqueezeExcitation(channels)
    if kind == "cbam":
        return CBAM(channels)
    raise InputError(f"unknown attention {kind!r}: {nearest(kind, ATTENTIONS)}")


def attention_macs(kind: str, channels: int, h: int, w: int) -> int:
    """Return the multiply-adds of an attention module on an h x w map.

    Raises:
        InputError: the kind is unknown.
    """
    if kind == "none":
        return 0
    if kind == "se":
        return 2 * channels * _hidden(channels, 4)
    if kind == "cbam":
        # CBAM applies its perceptron twice: to the channel means and to the channel maxima.
        return 4 * channels * _hidden(channels, 16) + conv_macs(2, 1, 7, h, w)
    raise InputError(f"unknown attention {kind!r}: {nearest(kind, ATTENTIONS)}")


def attention_weights(kind: str, channels: int) -> WeightCount:
    """Return the number of values in the weights of an attention module.

    Raises:
        InputError: the kind is unknown.
    """
    if kind == "none":
        return WeightCount()
    if kind == "se":
        return _perceptron_weights(channels, _hidden(channels, 4))
    if kind == "cbam":
        spatial = conv_weights(2, 1, 7) + norm_weights(1)
        return _perceptron_weights(channels, _hidden(channels, 16)) + spatial
    raise InputError(f"unknown attention {kind!r}: {nearest(kind, ATTENTIONS)}")


def _perceptron_weights(channels: int, hidden: int) -> WeightCount:
    return linear_weights(channels, hidden) + linear_weights(hidden, channels)


def _hidden(channels: int, reduction: int) -> int:
    """Return the width of the perceptron's hidden layer, at least 4 because heads are narrow."""
    return max(4, channels // reduction)


class _Perceptron(nn.Sequential):
    """Two linear layers with a ReLU between: (n, c) -> (n, c)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation with reduction 4 (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.excite = _Perceptron(channels, _hidden(channels, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (n, c, h, w) with every channel multiplied by a factor in (0, 1)."""
        return x * torch.sigmoid(self.excite(x.mean((2, 3))))[:, :, None, None]


class CBAM(nn.Module):
    """Channel attention, then spatial attention, reduction 16 (Woo et al. 2018, 1807.06521)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = _Perceptron(channels, _hidden(channels, 16))
        self.spatial = nn.Sequential(conv(2, 1, 7), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (n, c, h, w) with channels, then positions multiplied by factors in (0, 1)."""
        scale = torch.sigmoid(self.channel(x.mean((2, 3))) + self.channel(x.amax((2, 3))))
        x = x * scale[:, :, None, None]
        summary = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(summary))
