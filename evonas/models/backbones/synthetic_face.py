"""A small recognition network for the synthetic faces; ships with weights.

Four blocks of two 3x3 convolutions on 64x64 pixels (a small residual network; He et al.
2016), trained to tell synthetic identities apart with a cosine margin softmax (CosFace,
Wang et al. 2018). It never saw a pose label, so what its taps know about pose is what
recognition leaves there: the situation evonas is made for, in miniature. How it was
trained and how well it verifies unseen identities stands in ``synthetic_face.json``;
``experiments/backbones/train_synthetic_face.py`` makes both files.
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
from evonas.models.backbones.base import Backbone, NetworkCost
from evonas.models.backbones.common.operation_count import counted
from evonas.models.files.safetensors_files import load_file

_SHIPPED = Path(__file__).with_suffix(".safetensors")
_WIDTHS = (16, 32, 64, 128)
_DESCRIPTOR = 128
_MEAN, _STD = 127.5, 64.0  # of each channel, 0..255


class SyntheticFace(Backbone):
    """Recognition of synthetic faces: 13.4 M multiply-adds to the last tap, 0.55 M weights.

    Taps, from input to output: ``block1`` (16, 32, 32), ``block2`` (32, 16, 16),
    ``block3`` (64, 8, 8), ``block4`` (128, 4, 4).

    Args:
        weights: a safetensors file; None: the shipped one. If a JSON file of the same
            stem lies beside it, its ``sha256`` must be that of the weights.
        random: instead of trained weights, random ones from this seed: the control
            that shows what training the backbone is worth.

    Raises:
        InputError: both are given, or the file is missing, damaged or of another network.
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
        with torch.random.fork_rng(devices=[]):  # layers draw weights that are replaced below
            self.blocks = nn.ModuleDict(
                {name: _Block(i, o) for name, i, o in zip(self.taps, inputs, _WIDTHS, strict=True)}
            )
            self.descriptor = nn.Linear(last, _DESCRIPTOR, bias=False)
        self.descriptor_norm = nn.BatchNorm1d(_DESCRIPTOR)
        if random is not None:
            _randomize(self, random)
        else:
            self.load_state_dict(_read(_SHIPPED if weights is None else Path(weights), self))
        self.freeze()

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return [_MEAN] * 3, [_STD] * 3

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the feature maps of the named taps; see ``Backbone.forward``.

        Raises:
            InputError: there is no such tap.
        """
        found: dict[str, Tensor] = {}
        wanted = self.known(taps)
        x = (images - _MEAN) / _STD
        for name, block in self.blocks.items():
            if len(found) == len(wanted):
                break
            x = block(x)
            if name in wanted:
                found[name] = x
        return found

    def describe(self, images: Tensor) -> Tensor:
        """Return descriptors whose dot product compares two faces.

        Args:
            images: (n, 3, 64, 64) float RGB in 0..255.

        Returns:
            (n, 128) unit vectors.
        """
        last = list(self.taps)[-1]
        x = self(images, [last])[last]
        return functional.normalize(self.descriptor_norm(self.descriptor(x.flatten(1))))

    def whole(self) -> NetworkCost:
        """Return the cost up to the descriptor; see ``Backbone.whole``."""
        return counted(self.describe, self.input_size, self.parameters())


class _Block(nn.Module):
    """Halve the resolution, then refine with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(outputs)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.reduce_norm(self.reduce(x)))
        return functional.relu(x + self.refine_norm(self.refine(x)))


def _randomize(network: nn.Module, seed: int) -> None:
    """Draw He-normal weights (He et al. 2015) without touching the global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)


def _read(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Return checked float32 weights for ``network``."""
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
                f"{str(expected)[:12]}... as {facts.name} says: restore the two "
                f"files together, or {remedy}"
            )
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"backbone.weights: {path} is no safetensors file ({error}): {remedy}"
        ) from error
    own = network.state_dict()
    for name in sorted(own.keys() | stored.keys()):
        here = tuple(own[name].shape) if name in own else None
        there = tuple(stored[name].shape) if name in stored else None
        if here != there:
            raise InputError(
                f"backbone.weights: {name!r} in {path} has shape {there}, expected {here}: {remedy}"
            )
    return {name: stored[name].to(own[name].dtype) for name in own}
