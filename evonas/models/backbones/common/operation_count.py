"""The cost of a whole network, counted by torch while it runs on one empty image.

``estimation.complexity`` counts on a trace, which a network without storage (on the meta
device) cannot give, and stands on an upper floor. Both counters agree; a test holds them
against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evonas.models.backbones.base import NetworkCost


def counted(
    run: Callable[[Tensor], object],
    side: int,
    parameters: Iterable[nn.Parameter],
    device: str = "cpu",
) -> NetworkCost:
    """Return the cost of a network.

    Args:
        run: (1, 3, side, side) images in 0..255 -> anything.
        side: of the input, in pixels.
        parameters: of the network.
        device: where they are; on ``meta`` nothing is computed, and no memory taken.
    """
    images = torch.zeros(1, 3, side, side, device=device)
    # A fused attention would be one operator, whose products the counter does not know.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run(images)
    return NetworkCost(counter.get_total_flops() // 2, sum(one.numel() for one in parameters))
