"""Modules of a backbone up to one tap, and of such a backbone followed by a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evonas.models.backbone_cut import UpperLayers
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

    def __init__(self, upto: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.upto, self.head = upto, head

    def forward(self, images: Tensor) -> Tensor:
        """Return the head's outputs, (n, n_outputs[, h, w]).

        Args:
            images: (n, 3, input_size, input_size) float RGB in 0..255.
        """
        outputs: Tensor = self.head(self.upto(images))
        return outputs


class FineTunedNetwork(FullNetwork):
    """The upper layers of a backbone, followed by a head: map of a tap -> outputs of the task.

    Everything but its parameters and the head's buffers is frozen: it is as in the backbone, and
    state dictionaries need not contain it.

    Args:
        layers: the upper layers.
        head: the head on them.
    """

    def __init__(self, layers: UpperLayers, head: nn.Module) -> None:
        super().__init__(layers.graph, head)
        self._intervals = layers.intervals
        self.frozen = frozenset(f"upto.{name}" for name, _ in layers.graph.named_buffers())

    def rates(self, decay: float) -> dict[str, float]:
        """Return parameter -> learning rate relative to the head's.

        Args:
            decay: factor of each interval between taps, from the head downwards.
        """
        return {f"upto.{name}": decay**number for name, number in self._intervals.items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights; see ``nn.Module.load_state_dict``. Frozen tensors may be missing."""
        frozen = {name: tensor for name, tensor in self.state_dict().items() if name in self.frozen}
        return super().load_state_dict({**frozen, **state_dict}, strict, assign)
