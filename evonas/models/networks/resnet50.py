"""ResNet-50 on images: the trunk of the published head pose baseline, plain or with CBAM.

He et al. 2016 (arXiv 1512.03385, table 1, 50 layers), with the stride of a bottleneck on
its 3 x 3 convolution: the variant "v1.5", which the common ImageNet weights have. One
linear layer gives the outputs, as the three of Ruiz et al. (2018, arXiv 1710.00925) side
by side do: 198 for three angles of 66 bins.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from evonas.models.networks.base import Network, Shape
from evonas.models.networks.common.architecture_settings import one_of
from evonas.models.networks.common.attention import CBAM, attention_macs
from evonas.models.networks.common.layers import conv, conv_macs, conv_norm, out_side
from evonas.space import Architecture

ATTENTIONS = ("none", "cbam")

_STEM = 64
_EXPANSION = 4
#: (inner width, bottlenecks, stride of the first) of layer1 to layer4.
_LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class ResNet50(Network):
    """The family of two ResNet-50s.

    Setting: ``attention``, ``none`` (if left out) or ``cbam``: channel, then spatial
    attention with reduction 16 in all 16 bottlenecks, before the residual addition (Woo
    et al. 2018, arXiv 1807.06521, figure 3).

    With 198 outputs on 3 x 224 x 224 the plain one has 23,913,734 parameters and
    4,087,541,760 multiply-adds, the one with CBAM 26,446,326 and 4,093,930,614. (Ruiz et
    al. keep a further linear layer of 6,156 parameters that nothing runs through; totals
    that count it are larger by so many, such as 26,452,482 with CBAM.)

    The names of weights are the common ones (``conv1``, ``layer1.0.bn3``, ``fc``), so
    that published ImageNet weights can be the start of a training.
    """

    settings = frozenset({"attention"})

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the network with fresh weights; see ``Network.build``."""
        attention = one_of(architecture, "attention", ATTENTIONS, default="none")
        return _ResNet(in_shape[0], n_outputs, attention)

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds at batch 1; see ``Network.macs``."""
        attention = one_of(architecture, "attention", ATTENTIONS, default="none")
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
    """Return the multiply-adds of a bottleneck on an h x w input, attention left out."""
    c_out = _EXPANSION * width
    h_out, w_out = out_side(h, stride), out_side(w, stride)
    total = conv_macs(c_in, width, 1, h, w)
    total += conv_macs(width, width, 3, h_out, w_out) + conv_macs(width, c_out, 1, h_out, w_out)
    return total + (conv_macs(c_in, c_out, 1, h_out, w_out) if c_in != c_out else 0)


class _ResNet(nn.Module):
    """(n, c, h, w) -> (n, n_outputs)."""

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
        self.fc = nn.Linear(c_in, n_outputs)
        # Small first outputs: targets are centred and of order one.
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_LAYERS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))


class _Bottleneck(nn.Module):
    """(n, c_in, h, w) -> (n, 4 width, ceil(h / stride), ceil(w / stride))."""

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
    """Return a CBAM that starts as its authors' ImageNet networks do.

    The spatial gate's norm has scale 0, so that every place counts alike at first (the
    gate is 1/2 everywhere), and follows its statistics slowly.
    """
    gate = CBAM(channels)
    norm = gate.spatial[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    norm.momentum = 0.01
    return gate
