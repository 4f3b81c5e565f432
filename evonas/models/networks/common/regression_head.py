"""Last layers of a head network, from the feature map to the outputs, and their cost."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from evonas.errors import InputError, nearest
from evonas.models.networks.base import Shape
from evonas.models.networks.common.layers import activation, output_linear
from evonas.models.weight_count import (
    WeightCount,
    activation_weights,
    linear_weights,
)

ENDS = ("pool", "flatten", "depthwise")

#: Largest side of a map that is flattened; larger maps are average-pooled first, as the linear
#: layer after them would otherwise hold most of a head's parameters.
FLATTEN_SIDE = 4


def make_end(
    kind: str, in_shape: Shape, n_outputs: int, *, hidden: int, dropout: float, act: str
) -> nn.Sequential:
    """Return the last layers of a network: spatial reduction, linear layers.

    Args:
        kind: ``pool`` (channel means), ``flatten`` (all positions, at most 4 x 4) or
            ``depthwise`` (a learned weight for each position and channel, as in
            MobileFaceNets, Chen et al. 2018, arXiv 1804.07573).
        in_shape: (channels, height, width) of the feature map.
        n_outputs: length of the output.
        hidden: width of the hidden linear layer; 0 for no hidden layer.
        dropout: probability of dropping a feature before the last layer.
        act: activation of the hidden layer.

    Returns:
        A module (n, channels, height, width) -> (n, n_outputs).

    Raises:
        InputError: the kind is unknown.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict({kind: _reduction(kind, in_shape)})
    width = features(kind, in_shape)
    # Weights are inherited by name, and weights of positions do not fit channel means.
    source = "places" if kind == "flatten" else "channels"
    if hidden:
        inner = nn.Linear(width, hidden)
        nn.init.kaiming_normal_(inner.weight, nonlinearity="relu")
        nn.init.zeros_(inner.bias)
        layers[f"hidden_of_{source}"] = inner
        layers["act"] = activation(act, hidden)
        width, source = hidden, "hidden"
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers[f"outputs_of_{source}"] = output_linear(width, n_outputs)
    return nn.Sequential(layers)


def end_macs(kind: str, in_shape: Shape, n_outputs: int, *, hidden: int) -> int:
    """Return the multiply-adds of ``make_end``'s layers at batch 1."""
    c, h, w = in_shape
    width = features(kind, in_shape)
    total = c * h * w if kind == "depthwise" else 0
    return total + (width * hidden + hidden * n_outputs if hidden else width * n_outputs)


def end_weights(
    kind: str, in_shape: Shape, n_outputs: int, *, hidden: int, act: str
) -> WeightCount:
    """Return the number of values in the weights of ``make_end``'s layers."""
    c, h, w = in_shape
    width, total = features(kind, in_shape), WeightCount()
    if kind == "depthwise":
        total += WeightCount(c * h * w + c)
    if hidden:
        total += linear_weights(width, hidden) + activation_weights(act, hidden)
        width = hidden
    return total + linear_weights(width, n_outputs)


def features(kind: str, in_shape: Shape) -> int:
    """Return the length of the vector that the first linear layer of ``make_end`` receives.

    Raises:
        InputError: the kind is unknown.
    """
    c, h, w = in_shape
    if kind == "flatten":
        return c * min(h, FLATTEN_SIDE) * min(w, FLATTEN_SIDE)
    if kind not in ENDS:
        raise InputError(f"unknown end {kind!r}: {nearest(kind, ENDS)}")
    return c


def _reduction(kind: str, in_shape: Shape) -> nn.Module:
    c, h, w = in_shape
    if kind == "pool":
        return _GlobalMean()
    if kind == "flatten":
        return nn.Sequential(_shrink(h, w), nn.Flatten())
    if kind == "depthwise":
        return nn.Sequential(_PositionWeights(c, h, w), nn.Flatten())
    raise InputError(f"unknown end {kind!r}: {nearest(kind, ENDS)}")


class _GlobalMean(nn.Module):
    """Global average pooling: (n, c, h, w) -> (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _PositionWeights(nn.Conv2d):
    """Weighted sum over positions: (n, c, h, w) -> (n, c, 1, 1); at first a random projection.

    A mean at first would hide where things are, and would take epochs to unlearn.
    """

    def __init__(self, c: int, h: int, w: int) -> None:
        super().__init__(c, c, (h, w), groups=c)
        with torch.no_grad():
            self.weight.normal_().div_(math.sqrt(h * w))
            assert self.bias is not None
            self.bias.zero_()


def _shrink(h: int, w: int) -> nn.Module:
    """Return an average pool to at most 4 x 4, with fixed windows because ONNX needs them."""
    if max(h, w) <= FLATTEN_SIDE:
        return nn.Identity()
    windows = []
    for side in (h, w):
        out = min(side, FLATTEN_SIDE)
        stride = side // out
        windows.append((side - (out - 1) * stride, stride))
    (kernel_h, stride_h), (kernel_w, stride_w) = windows
    return nn.AvgPool2d((kernel_h, kernel_w), (stride_h, stride_w))
