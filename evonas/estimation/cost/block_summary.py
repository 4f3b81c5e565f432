"""Blocks of a network: layers, output shape, multiply-adds and parameters of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evonas.estimation.cost.complexity import MAC_OPERATORS, analysed, evaluating, example

_LISTED = 6  # layers of a block that are named


@dataclass(frozen=True)
class Block:
    """One block of a network, as a diagram would draw it.

    Attributes:
        name: as in the state dict, ``stage2_ghost.0``.
        layers: its layers in words, in the order of the code.
        shape: of its output for one image; empty where it does not run by itself.
        macs: multiply-adds at batch 1.
        params: number of its parameters.
    """

    name: str
    layers: str
    shape: tuple[int, ...]
    macs: int
    params: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "shape": list(self.shape)}


def blocks(module: nn.Module, in_shape: tuple[int, ...]) -> list[Block]:
    """Return the blocks of a network; their costs add up to those of ``complexity.count``.

    A part that only holds others in a row is split, as long as one of these has parts too.

    Args:
        module: takes one tensor (n, *in_shape); its mode and statistics stay as they are.
        in_shape: shape of one input, without the batch.
    """
    parts = dict(_parts(module, ""))
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(part: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    given = example(module, in_shape)
    hooks = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    with evaluating(module), torch.no_grad():
        try:
            module(given)
        finally:
            for hook in hooks:
                hook.remove()
        counted = analysed(module, given).by_module_and_operator()
    found = [
        Block(name, _layers(part), shapes.get(name, ()), _macs(counted[name]), _params(part))
        for name, part in parts.items()
    ]
    macs = _macs(counted[""]) - sum(block.macs for block in found)
    params = _params(module) - sum(block.params for block in found)
    if macs or params:  # what the network does outside its parts
        found.append(Block("(between)", "", (), macs, params))
    return found


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name and module of each block."""
    for name, part in module.named_children():
        row = isinstance(part, nn.Sequential | nn.ModuleList)
        if row and any(len(list(inner.children())) for inner in part.children()):
            yield from _parts(part, f"{prefix}{name}.")
        elif row or any(True for _ in (*part.parameters(), *part.children())):
            yield f"{prefix}{name}", part


def _macs(by_operator: Any) -> int:
    return int(sum(value for name, value in by_operator.items() if name in MAC_OPERATORS))


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _layers(module: nn.Module) -> str:
    """Return the layers of a block in words; norms and identities are left out."""
    leaves = [part for part in module.modules() if not any(True for _ in part.children())]
    silent = nn.modules.batchnorm._BatchNorm | nn.Identity
    words = [_word(part) for part in leaves if not isinstance(part, silent)]
    if len(words) > _LISTED:
        words = [*words[: _LISTED - 1], f"{len(words) - _LISTED + 1} more"]
    return ", ".join(words)


def _word(layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        size = "×".join(str(side) for side in layer.kernel_size)
        grouped = f", {layer.groups} groups" if layer.groups > 1 else ""
        if layer.groups == layer.in_channels > 1:
            grouped = ", depthwise"
        step = f" /{layer.stride[0]}" if layer.stride[0] > 1 else ""
        wide = f" dilated {layer.dilation[0]}" if layer.dilation[0] > 1 else ""
        turned = "transposed " if isinstance(layer, nn.ConvTranspose2d) else ""
        return f"{turned}{size}{step}{wide} {layer.in_channels}→{layer.out_channels}{grouped}"
    if isinstance(layer, nn.Linear):
        return f"linear {layer.in_features}→{layer.out_features}"
    return type(layer).__name__.lstrip("_")
