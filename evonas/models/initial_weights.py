"""Starting a training from weights instead of fresh: what fits is taken by name and shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.files.state_dicts import read_state

#: Share of a network's parameters below which a file is not of this network.
_ENOUGH = 0.5


def read_start(file: str) -> dict[str, Tensor]:
    """Return the state dict of a file, on the CPU.

    Raises:
        InputError: the file is missing, no state dict, or needs code to be unpickled.
    """
    return read_state(file, "start")


def start_from(module: nn.Module, state: Mapping[str, Tensor], where: str) -> list[str]:
    """Copy every tensor of ``state`` into ``module`` whose name and shape fit.

    The rest stays as it is: a published ImageNet network gives its trunk, and the last
    layer, of another length, starts fresh.

    Args:
        module: changed in place; dtype and device stay.
        state: name -> tensor.
        where: what an error message calls the source of ``state``.

    Returns:
        Names of the module's parameters and buffers that stayed fresh, in its order.

    Raises:
        InputError: fewer than half of the module's parameters (counted as numbers, not as
            tensors) were found; nothing was changed.
    """
    own = module.state_dict()
    fitting = [name for name, tensor in own.items() if _fits(tensor, state.get(name))]
    found = set(fitting)
    parameters = {name: tensor.numel() for name, tensor in module.named_parameters()}
    total = sum(parameters.values())
    taken = sum(size for name, size in parameters.items() if name in found)
    if taken < _ENOUGH * total:
        missing = [
            _told(name, own[name], state.get(name)) for name in parameters if name not in found
        ]
        first = next(iter(state), None)
        has = "is empty" if first is None else f"begins with {first!r}"
        raise InputError(
            f"start {where}: expected weights of this network, got {taken} of its {total} "
            f"parameters; missing {', '.join(missing[:3])}, while the file {has}: "
            "give the weights of the same network, or leave start empty"
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(state[name])
    return [name for name in own if name not in found]


def _fits(own: Tensor, given: Tensor | None) -> bool:
    if given is None or given.shape != own.shape:
        return False
    # Numbers of another kind (quantised, say) would not mean the same.
    return given.is_floating_point() == own.is_floating_point()


def _told(name: str, own: Tensor, given: Tensor | None) -> str:
    """Return a name, with both shapes where the file has the name but not the shape."""
    if given is None or given.shape == own.shape:
        return repr(name)
    return f"{name!r} {tuple(own.shape)} (the file: {tuple(given.shape)})"
