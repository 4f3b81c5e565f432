"""A small recognition network for synthetic faces, included with trained weights.

It has four blocks of two 3x3 convolutions on 64x64 pixels (a small residual network; He et al.
2016) and was trained to classify synthetic identities with a cosine margin softmax (CosFace,
Wang et al. 2018), without pose labels. Its taps therefore contain only the pose information
that recognition keeps, as those of real recognition networks do. ``synthetic_face.json``
states how it was trained and how accurately it verifies unseen identities;
``experiments/backbones/train_synthetic_face.py`` writes both files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from evonas.core.files import read_json
from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, NetworkCost, count_cost
from evonas.models.backbones.common.builtin_networks import draw_weights, run_to_taps
from evonas.models.files.safetensors_files import load_file

_INCLUDED = Path(__file__).with_suffix(".safetensors")
_WIDTHS = (16, 32, 64, 128)
_DESCRIPTOR = 128
_MEAN, _STD = 127.5, 64.0  # of each channel, 0..255


class SyntheticFace(Backbone):
    """Recognition network of synthetic faces: 13.4 M multiply-adds, 0.55 M parameters.

    Taps, from input to output: ``block1`` (16, 32, 32), ``block2`` (32, 16, 16),
    ``block3`` (64, 8, 8), ``block4`` (128, 4, 4). The multiply-adds are those up to ``block4``.

    Args:
        weights: a safetensors file; None: the included file. If a JSON file of the same stem
            lies beside it, the file's SHA-256 must be the ``sha256`` in it.
        random: seed of random weights instead of trained ones, for control experiments that
            measure what the training of the backbone contributes.

    Raises:
        InputError: both options are given, or the file is missing, damaged or of another
            network.
    """

    input_size = 64

    def __init__(self, *, weights: str | None = None, random: int | None = None) -> None:
        super().__init__()
        if weights is not None and random is not None:
            raise InputError(
                f"backbone.weights={weights!r} and backbone.random={random} exclude each other: "
                "give only one"
            )
        sizes = [self.input_size >> (depth + 1) for depth in range(len(_WIDTHS))]
        self.taps = {
            f"block{depth + 1}": (width, side, side)
            for depth, (width, side) in enumerate(zip(_WIDTHS, sizes, strict=True))
        }
        inputs = (3, *_WIDTHS[:-1])
        last = _WIDTHS[-1] * sizes[-1] ** 2
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced below
            self.blocks = nn.ModuleDict(
                {
                    name: _ResidualBlock(c_in, c_out)
                    for name, c_in, c_out in zip(self.taps, inputs, _WIDTHS, strict=True)
                }
            )
            self.descriptor = nn.Linear(last, _DESCRIPTOR, bias=False)
        self.descriptor_norm = nn.BatchNorm1d(_DESCRIPTOR)
        if random is not None:
            draw_weights(self, torch.Generator().manual_seed(random))
        else:
            self.load_state_dict(_read(_INCLUDED if weights is None else Path(weights), self))
        self.freeze()

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return [_MEAN] * 3, [_STD] * 3

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        return run_to_taps((images - _MEAN) / _STD, self.blocks.items(), wanted)

    def describe(self, images: Tensor) -> Tensor:
        """Return descriptors; the dot product of two is the similarity of the faces.

        Args:
            images: (n, 3, 64, 64) float RGB in 0..255.

        Returns:
            (n, 128) unit vectors.
        """
        last = list(self.taps)[-1]
        x = self(images, [last])[last]
        return functional.normalize(self.descriptor_norm(self.descriptor(x.flatten(1))))

    def full_cost(self) -> NetworkCost:
        """Return the cost up to the descriptor; see ``Backbone.full_cost``."""
        return count_cost(self.describe, self.input_size, self.parameters())


class _ResidualBlock(nn.Module):
    """A strided 3x3 convolution, followed by a 3x3 convolution with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(outputs)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.reduce_norm(self.reduce(x)))
        return functional.relu(x + self.refine_norm(self.refine(x)))


def _read(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Return the weights in a file, in the data types of ``network``, after checking them."""
    remedy = "train it with experiments/backbones/train_synthetic_face.py or give another file"
    if not path.is_file():
        raise InputError(
            f"backbone.weights: expected a safetensors file, found none at {path}: {remedy}"
        )
    facts = path.with_suffix(".json")
    if facts.is_file():
        expected = read_json(facts).get("sha256")
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != expected:
            raise InputError(
                f"backbone.weights: sha256 of {path} is {got[:12]}..., expected "
                f"{str(expected)[:12]}... as stated in {facts.name}: restore both files, or "
                f"{remedy}"
            )
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"backbone.weights: {path} is no safetensors file ({error}): {remedy}"
        ) from error
    own = network.state_dict()
    for name in sorted(own.keys() | stored.keys()):
        own_shape = tuple(own[name].shape) if name in own else None
        shape = tuple(stored[name].shape) if name in stored else None
        if shape != own_shape:
            raise InputError(
                f"backbone.weights: {name!r} in {path} has shape {shape}, expected {own_shape}: "
                f"{remedy}"
            )
    return {name: stored[name].to(own[name].dtype) for name in own}
