"""A backbone truncated at a tap, and such a backbone with a head on it, as one module each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.models.backbones.base import Backbone


class TruncatedBackbone(nn.Module):
    """A backbone cut behind one tap: one input, one output (to count or export it)."""

    def __init__(self, backbone: Backbone, tap: str) -> None:
        super().__init__()
        self.backbone, self.tap = backbone, tap

    def forward(self, images: Tensor) -> Tensor:
        """Return the tap's feature map, (n, channels, height, width)."""
        maps: dict[str, Tensor] = self.backbone(images, [self.tap])
        return maps[self.tap]

    def example(self) -> Tensor:
        """Return one empty image of the right shape."""
        size = self.backbone.input_size
        return torch.zeros(1, 3, size, size)


class FullNetwork(nn.Module):
    """A backbone cut behind one tap with a head on it: images in, a task's outputs out.

    What is deployed, and what is trained, quantised or exported as one network.
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
