"""Backbones of arbitrary networks: normalisation, detection of taps, fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from evonas.errors import InputError, nearest
from evonas.models.backbones.base import Backbone, Shape

Channels = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layout:
    """The axes of a layer's output, which determine its conversion to a feature map.

    Attributes:
        kind: ``map`` (n, c, h, w), ``last`` (n, h, w, c) or ``tokens`` (n, tokens, c).
        shape: (channels, height, width) of the feature map.
        prefix: number of tokens before the grid (class, registers), which are removed.
    """

    kind: Literal["map", "last", "tokens"]
    shape: Shape
    prefix: int = 0

    def apply(self, values: Tensor) -> Tensor:
        """Return the (n, channels, height, width) float32 map."""
        if self.kind == "last":
            values = values.permute(0, 3, 1, 2)
        elif self.kind == "tokens":
            values = values[:, self.prefix :].transpose(1, 2).reshape(-1, *self.shape)
        return values.float()


def layout(values: Tensor, batch: int, prefix: int | None) -> Layout | None:
    """Return the layout of a layer's output, or None if the output is no feature map.

    Images are square, and so are maps. Of four axes, the last two are rows and columns if their
    sizes agree; otherwise the second and third (channels last). Of three axes, the second
    counts tokens: the tokens after ``prefix`` form the grid if their number is a square,
    otherwise all tokens do if theirs is. Without a ``prefix``, the last tokens form the largest
    possible square.

    Args:
        values: output of the layer.
        batch: number of images.
        prefix: number of tokens before the grid, or None if unknown.
    """
    if values.shape[:1] != (batch,) or not values.is_floating_point() or not values.numel():
        return None
    sizes = [int(n) for n in values.shape[1:]]
    if len(sizes) == 3 and sizes[1] == sizes[2]:
        return Layout("map", (sizes[0], sizes[1], sizes[2]))
    if len(sizes) == 3 and sizes[0] == sizes[1]:
        return Layout("last", (sizes[2], sizes[0], sizes[1]))
    if len(sizes) == 2:
        for skipped in (prefix or 0, 0):  # 0, as the patch embedding precedes the class token
            tokens = max(sizes[0] - skipped, 0)
            side = math.isqrt(tokens)
            if side and (prefix is None or side * side == tokens):
                return Layout("tokens", (sizes[1], side, side), sizes[0] - side * side)
    return None


def first_tensor(output: object) -> Tensor | None:
    """Return the first tensor in an output, searching tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        tensors = (first_tensor(part) for part in output)
        return next((tensor for tensor in tensors if tensor is not None), None)
    return None


class AutoTapBackbone(Backbone):
    """A backbone that finds its taps by running its network once on empty images.

    Args:
        where: name of the backbone in messages.
        identity: facts beside weights and normalisation on which the feature maps depend; they
            are part of the fingerprint.
        input_size: side of the square input, in pixels.
        mean, std: mean and standard deviation of each channel, in the network's order of
            channels, for images in 0..1.
        channels: order of the channels in the network's input.
        prefix_tokens: number of tokens before a grid of tokens; None: the tokens that do not fit
            into the largest square.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        where: str,
        *,
        identity: Mapping[str, Any],
        input_size: int,
        mean: Triple,
        std: Triple,
        channels: Channels,
        prefix_tokens: int | None,
    ) -> None:
        super().__init__()
        if input_size < 1 or (prefix_tokens or 0) < 0:
            raise InputError(
                f"{where}: expected input_size of at least 1 and prefix_tokens of at least 0, "
                f"got input_size={input_size}, prefix_tokens={prefix_tokens}"
            )
        if not all(0 <= m <= 1 and 0 < s <= 1 for m, s in zip(mean, std, strict=True)):
            raise InputError(
                f"{where}: expected mean in 0..1 and std above 0, at most 1, got "
                f"mean={list(mean)}, std={list(std)}: divide values of 0..255 by 255"
            )
        self.input_size, self.taps = input_size, {}
        self._where, self._prefix, self._bgr = where, prefix_tokens, channels == "bgr"
        self._layouts: dict[str, Layout] = {}
        facts = {"channels": channels, "prefix_tokens": prefix_tokens, **identity}
        self._identity = json.dumps(facts, sort_keys=True, default=str)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    @abstractmethod
    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        """Return the outputs of the wanted taps for normalised images; run no later layers."""

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        outputs = self._run(self._normalised(images), wanted) if wanted else {}
        return {tap: self._layouts[tap].apply(outputs[tap]) for tap in self.taps if tap in wanted}

    @property
    def fingerprint(self) -> str:
        """Hexadecimal hash of weights, normalisation and ``identity``."""
        text = f"{super().fingerprint}{self._identity}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        mean, std = (255.0 * values.flatten() for values in (self.mean, self.std))
        order = -1 if self._bgr else 1
        return mean.tolist()[::order], std.tolist()[::order]

    def _normalised(self, images: Tensor) -> Tensor:
        images = images.flip(1) if self._bgr else images
        return (images / 255.0 - self.mean) / self.std

    def _empty(self, batch: int) -> Tensor:
        return self._normalised(torch.zeros(batch, 3, self.input_size, self.input_size))

    def _set_taps(
        self, outputs: Mapping[str, Tensor], batch: int, taps: Sequence[str] | None
    ) -> None:
        """Set the taps: the outputs that are feature maps, or those of them named in ``taps``.

        Raises:
            InputError: no output is a feature map, or one of ``taps`` is none.
        """
        layouts: dict[str, Layout] = {}
        for name, values in outputs.items():
            if (axes := layout(values, batch, self._prefix)) is not None:
                layouts[name] = axes
        if not layouts:
            raise InputError(
                f"{self._where}: none of its {len(outputs)} outputs is a feature map (n, channels, "
                "side, side) or a grid of tokens (n, tokens, channels): there is no usable tap"
            )
        for tap in taps or ():
            if tap not in layouts:
                raise InputError(f"{self._where}: it has no tap {tap!r}: {nearest(tap, layouts)}")
        self._layouts = {
            name: axes for name, axes in layouts.items() if taps is None or name in taps
        }
        self.taps = {name: axes.shape for name, axes in self._layouts.items()}
        if not self.taps:
            raise InputError(f"{self._where}: backbone.taps is empty: name a tap, or leave it out")
