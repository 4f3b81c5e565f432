"""Find the last linear layers of a network, record their inputs, and remove their units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.deployment.distinctiveness.unit_similarity import Merged

#: Layers that process each unit separately.
_ELEMENTWISE = (
    *(nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish),
    *(nn.Sigmoid, nn.Tanh, nn.Dropout, nn.Identity),
)


@dataclass(frozen=True)
class LinearUnits:
    """A linear layer and the origin of its units (inputs).

    Attributes:
        name: path of the layer in the network.
        units: number of inputs.
        outputs: number of outputs.
        producer: path of the linear layer whose outputs are the units, possibly after layers
            that process each unit separately; None for other units, such as pooled channels.
        between: paths of the layers between ``producer`` and this layer.
    """

    name: str
    units: int
    outputs: int
    producer: str | None = None
    between: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The weights that the removal of a unit removes, in words."""
        if self.producer is None:
            return "columns of weights; the layers before stay"
        return f"columns of weights, and rows of {self.producer}"


def final_linears(module: nn.Module, example: Tensor) -> list[LinearUnits]:
    """Return the linear layers at the end of a network, the last first.

    The search goes back from the output and stops at a layer that is neither linear nor
    processes each unit separately, and at a layer that is called twice.

    Args:
        module: the network; it is run once in evaluation mode.
        example: an input of the network.
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
    layers: list[LinearUnits] = []
    between: list[str] = []
    expected = output
    for path, part, given, out in reversed(calls):
        if out is not expected or path not in once:
            break
        if isinstance(part, nn.Linear):
            if layers:
                layers[-1] = replace(layers[-1], producer=path, between=tuple(between))
            layers.append(LinearUnits(path, part.in_features, part.out_features))
            between = []
        elif isinstance(part, _ELEMENTWISE) and layers:
            between.append(path)
        else:
            break
        expected = given
    return layers


@contextmanager
def entering(module: nn.Module, layers: list[LinearUnits]) -> Iterator[dict[str, list[Tensor]]]:
    """Record the inputs of layers while the network runs: path -> list of (n, units)."""
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    handles = [
        module.get_submodule(name).register_forward_pre_hook(
            lambda part, given, into=into: into.append(given[0].detach().float().cpu().clone())
        )
        for name, into in inputs.items()
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def weights(module: nn.Module, layer: LinearUnits) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a layer's weight (outputs, units) and bias (outputs,); without a bias, zeros."""
    linear: Any = module.get_submodule(layer.name)
    weight = linear.weight.detach().cpu().numpy()
    if linear.bias is None:
        return weight, np.zeros(layer.outputs, weight.dtype)
    return weight, linear.bias.detach().cpu().numpy()


def without(module: nn.Module, layer: LinearUnits, merged: Merged) -> nn.Module:
    """Return a copy of a network in which a layer has fewer units.

    If another linear layer computes the units, its rows are removed as well, and the network is
    faster. Otherwise all units are computed as before, and the layer selects the kept ones.

    Args:
        module: the network.
        layer: a layer of the network.
        merged: the same layer without the removed units.
    """
    small = deepcopy(module)
    old: Any = small.get_submodule(layer.name)
    linear = _linear(merged.weight, merged.bias, old.weight)
    if layer.producer is None:
        all_kept = len(merged.kept) == layer.units
        return _replaced(small, layer.name, linear if all_kept else _Selected(merged.kept, linear))
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


class _Selected(nn.Module):
    """A linear layer on a selection of its inputs."""

    def __init__(self, kept: NDArray[np.intp], linear: nn.Linear) -> None:
        super().__init__()
        self.outputs = linear
        self.kept: Tensor
        self.register_buffer("kept", torch.from_numpy(kept).to(linear.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.outputs(x.index_select(1, self.kept))
        return outputs


def _linear(weight: Any, bias: Any, like: Tensor) -> nn.Linear:
    """Return a linear layer with these weights, on the device and in the type of ``like``."""
    weight = torch.as_tensor(weight)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().to(like).contiguous().clone())
    if bias is not None:
        linear.bias = nn.Parameter(torch.as_tensor(bias).detach().clone().to(like))
    return linear


def _replaced(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Replace a submodule, given by its path, and return the network (an empty path: ``part``)."""
    if not path:
        return part
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, part)
    return module
