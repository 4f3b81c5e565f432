"""No backbone: the normalised image is the feature map, for networks on whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone

_LARGEST = 2048
#: Normalisation with which ``NoBackbone`` returns pixels in 0..255, exact in 16-bit floats.
PIXELS: Mapping[str, Any] = MappingProxyType(
    {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
)


class NoBackbone(Backbone):
    """The normalised image as the only tap, ``image`` (3, input_size, input_size).

    It has no multiply-adds, no weights, and so no option ``random``. A cached image takes
    6 input_size^2 bytes a view: 0.3 MB at 224.

    Args:
        input_size: side of the square input, in pixels.
        mean, std: mean and standard deviation of red, green and blue, for values in 0..1; the
            default are those of ImageNet, which published weights expect.

    Raises:
        InputError: the size is not in 1..2048, a mean is outside 0..1, or a standard deviation
            is not above 0 and at most 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        input_size: int = 224,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        if not 1 <= input_size <= _LARGEST:
            raise InputError(
                f"backbone.input_size: expected 1 to {_LARGEST} pixels, got {input_size}: "
                "ImageNet networks are trained on 224"
            )
        if not all(0.0 <= value <= 1.0 for value in mean):
            raise InputError(
                f"backbone.mean: expected three numbers in 0..1, got {list(mean)}: "
                "divide means of 0..255 by 255"
            )
        if not all(0.0 < value <= 1.0 for value in std):
            raise InputError(
                f"backbone.std: expected three numbers above 0, at most 1, got {list(std)}: "
                "divide deviations of 0..255 by 255"
            )
        self.input_size = input_size
        self.taps = {"image": (3, input_size, input_size)}
        # Buffers, because the fingerprint, which identifies cached features, covers buffers.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.freeze()

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of red, green and blue in 0..255; see ``Backbone.normalisation``."""
        return (255.0 * self.mean.flatten()).tolist(), (255.0 * self.std.flatten()).tolist()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the image as (value / 255 - mean) / std; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        return {"image": (images / 255.0 - self.mean) / self.std} if wanted else {}
