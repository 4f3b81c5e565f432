"""LightCNN-9: face recognition in 1.3 M convolution weights, with max-feature-map activations.

X. Wu, R. He, Z. Sun and T. Tan (2018), A Light CNN for Deep Face Representation with Noisy
Labels, IEEE TIFS 13:2884-2896, arXiv 1511.02683. Nothing is shipped: the authors' weights are
at https://github.com/AlfredXiangWu/LightCNN (``LightCNN_9Layers_checkpoint.pth.tar``: name it
.pth to use it here).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, NetworkCost
from evonas.models.backbones.common.operation_count import counted
from evonas.models.files.state_dicts import load_into, read_state

#: tap -> (its layer in the published file, side of its map, whether a pool comes before it)
_TAPS = {
    "mfm1": ("features.0", 128, False),
    "mfm2": ("features.2", 64, True),
    "mfm3": ("features.4", 32, True),
    "mfm4": ("features.6", 16, True),
    "mfm5": ("features.7", 16, False),
}
_WIDTHS = (48, 96, 192, 128, 128)
_DESCRIPTOR, _PEOPLE = 256, 79077
#: Red, green and blue in the grey of ITU-R BT.601, which OpenCV and Pillow use as well.
_GREY = (0.299, 0.587, 0.114)


class LightCNN(Backbone):
    """LightCNN-9: 128x128 pixels, taken as grey; a tap behind each group's last activation.

    Taps, by the paper's names: ``mfm1`` (48, 128, 128), ``mfm2`` (96, 64, 64), ``mfm3``
    (192, 32, 32), ``mfm4`` and ``mfm5`` (128, 16, 16): 0.97 G multiply-adds. Images become
    grey in 0..1, as the authors give them; their faces are aligned by the eyes.

    Args:
        weights: state dictionary of the authors' network, .safetensors, .pt, .pth or .bin;
            its layer ``fc2``, which tells the 79,077 people of its training set, is left out.
        random: instead of trained weights, normal ones from this seed.

    Raises:
        InputError: not exactly one of them is given, or the file is missing, damaged, or of
            another network.
    """

    input_size = 128

    def __init__(self, *, weights: str | None = None, random: int | None = None) -> None:
        super().__init__()
        if (weights is None) == (random is None):
            raise InputError(
                "backbone 'light_cnn': expected either backbone.weights=FILE or "
                f"backbone.random=SEED, got weights={weights!r}, random={random!r}"
            )
        self.taps = {
            tap: (width, side, side)
            for width, (tap, (_, side, _)) in zip(_WIDTHS, _TAPS.items(), strict=True)
        }
        with torch.device("meta"):  # no weights are drawn that are replaced below
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
            _randomize(self.layers, int(random or 0))
        self.grey: Tensor
        self.register_buffer("grey", torch.tensor(_GREY).view(1, 3, 1, 1))
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.known(taps)
        found: dict[str, Tensor] = {}
        x = (images * self.grey).sum(1, keepdim=True) / 255.0
        for tap in _TAPS:
            if len(found) == len(wanted):
                break
            x = _step(self.layers, tap, x)
            if tap in wanted:
                found[tap] = x
        return found

    def describe(self, images: Tensor) -> Tensor:
        """Return the (n, 256) descriptors, which the authors compare by their cosine."""
        last = list(_TAPS)[-1]
        return _top(self.layers, self(images, [last])[last])

    def whole(self) -> NetworkCost:
        """Return the cost with fc1 and fc2: 0.998 G multiply-adds, 25,803,653 parameters."""
        with torch.device("meta"):
            layers = _layers()
            layers["fc2"] = nn.Linear(_DESCRIPTOR, _PEOPLE)

        def run(images: Tensor) -> Tensor:
            x = images[:, :1]
            for tap in _TAPS:
                x = _step(layers, tap, x)
            people: Tensor = layers["fc2"](_top(layers, x))
            return people

        return counted(run, self.input_size, layers.parameters(), "meta")


class _MFM(nn.Module):
    """Twice as many features as asked for, then the larger of each two: equation 3."""

    def __init__(self, filter: nn.Module) -> None:
        super().__init__()
        self.filter = filter

    def forward(self, x: Tensor) -> Tensor:
        one, other = torch.chunk(self.filter(x), 2, dim=1)
        return torch.max(one, other)


class _Group(nn.Module):
    """A 1x1 convolution of the same width and a 3x3 convolution, each with its maximum."""

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


def _step(layers: nn.ModuleDict, tap: str, x: Tensor) -> Tensor:
    """Run the layers of a tap; the pool before them comes first."""
    found: Tensor = layers[tap](_pool(x) if _TAPS[tap][2] else x)
    return found


def _top(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    found: Tensor = layers["fc1"](_pool(x).flatten(1))
    return found


def _renamed(key: str, names: dict[str, str]) -> str:
    """Return our name of a tensor in the published file."""
    layer = ".".join(key.split(".")[:2])
    return key.replace(layer, names[layer], 1) if layer in names else key


def _randomize(layers: nn.Module, seed: int) -> None:
    """Draw normal weights without touching the global generator.

    The deviation is 1/sqrt(inputs): the larger of two independent standard normal numbers
    has a mean square of 1, so that maps keep their size without a factor of two.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.zero_()
