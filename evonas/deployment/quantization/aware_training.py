"""Training with simulated rounding (Jacob et al. 2018, arXiv 1712.05877, section 3).

In the forward pass weights and activations are rounded as integers would round them, and in
the backward pass gradients go past the rounding as if it were not there. Batch norms are
folded before, so backbone and head train together on the statistics that they had.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, fx, nn

from evonas.deployment.quantization.capture import Captured
from evonas.deployment.quantization.pt2e import calibrate, prepare
from evonas.errors import InputError


class Aware(nn.Module):
    """A network that rounds as it would with integers of 8 bits, and can be trained.

    In training mode it observes the ranges of activations as well, as moving averages; in
    evaluation mode they stay as they are. Those of weights are the weights' own at any time.

    Args:
        captured: the network; left as it is.
        batches: images that the first ranges are taken from.

    Raises:
        InputError: torchao is missing, or the network takes only one image at a time.
    """

    def __init__(self, captured: Captured, batches: Iterable[Tensor]) -> None:
        super().__init__()
        if not captured.any_batch:
            raise InputError(
                "aware training needs batches, but the network takes one image at a time: "
                "export its backbone with a dynamic batch, or quantise without --qat"
            )
        self._captured = captured
        self.graph: fx.GraphModule = prepare(captured, aware=True)
        calibrate(self.graph, batches)
        for parameter in self.graph.parameters():
            parameter.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs for (n, 3, side, side) float RGB in 0..255."""
        outputs: Tensor = self.graph(images)
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Observe ranges or not; nothing else in a captured graph has a mode."""
        self.training = mode
        for part in self.graph.modules():
            if hasattr(part, "observer_enabled") and not part.is_per_channel:
                (part.enable_observer if mode else part.disable_observer)()  # type: ignore[operator]
        return self

    def plain(self) -> Captured:
        """Return the network with its trained weights and without rounding."""
        graph = deepcopy(self._captured.graph)
        trained = dict(self.graph.named_parameters())
        with torch.no_grad():
            for name, parameter in graph.named_parameters():
                parameter.copy_(trained[name])
        return replace(self._captured, graph=graph)
