"""The regression end of a head network: feature map -> outputs, and its cost."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from evonas.errors import InputError, nearest
from evonas.models.networks.base import Shape
from evonas.models.networks.common.layers import activation

ENDS = ("pool", "flatten", "depthwise")

#: Side beyond which a map is averaged down before it is flattened: the linear layer
#: behind it would otherwise hold most of a head's parameters.
FLATTEN_SIDE = 4


def make_end(
    kind: str, in_shape: Shape, n_outputs: int, *, hidden: int, dropout: float, act: str
) -> nn.Sequential:
    """Return the end of a network.

    Args:
        kind: ``pool`` (channel means), ``flatten`` (all places, of at most 4 x 4)
            or ``depthwise`` (one learned weighting of the places a channel, as in
            MobileFaceNets, Chen et al. 2018, arXiv 1804.07573).
        in_shape: (channels, height, width) of the feature map.
        n_outputs: length of the output.
        hidden: width of a hidden linear layer; 0 for none.
        dropout: probability of dropping a feature before the last layer.
        act: activation of the hidden layer.

    Returns:
        A module (n, channels, height, width) -> (n, n_outputs).

    Raises:
        InputError: the kind is unknown.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict({kind: _spread(kind, in_shape)})
    width = features(kind, in_shape)
    # Names say what a layer sees: weights on places mean nothing to one that sees means.
    seen = "places" if kind == "flatten" else "channels"
    if hidden:
        inner = nn.Linear(width, hidden)
        nn.init.kaiming_normal_(inner.weight, nonlinearity="relu")
        nn.init.zeros_(inner.bias)
        layers[f"hidden_of_{seen}"] = inner
        layers["act"] = activation(act, hidden)
        width, seen = hidden, "hidden"
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    last = layers[f"outputs_of_{seen}"] = nn.Linear(width, n_outputs)
    # Small first outputs: the targets are centred, and few epochs follow.
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(layers)


def end_macs(kind: str, in_shape: Shape, n_outputs: int, *, hidden: int) -> int:
    """Return the multiply-adds of the end at batch 1."""
    c, h, w = in_shape
    width = features(kind, in_shape)
    total = c * h * w if kind == "depthwise" else 0
    return total + (width * hidden + hidden * n_outputs if hidden else width * n_outputs)


def features(kind: str, in_shape: Shape) -> int:
    """Return the length of the vector that the linear layers see.

    Raises:
        InputError: the kind is unknown.
    """
    c, h, w = in_shape
    if kind == "flatten":
        return c * min(h, FLATTEN_SIDE) * min(w, FLATTEN_SIDE)
    if kind not in ENDS:
        raise InputError(f"unknown end {kind!r}: {nearest(kind, ENDS)}")
    return c


def _spread(kind: str, in_shape: Shape) -> nn.Module:
    c, h, w = in_shape
    if kind == "pool":
        return _MeanOfPlaces()
    if kind == "flatten":
        return nn.Sequential(_shrink(h, w), nn.Flatten())
    if kind == "depthwise":
        return nn.Sequential(_PlaceWeights(c, h, w), nn.Flatten())
    raise InputError(f"unknown end {kind!r}: {nearest(kind, ENDS)}")


class _MeanOfPlaces(nn.Module):
    """(n, c, h, w) -> (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _PlaceWeights(nn.Conv2d):
    """(n, c, h, w) -> (n, c, 1, 1): starts as the mean with some variety."""

    def __init__(self, c: int, h: int, w: int) -> None:
        super().__init__(c, c, (h, w), groups=c)
        with torch.no_grad():
            self.weight.normal_(1.0, 1.0).div_(h * w)
            assert self.bias is not None
            self.bias.zero_()


def _shrink(h: int, w: int) -> nn.Module:
    """Return an average pool to at most 4 x 4; fixed windows, so that any exporter has it."""
    if max(h, w) <= FLATTEN_SIDE:
        return nn.Identity()
    windows = []
    for side in (h, w):
        out = min(side, FLATTEN_SIDE)
        stride = side // out
        windows.append((side - (out - 1) * stride, stride))
    (kernel_h, stride_h), (kernel_w, stride_w) = windows
    return nn.AvgPool2d((kernel_h, kernel_w), (stride_h, stride_w))
