"""Modules of a backbone up to one tap, and of such a backbone followed by a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.models.backbones.base import Backbone


class TruncatedBackbone(nn.Module):
    """A backbone up to one tap: one input, one output, as counting and exporting need."""

    def __init__(self, backbone: Backbone, tap: str) -> None:
        super().__init__()
        self.backbone, self.tap = backbone, tap

    def forward(self, images: Tensor) -> Tensor:
        """Return the tap's feature map, (n, channels, height, width)."""
        maps: dict[str, Tensor] = self.backbone(images, [self.tap])
        return maps[self.tap]

    def example(self) -> Tensor:
        """Return an empty image, (1, 3, input_size, input_size)."""
        size = self.backbone.input_size
        return torch.zeros(1, 3, size, size)


class FullNetwork(nn.Module):
    """A backbone up to one tap, followed by a head: images -> outputs of the task.

    Fine-tuning, quantisation and export work on this network.
    """

    def __init__(self, upto: TruncatedBackbone, head: nn.Module) -> None:
        super().__init__()
        self.upto, self.head = upto, head

    def forward(self, images: Tensor) -> Tensor:
        """Return the head's outputs, (n, n_outputs[, h, w]).

        Args:
            images: (n, 3, input_size, input_size) float RGB in 0..255.
        """
        outputs: Tensor = self.head(self.upto(images))
        return outputs
