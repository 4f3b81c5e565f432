"""A real face recognition network (dlib's ResNet, 5.6 M parameters), read from its published files.

D. E. King (2017), dlib face recognition ResNet, http://dlib.net; as published for
browsers in the npm package ``@vladmandic/face-api`` (MIT): a JSON manifest and one
binary of 8-bit and 32-bit tensors. Nothing is shipped: get it once with
``npm pack @vladmandic/face-api`` and give the tarball, or a folder that holds the
two files, as ``backbone.weights``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, NetworkCost
from evonas.models.backbones.common.operation_count import counted
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
_SIDE = (35, 17, 8, 4, 2)  # of the maps, after each halving
_MEAN = (122.782, 117.001, 104.298)  # RGB, 0..255


class _Unit(nn.Module):
    """Two 3x3 convolutions and a shortcut; dlib's way of halving and widening."""

    def __init__(self, c_in: int, c_out: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x).relu_())
        if self.down:
            # The unpadded stride-2 convolution and the 2x2 pool can differ by one in
            # size, and the pool has fewer channels: both are filled with zeros.
            x = functional.avg_pool2d(x, 2)
            rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
            y = functional.pad(y, (0, columns, 0, rows))
            x = functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        added: Tensor = y.add_(x)
        return added.relu_()


class FaceRecognition(Backbone):
    """dlib's face recognition ResNet: 150x150 RGB -> taps on every unit, 128-d descriptor.

    Args:
        weights: folder with the manifest and the binary, or the package's tarball.
        random: seed of random weights in place of the trained ones (a control
            experiment: what does recognition itself contribute?).

    Raises:
        InputError: ``weights`` is missing, damaged, or of other shapes.
    """

    input_size = 150

    def __init__(self, weights: str | None = None, random: int | None = None) -> None:
        super().__init__()
        if (weights is None) == (random is None):
            raise InputError(
                "backbone 'face_recognition': expected either backbone.weights=FOLDER|TARBALL or "
                f"backbone.random=SEED, got weights={weights!r}, random={random!r}"
            )
        self.stem = nn.Conv2d(3, 32, 7, 2)
        self.units = nn.ModuleDict({name: _Unit(*spec) for name, spec in _UNITS.items()})
        self.fc = nn.Linear(256, 128, bias=False)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        if weights is not None:
            self._read(Path(weights))
        else:
            self._initialise(int(random or 0))
        halvings, self.taps = 0, {}
        for name, (_, channels, down) in _UNITS.items():
            halvings += down
            self.taps[name] = (channels, _SIDE[halvings], _SIDE[halvings])
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.known(taps)
        found: dict[str, Tensor] = {}
        x = self._stem(images)
        for name, unit in self.units.items():
            if len(found) == len(wanted):
                break
            x = unit(x)
            if name in wanted:
                found[name] = x
        return found

    def describe(self, images: Tensor) -> Tensor:
        """Return the (n, 128) descriptors; equal people lie closer than about 0.6."""
        x = self._stem(images)
        for unit in self.units.values():
            x = unit(x)
        descriptors: Tensor = self.fc(x.mean((2, 3)))
        return descriptors

    def whole(self) -> NetworkCost:
        """Return the cost up to the descriptor; see ``Backbone.whole``."""
        return counted(self.describe, self.input_size, self.parameters())

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return list(_MEAN), [255.0] * 3

    def _stem(self, images: Tensor) -> Tensor:
        # Pooled first, which is the same, and of fewer numbers the negative ones are cut off.
        x: Tensor = self.stem((images - self.mean) / 255.0)
        return functional.max_pool2d(x, 3, 2).relu_()

    def _read(self, path: Path) -> None:
        tensors = read_weights(path, *_FILES)
        names = {"stem": "conv32_down"}
        for unit in _UNITS:
            names |= {f"units.{unit}.conv{i}": f"{unit}/conv{i}" for i in (1, 2)}
        state = {"mean": self.mean}
        for own, theirs in names.items():
            parts = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
            missing = [p for p in parts if f"{theirs}/{p}" not in tensors]
            if missing:
                raise InputError(
                    f"{path}: the tensor {theirs}/{missing[0]} is missing: not this network"
                )
            kernel, bias, scale, shift = (torch.from_numpy(tensors[f"{theirs}/{p}"]) for p in parts)
            if kernel.ndim != 4 or not kernel.shape[3] == len(bias) == len(scale) == len(shift):
                raise InputError(
                    f"{path}: {theirs} has kernel shape {tuple(kernel.shape)}: not this network"
                )
            # The scale behind a convolution folds into it exactly; kernels are stored HWIO.
            state[f"{own}.weight"] = kernel.permute(3, 2, 0, 1) * scale.view(-1, 1, 1, 1)
            state[f"{own}.bias"] = bias * scale + shift
        state["fc.weight"] = (
            torch.from_numpy(tensors["fc"]).t() if "fc" in tensors else torch.zeros(0)
        )
        for name, expected in self.state_dict().items():
            came, needed = list(state[name].shape), list(expected.shape)
            if came != needed:
                raise InputError(
                    f"{path}: {name} has shape {came}, expected {needed}: not this network"
                )
        self.load_state_dict(state)

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
                module.weight.data.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.data.zero_()
        self.fc.weight.data.normal_(0.0, 256**-0.5, generator=generator)
