"""ResNet-50 on whole images, plain or with CBAM: the published baseline of head pose.

He et al. 2016 (arXiv 1512.03385, table 1, 50 layers), with the stride of a bottleneck on its
3 x 3 convolution: variant "v1.5", which the common ImageNet weights have. One linear layer
computes the outputs; it equals the three linear layers of Ruiz et al. (2018, arXiv
1710.00925) with 198 outputs, three angles of 66 bins.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common.architecture_settings import choice
from evonas.models.networks.common.attention import CBAM, attention_macs
from evonas.models.networks.common.layers import (
    conv,
    conv_macs,
    conv_norm,
    out_side,
    output_linear,
)
from evonas.space import Architecture

ATTENTIONS = ("none", "cbam")

_STEM = 64
_EXPANSION = 4
#: (inner width, bottlenecks, stride of the first) of layer1 to layer4.
_LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class ResNet50(Network):
    """The family of ResNet-50 networks, with or without attention.

    Setting: ``attention``, ``none`` (default) or ``cbam``: channel attention, then spatial
    attention with reduction 16 in all 16 bottlenecks, before the residual addition (Woo et
    al. 2018, arXiv 1807.06521, figure 3).

    With 198 outputs on 3 x 224 x 224 the plain network has 23,913,734 parameters and
    4,087,541,760 multiply-adds, the network with CBAM 26,446,326 and 4,093,930,614. (The code
    of Ruiz et al. has one more linear layer, of 6,156 parameters, that it never uses; published
    totals may include them, such as 26,452,482 with CBAM.)

    Weights have their common names (``conv1``, ``layer1.0.bn3``, ``fc``), so that training can
    start from published ImageNet weights.
    """

    settings = frozenset({"attention"})

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the network with fresh weights; see ``Network.build``."""
        attention = choice(architecture, "attention", ATTENTIONS, default="none")
        return _ResNet(in_shape[0], n_outputs, attention)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        attention = choice(architecture, "attention", ATTENTIONS, default="none")
        channels, *size = in_shape
        h, w = (out_side(side, 2) for side in size)
        total = conv_macs(channels, _STEM, 7, h, w)
        h, w = out_side(h, 2), out_side(w, 2)
        c_in = _STEM
        for width, repeats, first_stride in _LAYERS:
            for stride in (first_stride, *[1] * (repeats - 1)):
                total += _bottleneck_macs(c_in, width, stride, h, w)
                h, w, c_in = out_side(h, stride), out_side(w, stride), _EXPANSION * width
                total += attention_macs(attention, c_in, h, w)
        return total + c_in * n_outputs


def _bottleneck_macs(c_in: int, width: int, stride: int, h: int, w: int) -> int:
    """Return the multiply-adds of a bottleneck on an h x w input, without its attention."""
    c_out = _EXPANSION * width
    h_out, w_out = out_side(h, stride), out_side(w, stride)
    total = conv_macs(c_in, width, 1, h, w)
    total += conv_macs(width, width, 3, h_out, w_out) + conv_macs(width, c_out, 1, h_out, w_out)
    return total + (conv_macs(c_in, c_out, 1, h_out, w_out) if c_in != c_out else 0)


class _ResNet(nn.Module):
    """Module of the family: (n, c, h, w) -> (n, n_outputs)."""

    def __init__(self, channels: int, n_outputs: int, attention: str) -> None:
        super().__init__()
        self.conv1 = conv(channels, _STEM, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        c_in = _STEM
        for number, (width, repeats, first_stride) in enumerate(_LAYERS, start=1):
            blocks = []
            for stride in (first_stride, *[1] * (repeats - 1)):
                blocks.append(_Bottleneck(c_in, width, stride, attention))
                c_in = _EXPANSION * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.fc = output_linear(c_in, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_LAYERS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))


class _Bottleneck(nn.Module):
    """Bottleneck: (n, c_in, h, w) -> (n, 4 width, ceil(h / stride), ceil(w / stride))."""

    def __init__(self, c_in: int, width: int, stride: int, attention: str) -> None:
        super().__init__()
        c_out = _EXPANSION * width
        self.conv1 = conv(c_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, c_out, 1)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.attention = _cbam(c_out) if attention == "cbam" else None
        self.downsample = conv_norm(c_in, c_out, 1, stride=stride) if c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.attention is not None:
            y = self.attention(y)
        return cast(Tensor, self.relu(y + (x if self.downsample is None else self.downsample(x))))


def _cbam(channels: int) -> CBAM:
    """Return a CBAM module, initialised as in its authors' ImageNet networks.

    The batch norm of the spatial gate has scale 0, so the gate is 1/2 at every position at
    first, and a momentum of 0.01.
    """
    cbam = CBAM(channels)
    norm = cbam.spatial[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    norm.momentum = 0.01
    return cbam
