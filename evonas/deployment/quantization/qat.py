"""Quantization-aware training (QAT; Jacob et al. 2018, arXiv 1712.05877, section 3).

The forward pass rounds weights and activations to 8 bits; the backward pass ignores the
rounding (straight-through estimator). Batch norms are folded before, so backbone and head are
trained with fixed statistics.
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


class QATNetwork(nn.Module):
    """A trainable network that simulates rounding to 8-bit integers.

    In training mode, moving averages of the ranges of activations are updated; in evaluation
    mode they stay. The ranges of weights are always those of the current weights.

    Args:
        captured: the float network; not changed.
        batches: images for the initial ranges, (b, 3, side, side) float RGB in 0..255 each.

    Raises:
        InputError: torchao is missing, or the network takes only one image at a time.
    """

    def __init__(self, captured: Captured, batches: Iterable[Tensor]) -> None:
        super().__init__()
        if not captured.any_batch:
            raise InputError(
                "quantisation-aware training needs batches, but the network takes one image at a "
                "time: export its backbone with a dynamic batch, or quantise without --qat"
            )
        self._captured = captured
        self.graph: fx.GraphModule = prepare(captured, qat=True)
        calibrate(self.graph, batches)
        for parameter in self.graph.parameters():
            parameter.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs for (n, 3, side, side) float RGB in 0..255."""
        outputs: Tensor = self.graph(images)
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Switch the observation of activation ranges on or off."""
        self.training = mode
        for part in self.graph.modules():
            if hasattr(part, "observer_enabled") and not part.is_per_channel:
                (part.enable_observer if mode else part.disable_observer)()  # type: ignore[operator]
        return self

    def plain(self) -> Captured:
        """Return the float network with the trained weights."""
        graph = deepcopy(self._captured.graph)
        trained = dict(self.graph.named_parameters())
        with torch.no_grad():
            for name, parameter in graph.named_parameters():
                parameter.copy_(trained[name])
        return replace(self._captured, graph=graph)
