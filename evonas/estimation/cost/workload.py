"""What the seconds and the bytes of a training follow from, without training.

Multiply-adds alone say little about the time of small networks: depthwise convolutions do few
but move as much memory as others, and every layer costs a start, however small it is. One
forward pass of one image says all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evonas.estimation.cost.complexity import evaluating


@dataclass(frozen=True)
class Work:
    """Of one image and one forward pass.

    Attributes:
        macs: multiply-adds.
        elements: numbers that all layers put out.
        widest: numbers that go in and come out of the layer with most of them.
        layers: how many run.
        params: numbers of the network's own.
    """

    macs: int
    elements: int
    widest: int
    layers: int
    params: int


def count(module: nn.Module, in_shape: tuple[int, ...], macs: int) -> Work:
    """Count a module on the CPU; it stays as it is.

    Args:
        module: takes one tensor (n, *in_shape).
        in_shape: shape of one input, without the batch.
        macs: its multiply-adds, which are known.
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
