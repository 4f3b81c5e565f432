"""Simulated rounding of weights without synchronisation with the GPU; imports torchao."""

from __future__ import annotations

import torch
from torch import Tensor
from torchao.quantization.pt2e.fake_quantize import FakeQuantize


class WeightRounding(FakeQuantize):  # type: ignore[misc]
    """Rounds weights to 8 bits, symmetric and per channel, with their current ranges.

    The results are bitwise those of ``FakeQuantize``. In every step, ``FakeQuantize`` copies
    three values from the GPU to the CPU (whether to observe, whether to round, and whether the
    ranges are valid), which CUDA graphs forbid and which makes the CPU wait for the GPU.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rounded weights; gradients ignore the rounding."""
        observer = self.activation_post_process
        observer(weight.detach())
        lowest = torch.min(observer.min_val, torch.zeros_like(observer.min_val))
        highest = torch.max(observer.max_val, torch.zeros_like(observer.max_val))
        steps = float(observer.quant_max - observer.quant_min)
        scale = torch.max(torch.max(-lowest, highest) / (steps / 2), observer.eps)
        if self.scale.shape != scale.shape:  # before the first step
            self.scale.resize_(scale.shape)
            self.zero_point.resize_(scale.shape).zero_()
        self.scale.copy_(scale)
        # With integer zero points torch checks their range, which synchronises with the GPU.
        zero = self.zero_point.float()
        return torch.fake_quantize_per_channel_affine(
            weight, self.scale, zero, self.ch_axis, observer.quant_min, observer.quant_max
        )
