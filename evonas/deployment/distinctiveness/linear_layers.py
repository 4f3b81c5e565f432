"""The linear layers that end a network: what enters them, and the same without some units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.deployment.distinctiveness.unit_similarity import Merged

#: Layers that work on each unit by itself.
_EACH = (
    *(nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish),
    *(nn.Sigmoid, nn.Tanh, nn.Dropout, nn.Identity),
)


@dataclass(frozen=True)
class LinearUnits:
    """A linear layer and where its units come from.

    Attributes:
        name: path of the layer in the network.
        units: how many numbers enter it.
        outputs: how many leave it.
        producer: path of the linear layer whose outputs the units are, with nothing between
            but layers that work on each by itself; None: they are pooled channels or the like.
        between: paths of these layers.
    """

    name: str
    units: int
    outputs: int
    producer: str | None = None
    between: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What removing a unit takes away."""
        if self.producer is None:
            return "columns of weights; what makes the units stays"
        return f"columns of weights, and rows of {self.producer}"


def final_linears(module: nn.Module, example: Tensor) -> list[LinearUnits]:
    """Return the linear layers at the end of a network, the last first.

    Followed back from the output, the chain ends at the first layer that is neither linear
    nor works on each unit by itself, and at one that runs twice.

    Args:
        module: is run once in evaluation mode.
        example: what it takes.
    """
    calls: list[tuple[str, nn.Module, Any, Any]] = []
    handles = [
        part.register_forward_hook(
            lambda part, given, out, path=path: calls.append((path, part, given[0], out))
        )
        for path, part in module.named_modules()
        if not any(True for _ in part.children())
    ]
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            output = module.eval()(example)
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes.items():
            part.training = mode
    once = {path for path, *_ in calls if sum(path == other for other, *_ in calls) == 1}
    found: list[LinearUnits] = []
    between: list[str] = []
    wanted = output
    for path, part, given, out in reversed(calls):
        if out is not wanted or path not in once:
            break
        if isinstance(part, nn.Linear):
            if found:
                last = found.pop()
                found.append(LinearUnits(last.name, last.units, last.outputs, path, tuple(between)))
            found.append(LinearUnits(path, part.in_features, part.out_features))
            between = []
        elif isinstance(part, _EACH) and found:
            between.append(path)
        else:
            break
        wanted = given
    return found


@contextmanager
def entering(module: nn.Module, layers: list[LinearUnits]) -> Iterator[dict[str, list[Tensor]]]:
    """Note what enters layers while the network runs: path -> tensors (n, units) in order."""
    seen: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    handles = [
        module.get_submodule(name).register_forward_pre_hook(
            lambda part, given, into=into: into.append(given[0].detach().float().cpu().clone())
        )
        for name, into in seen.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def weights(module: nn.Module, layer: LinearUnits) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a layer's weight (outputs, units) and bias (outputs,), of zeros if it has none."""
    linear: Any = module.get_submodule(layer.name)
    weight = linear.weight.detach().cpu().numpy()
    if linear.bias is None:
        return weight, np.zeros(layer.outputs, weight.dtype)
    return weight, linear.bias.detach().cpu().numpy()


def without(module: nn.Module, layer: LinearUnits, merged: Merged) -> nn.Module:
    """Return a copy of a network in which a layer has lost units.

    Where another linear layer makes the units, its rows go too, and the network computes
    less. Else the units are made as before, and those that are left are picked out.

    Args:
        module: stays as it is.
        layer: of it.
        merged: what is left of the layer.
    """
    small = deepcopy(module)
    old: Any = small.get_submodule(layer.name)
    linear = _linear(merged.weight, merged.bias, old.weight)
    if layer.producer is None:
        picked = linear if len(merged.kept) == layer.units else _Picked(merged.kept, linear)
        return _replaced(small, layer.name, picked)
    small = _replaced(small, layer.name, linear)
    producer: Any = small.get_submodule(layer.producer)
    kept = torch.from_numpy(merged.kept).to(producer.weight.device)
    rows = producer.bias[kept] if producer.bias is not None else None
    shorter = _linear(producer.weight[kept], rows, producer.weight)
    small = _replaced(small, layer.producer, shorter)
    for path in layer.between:
        part = small.get_submodule(path)
        if isinstance(part, nn.PReLU) and part.num_parameters > 1:
            part.weight = nn.Parameter(part.weight.detach()[kept].clone())
            part.num_parameters = len(kept)
    return small


class _Picked(nn.Module):
    """A linear layer on some of the units that enter."""

    def __init__(self, kept: NDArray[np.intp], linear: nn.Linear) -> None:
        super().__init__()
        self.outputs = linear
        self.kept: Tensor
        self.register_buffer("kept", torch.from_numpy(kept).to(linear.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.outputs(x.index_select(1, self.kept))
        return found


def _linear(weight: Any, bias: Any, like: Tensor) -> nn.Linear:
    weight = torch.as_tensor(weight)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().to(like).contiguous().clone())
    if bias is not None:
        linear.bias = nn.Parameter(torch.as_tensor(bias).detach().clone().to(like))
    return linear


def _replaced(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Return a network with another part in place; the part itself if it is the whole."""
    if not path:
        return part
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, part)
    return module
