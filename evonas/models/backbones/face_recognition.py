"""ResNet of dlib for face recognition (5.6 M parameters), read from its published files.

D. E. King (2017), dlib face recognition ResNet, http://dlib.net; published for browsers in the
npm package ``@vladmandic/face-api`` (MIT) as a JSON manifest and one binary of 8-bit and
32-bit tensors. evonas contains no weights: download them with
``npm pack @vladmandic/face-api`` and give the tarball, or a folder with both files, as
``backbone.weights``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

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
from evonas.models.backbones.common.tfjs_weights import read_weights

_FILES = ("face_recognition_model-weights_manifest.json", "face_recognition_model.bin")
#: unit -> (channels in, channels out, halves the resolution)
_UNITS: OrderedDict[str, tuple[int, int, bool]] = OrderedDict(
    conv32_1=(32, 32, False),
    conv32_2=(32, 32, False),
    conv32_3=(32, 32, False),
    conv64_down=(32, 64, True),
    conv64_1=(64, 64, False),
    conv64_2=(64, 64, False),
    conv64_3=(64, 64, False),
    conv128_down=(64, 128, True),
    conv128_1=(128, 128, False),
    conv128_2=(128, 128, False),
    conv256_down=(128, 256, True),
    conv256_1=(256, 256, False),
    conv256_2=(256, 256, False),
    conv256_down_out=(256, 256, True),
)
_SIDES = (35, 17, 8, 4, 2)  # of the maps, by the number of halvings
_MEAN = (122.782, 117.001, 104.298)  # RGB, 0..255


class _Unit(nn.Module):
    """dlib's residual unit: two 3x3 convolutions and a shortcut.

    Where it halves the resolution, the shortcut is an average pooling, and missing channels are
    filled with zeros.
    """

    def __init__(self, c_in: int, c_out: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x).relu_())
        if self.down:
            # The maps of the unpadded stride-2 convolution and the 2x2 pooling can differ by one
            # row and column, and the pooled map has fewer channels: zeros are added to both.
            x = functional.avg_pool2d(x, 2)
            rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
            y = functional.pad(y, (0, columns, 0, rows))
            x = functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        added: Tensor = y.add_(x)
        return added.relu_()


class FaceRecognition(Backbone):
    """dlib's face recognition ResNet: 150x150 RGB pixels; the taps are the outputs of its units.

    Args:
        weights: folder with the manifest and the binary, or the package's tarball.
        random: seed of random weights instead of trained ones, for control experiments that
            measure what the training for recognition contributes.

    Raises:
        InputError: not exactly one option is given, or ``weights`` is missing, damaged, or of
            another network.
    """

    input_size = 150

    def __init__(self, weights: str | None = None, random: int | None = None) -> None:
        super().__init__()
        check_weight_source("face_recognition", weights, random, "FOLDER|TARBALL")
        self.stem = nn.Conv2d(3, 32, 7, 2)
        self.units = nn.ModuleDict({name: _Unit(*spec) for name, spec in _UNITS.items()})
        self.fc = nn.Linear(256, 128, bias=False)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        if weights is not None:
            self._read(Path(weights))
        else:
            generator = torch.Generator().manual_seed(int(random or 0))
            for layers in (self.stem, self.units):
                draw_weights(layers, generator)
            draw_weights(self.fc, generator, gain=1.0)
        halvings, self.taps = 0, {}
        for name, (_, channels, down) in _UNITS.items():
            halvings += down
            self.taps[name] = (channels, _SIDES[halvings], _SIDES[halvings])
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        return run_to_taps(self._stem_map(images), self.units.items(), wanted)

    def describe(self, images: Tensor) -> Tensor:
        """Return the (n, 128) descriptors; two images of a person are closer than about 0.6."""
        x = self._stem_map(images)
        for unit in self.units.values():
            x = unit(x)
        descriptors: Tensor = self.fc(x.mean((2, 3)))
        return descriptors

    def full_cost(self) -> NetworkCost:
        """Return the cost up to the descriptor; see ``Backbone.full_cost``."""
        return count_cost(self.describe, self.input_size, self.parameters())

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return list(_MEAN), [255.0] * 3

    def _stem_map(self, images: Tensor) -> Tensor:
        # ReLU and max pooling commute; pooling first leaves fewer values for the ReLU.
        x: Tensor = self.stem((images - self.mean) / 255.0)
        return functional.max_pool2d(x, 3, 2).relu_()

    def _read(self, path: Path) -> None:
        tensors = read_weights(path, *_FILES)
        names = {"stem": "conv32_down"}
        for unit in _UNITS:
            names |= {f"units.{unit}.conv{i}": f"{unit}/conv{i}" for i in (1, 2)}
        state = {"mean": self.mean}
        for own, name in names.items():
            parts = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
            missing = [part for part in parts if f"{name}/{part}" not in tensors]
            if missing:
                raise InputError(
                    f"{path}: the tensor {name}/{missing[0]} is missing: not this network"
                )
            kernel, bias, scale, shift = (torch.from_numpy(tensors[f"{name}/{p}"]) for p in parts)
            if kernel.ndim != 4 or not kernel.shape[3] == len(bias) == len(scale) == len(shift):
                raise InputError(
                    f"{path}: {name} has kernel shape {tuple(kernel.shape)}: not this network"
                )
            # The scale after a convolution is folded into its weights; kernels are stored HWIO.
            state[f"{own}.weight"] = kernel.permute(3, 2, 0, 1) * scale.view(-1, 1, 1, 1)
            state[f"{own}.bias"] = bias * scale + shift
        state["fc.weight"] = (
            torch.from_numpy(tensors["fc"]).t() if "fc" in tensors else torch.zeros(0)
        )
        for name, own_tensor in self.state_dict().items():
            got, expected = list(state[name].shape), list(own_tensor.shape)
            if got != expected:
                raise InputError(
                    f"{path}: {name} has shape {got}, expected {expected}: not this network"
                )
        self.load_state_dict(state)
