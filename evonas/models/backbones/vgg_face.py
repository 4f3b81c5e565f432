"""VGG-Face: VGG-16 for face recognition, with weights from published conversions.

O. M. Parkhi, A. Vedaldi and A. Zisserman (2015), Deep Face Recognition, BMVC, with network D
of K. Simonyan and A. Zisserman (2015, arXiv 1409.1556). evonas contains no weights. Weights
for PyTorch are published as ``vgg_face_dag.pth`` (S. Albanie,
https://www.robots.ox.ac.uk/~albanie/pytorch-models.html, from MatConvNet) and by
https://github.com/prlz77/vgg-face.pytorch (from the authors' Torch7 file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, NetworkCost, count_cost
from evonas.models.backbones.common.builtin_networks import (
    check_weight_source,
    draw_weights,
    run_to_taps,
)
from evonas.models.files.state_dicts import load_into, read_state

_GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, channels
_CONVS = [f"conv{g}_{i + 1}" for g, (n, _) in enumerate(_GROUPS, start=1) for i in range(n)]
_FULL = {"fc6": (512 * 7 * 7, 4096), "fc7": (4096, 4096), "fc8": (4096, 2622)}
_SIDE = 224  # of the training images, in pixels
_MEAN = (129.1863, 104.7624, 93.5940)  # red, green, blue in 0..255, from the authors' example

#: Name of a layer -> its name in torchvision's VGG-16.
_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCHVISION = {c: f"features.{i}" for c, i in zip(_CONVS, _POSITIONS, strict=True)} | {
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
#: Name of a layer -> its name in a file converted from Torch7.
_TORCH7 = {name: name.replace("conv", "conv_") for name in (*_CONVS, *_FULL)}


class VGGFace(Backbone):
    """VGG-16 for face recognition: 224x224 pixels; the taps are the ReLUs of the convolutions.

    Taps: ``conv1_1`` and ``conv1_2`` (64, 224, 224), ``conv2_1``, ``conv2_2`` (128, 112, 112),
    ``conv3_1`` to ``conv3_3`` (256, 56, 56), ``conv4_1`` to ``conv4_3`` (512, 28, 28),
    ``conv5_1`` to ``conv5_3`` (512, 14, 14): 15.35 G multiply-adds, 14.7 M parameters. A
    cached map of ``conv1_1`` takes 6.4 MB an image, a map of ``conv5_3`` 0.2 MB.

    The fully connected layers (fc6, fc7, fc8) have nine tenths of the parameters. No tap needs
    them, so they are left out unless ``fully_connected`` is set; ``full_cost`` counts them.

    Args:
        weights: state dictionary, .safetensors, .pt, .pth or .bin, whose layers are named
            ``conv1_1``, ``conv_1_1`` or, as in torchvision, ``features.0``.
        random: seed of random He-normal weights, instead of trained weights.
        input_size: side of the input, in pixels, a multiple of 16. The network was trained on
            224, and its fully connected layers need 224.
        channels: order of the channels in the first layer. None: derived from the names in the
            file: ``bgr`` for ``conv_1_1`` (Torch7 and Caffe), else ``rgb`` (MatConvNet).
        fully_connected: keep fc6, fc7 and fc8 (521 MB more), for ``describe``.

    Raises:
        InputError: not exactly one of weights and random is given, the size is invalid, or the
            file is missing, damaged, or of another network.
    """

    def __init__(
        self,
        *,
        weights: str | None = None,
        random: int | None = None,
        input_size: int = _SIDE,
        channels: Literal["rgb", "bgr"] | None = None,
        fully_connected: bool = False,
    ) -> None:
        super().__init__()
        check_weight_source("vgg_face", weights, random)
        if (
            not 16 <= input_size <= 2048
            or input_size % 16
            or fully_connected > (input_size == _SIDE)
        ):
            raise InputError(
                f"backbone.input_size: expected a multiple of 16 from 16 to 2048, and {_SIDE} with "
                f"backbone.fully_connected=true, got {input_size}: the network was trained on "
                f"{_SIDE}"
            )
        self.input_size = input_size
        self.taps = {
            f"conv{group + 1}_{i + 1}": (channels_out, input_size >> group, input_size >> group)
            for group, (count, channels_out) in enumerate(_GROUPS)
            for i in range(count)
        }
        with torch.device("meta"):  # the weights are set below, so none are initialised here
            self.layers = _layers(fully_connected)
        self.to_empty(device="cpu")
        state: dict[str, Tensor] = {}
        if weights is not None:
            state, order = _renamed(read_state(weights), self.layers)
            channels = channels or order
            load_into(self.layers, state, f"backbone.weights={weights}")
        else:
            draw_weights(self.layers, torch.Generator().manual_seed(int(random or 0)))
        # Buffers, because the fingerprint, which identifies cached features, covers buffers.
        self.mean: Tensor
        self.order: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("order", torch.tensor([2, 1, 0] if channels == "bgr" else [0, 1, 2]))
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        steps = ((name, partial(_conv_relu, self.layers, name)) for name in _CONVS)
        return run_to_taps((images - self.mean)[:, self.order], steps, wanted)

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return list(_MEAN), [1.0] * 3

    def describe(self, images: Tensor) -> Tensor:
        """Return the descriptor (fc7 after its ReLU), (n, 4096), not normalised.

        Raises:
            InputError: the backbone was created without its fully connected layers.
        """
        if "fc7" not in self.layers:
            raise InputError(
                "backbone 'vgg_face': was created without fc6 and fc7, which compute the "
                "descriptor: give backbone.fully_connected=true"
            )
        return _descriptor(self.layers, self(images, _CONVS[-1:])[_CONVS[-1]])

    def full_cost(self) -> NetworkCost | None:
        """Return the cost with fc6, fc7 and fc8: 15.477 G multiply-adds, 145,002,878 parameters.

        None for other input sizes than 224, for which fc6 is undefined.
        """
        if self.input_size != _SIDE:
            return None
        with torch.device("meta"):
            layers = _layers(fully_connected=True)

        def run(images: Tensor) -> Tensor:
            for name in _CONVS:
                images = _conv_relu(layers, name, images)
            return layers["fc8"](_descriptor(layers, images))  # type: ignore[no-any-return]

        return count_cost(run, self.input_size, layers.parameters(), "meta")


def _layers(fully_connected: bool) -> nn.ModuleDict:
    layers: dict[str, nn.Module] = {}
    c_in = 3
    for group, (count, c_out) in enumerate(_GROUPS, start=1):
        for i in range(count):
            layers[f"conv{group}_{i + 1}"] = nn.Conv2d(c_in, c_out, 3, padding=1)
            c_in = c_out
    if fully_connected:
        layers |= {name: nn.Linear(*widths) for name, widths in _FULL.items()}
    return nn.ModuleDict(layers)


def _conv_relu(layers: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
    """Apply a convolution and ReLU, after max pooling if the convolution begins a group."""
    if name.endswith("_1") and name != _CONVS[0]:
        x = functional.max_pool2d(x, 2)
    return functional.relu(layers[name](x))


def _descriptor(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    """Apply fc6 and fc7, each with a ReLU, to the last convolution's map."""
    x = functional.max_pool2d(x, 2).flatten(1)
    for name in ("fc6", "fc7"):
        x = functional.relu(layers[name](x))
    return x


def _renamed(
    state: Mapping[str, Tensor], layers: nn.ModuleDict
) -> tuple[dict[str, Tensor], Literal["rgb", "bgr"]]:
    """Return a file's tensors under this module's names, and the file's order of channels.

    Fully connected layers are left out unless ``layers`` has them.
    """
    torch7 = "conv_1_1.weight" in state
    file_names = _TORCH7 if torch7 else _TORCHVISION if "features.0.weight" in state else {}
    own_names = {file_name: own for own, file_name in file_names.items()}
    renamed = {}
    for key, tensor in state.items():
        layer, _, kind = key.rpartition(".")
        name = own_names.get(layer, layer)
        if name in layers or name not in _FULL:
            renamed[f"{name}.{kind}"] = tensor
    return renamed, "bgr" if torch7 else "rgb"
