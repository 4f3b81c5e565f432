"""VGG-Face: VGG-16 for face recognition, with weights from published conversions.

O. M. Parkhi, A. Vedaldi and A. Zisserman (2015), Deep Face Recognition, BMVC, with network D
of K. Simonyan and A. Zisserman (2015, arXiv 1409.1556). Nothing is shipped. Weights for
PyTorch are published as ``vgg_face_dag.pth`` (S. Albanie,
https://www.robots.ox.ac.uk/~albanie/pytorch-models.html, from MatConvNet) and by
https://github.com/prlz77/vgg-face.pytorch (from the authors' Torch7 file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, NetworkCost
from evonas.models.backbones.common.operation_count import counted
from evonas.models.files.state_dicts import load_into, read_state

_GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, channels
_CONVS = [f"conv{g}_{i + 1}" for g, (n, _) in enumerate(_GROUPS, start=1) for i in range(n)]
_FULL = {"fc6": (512 * 7 * 7, 4096), "fc7": (4096, 4096), "fc8": (4096, 2622)}
_SIDE = 224  # of the images that it was trained on, pixels
_MEAN = (129.1863, 104.7624, 93.5940)  # red, green, blue of 0..255, of the authors' example

#: Name of a layer -> what torchvision's VGG-16 calls it.
_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCHVISION = {c: f"features.{i}" for c, i in zip(_CONVS, _PLACES, strict=True)} | {
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
#: ... -> what a conversion from Torch7 calls it.
_TORCH7 = {name: name.replace("conv", "conv_") for name in (*_CONVS, *_FULL)}


class VGGFace(Backbone):
    """VGG-16 of face recognition: 224x224 pixels, a tap behind the ReLU of each convolution.

    Taps: ``conv1_1`` and ``conv1_2`` (64, 224, 224), ``conv2_1``, ``conv2_2`` (128, 112, 112),
    ``conv3_1`` to ``conv3_3`` (256, 56, 56), ``conv4_1`` to ``conv4_3`` (512, 28, 28),
    ``conv5_1`` to ``conv5_3`` (512, 14, 14): 15.35 G multiply-adds, 14.7 M parameters. A
    cached map of ``conv1_1`` takes 6.4 MB an image, one of ``conv5_3`` 0.2 MB.

    The fully connected part (fc6, fc7, fc8) has nine tenths of the parameters, and no tap
    needs it; so it is left out unless it is asked for. ``whole`` counts it all the same.

    Args:
        weights: state dictionary, .safetensors, .pt, .pth or .bin, with the layers named as
            ``conv1_1``, ``conv_1_1`` or, by torchvision, ``features.0``.
        random: instead of trained weights, He-normal ones from this seed.
        input_size: side of the input, pixels, a multiple of 16; the network was trained on 224,
            and its fully connected part takes nothing else.
        channels: the order in which the first layer takes them. None: as the names in the
            file tell: ``bgr`` for ``conv_1_1`` (Torch7 and Caffe), else ``rgb`` (MatConvNet).
        fully_connected: keep fc6, fc7 and fc8 (521 MB more), for ``describe``.

    Raises:
        InputError: not exactly one of weights and random is given, the size does not fit, or
            the file is missing, damaged, or of another network.
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
        if (weights is None) == (random is None):
            raise InputError(
                "backbone 'vgg_face': expected either backbone.weights=FILE or "
                f"backbone.random=SEED, got weights={weights!r}, random={random!r}"
            )
        if (
            not 16 <= input_size <= 2048
            or input_size % 16
            or fully_connected > (input_size == _SIDE)
        ):
            raise InputError(
                f"backbone.input_size: expected a multiple of 16 from 16 to 2048, and {_SIDE} with "
                f"backbone.fully_connected=true, got {input_size}: it was trained on {_SIDE}"
            )
        self.input_size = input_size
        self.taps = {
            f"conv{group + 1}_{i + 1}": (channels_out, input_size >> group, input_size >> group)
            for group, (count, channels_out) in enumerate(_GROUPS)
            for i in range(count)
        }
        with torch.device("meta"):  # no weights are drawn that are replaced below
            self.layers = _layers(fully_connected)
        self.to_empty(device="cpu")
        state: dict[str, Tensor] = {}
        if weights is not None:
            state, order = _renamed(read_state(weights), self.layers)
            channels = channels or order
            load_into(self.layers, state, f"backbone.weights={weights}")
        else:
            _randomize(self.layers, int(random or 0))
        # Buffers, so that the fingerprint, and with it the feature cache, knows them.
        self.mean: Tensor
        self.order: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("order", torch.tensor([2, 1, 0] if channels == "bgr" else [0, 1, 2]))
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.known(taps)
        found: dict[str, Tensor] = {}
        x = (images - self.mean)[:, self.order]
        for name in _CONVS:
            if len(found) == len(wanted):
                break
            x = _step(self.layers, name, x)
            if name in wanted:
                found[name] = x
        return found

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return list(_MEAN), [1.0] * 3

    def describe(self, images: Tensor) -> Tensor:
        """Return the descriptor (fc7 after its ReLU), (n, 4096), not normalised.

        Raises:
            InputError: the backbone was made without its fully connected part.
        """
        if "fc7" not in self.layers:
            raise InputError(
                "backbone 'vgg_face': was made without fc6 and fc7, which a descriptor needs: "
                "give backbone.fully_connected=true"
            )
        return _top(self.layers, self(images, _CONVS[-1:])[_CONVS[-1]], ("fc6", "fc7"))

    def whole(self) -> NetworkCost | None:
        """Return the cost with fc6, fc7 and fc8: 15.477 G multiply-adds, 145,002,878 parameters.

        Of images of another size there is no such network.
        """
        if self.input_size != _SIDE:
            return None
        with torch.device("meta"):
            layers = _layers(fully_connected=True)

        def run(images: Tensor) -> Tensor:
            for name in _CONVS:
                images = _step(layers, name, images)
            return layers["fc8"](_top(layers, images, ("fc6", "fc7")))  # type: ignore[no-any-return]

        return counted(run, self.input_size, layers.parameters(), "meta")


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


def _step(layers: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
    """Run a convolution and its ReLU; the pool of the group before comes first."""
    if name.endswith("_1") and name != _CONVS[0]:
        x = functional.max_pool2d(x, 2)
    return functional.relu(layers[name](x))


def _top(layers: nn.ModuleDict, x: Tensor, names: Sequence[str]) -> Tensor:
    x = functional.max_pool2d(x, 2).flatten(1)
    for name in names:
        x = functional.relu(layers[name](x))
    return x


def _randomize(layers: nn.Module, seed: int) -> None:
    """Draw He-normal weights (He et al. 2015) without touching the global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            if parameter.dim() > 1:
                deviation = (2.0 / parameter[0].numel()) ** 0.5
                parameter.normal_(0.0, deviation, generator=generator)
            else:
                parameter.zero_()


def _renamed(
    state: Mapping[str, Tensor], layers: nn.ModuleDict
) -> tuple[dict[str, Tensor], Literal["rgb", "bgr"]]:
    """Return a file's tensors under our names, and the order of channels that they tell.

    A fully connected part that is not wanted is left out, whatever its classes.
    """
    torch7 = "conv_1_1.weight" in state
    theirs = _TORCH7 if torch7 else _TORCHVISION if "features.0.weight" in state else {}
    ours = {other: own for own, other in theirs.items()}
    found = {}
    for key, tensor in state.items():
        layer, _, kind = key.rpartition(".")
        name = ours.get(layer, layer)
        if name in layers or name not in _FULL:
            found[f"{name}.{kind}"] = tensor
    return found, "bgr" if torch7 else "rgb"
