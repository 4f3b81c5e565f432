"""LightCNN-9: face recognition in 1.3 M convolution weights, with max-feature-map activations.

X. Wu, R. He, Z. Sun and T. Tan (2018), A Light CNN for Deep Face Representation with Noisy
Labels, IEEE TIFS 13:2884-2896, arXiv 1511.02683. evonas contains no weights; the authors
publish theirs at https://github.com/AlfredXiangWu/LightCNN
(``LightCNN_9Layers_checkpoint.pth.tar``: rename it to .pth).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.models.backbones.base import Backbone, NetworkCost, count_cost
from evonas.models.backbones.common.builtin_networks import (
    check_weight_source,
    draw_weights,
    run_to_taps,
)
from evonas.models.files.state_dicts import load_into, read_state

#: tap -> (name of its layer in the published file, side of its map, max pooling before it)
_TAPS = {
    "mfm1": ("features.0", 128, False),
    "mfm2": ("features.2", 64, True),
    "mfm3": ("features.4", 32, True),
    "mfm4": ("features.6", 16, True),
    "mfm5": ("features.7", 16, False),
}
_WIDTHS = (48, 96, 192, 128, 128)
_DESCRIPTOR, _PEOPLE = 256, 79077
#: Weights of red, green and blue in the grey value of ITU-R BT.601, as in OpenCV and Pillow.
_GREY = (0.299, 0.587, 0.114)


class LightCNN(Backbone):
    """LightCNN-9: 128x128 grey pixels; the taps are the last activations of its groups.

    Taps, named as in the paper: ``mfm1`` (48, 128, 128), ``mfm2`` (96, 64, 64), ``mfm3``
    (192, 32, 32), ``mfm4`` and ``mfm5`` (128, 16, 16): 0.97 G multiply-adds. Images are
    converted to grey in 0..1, as in the authors' code; their faces are aligned by the eyes.

    Args:
        weights: state dictionary of the authors' network, .safetensors, .pt, .pth or .bin. Its
            layer ``fc2``, the classifier of the 79,077 people of the training set, is left out.
        random: seed of random normal weights, instead of trained weights.

    Raises:
        InputError: not exactly one option is given, or the file is missing, damaged, or of
            another network.
    """

    input_size = 128

    def __init__(self, *, weights: str | None = None, random: int | None = None) -> None:
        super().__init__()
        check_weight_source("light_cnn", weights, random)
        self.taps = {
            tap: (width, side, side)
            for width, (tap, (_, side, _)) in zip(_WIDTHS, _TAPS.items(), strict=True)
        }
        with torch.device("meta"):  # the weights are set below, so none are initialised here
            self.layers = _layers()
        self.to_empty(device="cpu")
        if weights is not None:
            state = {k: v for k, v in read_state(weights).items() if not k.startswith("fc2.")}
            names = {layer: tap for tap, (layer, _, _) in _TAPS.items()}
            load_into(
                self.layers,
                {_renamed(key, names): value for key, value in state.items()},
                f"backbone.weights={weights}",
            )
        else:
            # Max-feature-map takes the larger of two values. Of two independent standard normal
            # values it has a mean square of 1, so maps keep their scale with a gain of 1.
            draw_weights(self.layers, torch.Generator().manual_seed(int(random or 0)), gain=1.0)
        self.grey: Tensor
        self.register_buffer("grey", torch.tensor(_GREY).view(1, 3, 1, 1))
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        grey = (images * self.grey).sum(1, keepdim=True) / 255.0
        return run_to_taps(
            grey, ((tap, partial(_group, self.layers, tap)) for tap in _TAPS), wanted
        )

    def describe(self, images: Tensor) -> Tensor:
        """Return the (n, 256) descriptors, which the authors compare by cosine similarity."""
        last = list(_TAPS)[-1]
        return _descriptor(self.layers, self(images, [last])[last])

    def full_cost(self) -> NetworkCost:
        """Return the cost with fc1 and fc2: 0.998 G multiply-adds, 25,803,653 parameters."""
        with torch.device("meta"):
            layers = _layers()
            layers["fc2"] = nn.Linear(_DESCRIPTOR, _PEOPLE)

        def run(images: Tensor) -> Tensor:
            x = images[:, :1]
            for tap in _TAPS:
                x = _group(layers, tap, x)
            scores: Tensor = layers["fc2"](_descriptor(layers, x))
            return scores

        return count_cost(run, self.input_size, layers.parameters(), "meta")


class _MFM(nn.Module):
    """Max-feature-map: elementwise maximum of the two halves of a layer's output (equation 3)."""

    def __init__(self, filter: nn.Module) -> None:
        super().__init__()
        self.filter = filter

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.chunk(self.filter(x), 2, dim=1)
        return torch.max(first, second)


class _Group(nn.Module):
    """A 1x1 convolution of the same width and a 3x3 convolution, each with max-feature-map."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = _MFM(nn.Conv2d(c_in, 2 * c_in, 1))
        self.conv = _MFM(nn.Conv2d(c_in, 2 * c_out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_a(x)
        return self.conv(x)  # type: ignore[no-any-return]


def _layers() -> nn.ModuleDict:
    pairs = zip(list(_TAPS)[1:], _WIDTHS[:-1], _WIDTHS[1:], strict=True)
    return nn.ModuleDict(
        {
            "mfm1": _MFM(nn.Conv2d(1, 2 * _WIDTHS[0], 5, padding=2)),
            **{tap: _Group(c_in, c_out) for tap, c_in, c_out in pairs},
            "fc1": _MFM(nn.Linear(_WIDTHS[-1] * 8 * 8, 2 * _DESCRIPTOR)),
        }
    )


def _pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2, ceil_mode=True)


def _group(layers: nn.ModuleDict, tap: str, x: Tensor) -> Tensor:
    """Apply the max pooling before a tap, if it has one, and the tap's layers."""
    values: Tensor = layers[tap](_pool(x) if _TAPS[tap][2] else x)
    return values


def _descriptor(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    values: Tensor = layers["fc1"](_pool(x).flatten(1))
    return values


def _renamed(key: str, names: dict[str, str]) -> str:
    """Return this module's name of a tensor in the published file."""
    layer = ".".join(key.split(".")[:2])
    return key.replace(layer, names[layer], 1) if layer in names else key
