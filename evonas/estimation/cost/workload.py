"""Workload of a network: the counts from which the time and memory of a training are predicted.

Multiply-adds alone predict the time of small networks badly: depthwise convolutions have few but
move as much memory as others, and every layer costs a kernel launch. One forward pass of one
image gives all counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evonas.estimation.cost.complexity import evaluating


@dataclass(frozen=True)
class Work:
    """Counts of one forward pass of one image.

    Attributes:
        macs: multiply-adds.
        elements: output elements, summed over the layers.
        widest: most input and output elements of any one layer.
        layers: number of layers that run.
        params: number of parameters.
    """

    macs: int
    elements: int
    widest: int
    layers: int
    params: int


def count(module: nn.Module, in_shape: tuple[int, ...], macs: int) -> Work:
    """Return the workload of a module on the CPU; the module stays as it is.

    Args:
        module: takes one tensor (n, *in_shape).
        in_shape: shape of one input, without the batch.
        macs: multiply-adds of the module.
    """
    sizes: list[tuple[int, int]] = []

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        into = sum(value.numel() for value in inputs if isinstance(value, Tensor))
        sizes.append((into, output.numel() if isinstance(output, Tensor) else 0))

    leaves = [part for part in module.modules() if not any(True for _ in part.children())]
    hooks = [leaf.register_forward_hook(look) for leaf in leaves]
    try:
        with evaluating(module), torch.inference_mode():
            module(torch.zeros(1, *in_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return Work(
        macs=macs,
        elements=sum(out for _, out in sizes),
        widest=max((into + out for into, out in sizes), default=0),
        layers=len(sizes),
        params=sum(parameter.numel() for parameter in module.parameters()),
    )
