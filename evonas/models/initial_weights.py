"""Initialise a network with the weights of a file, matched by name and shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.files.state_dicts import read_state

#: Smallest fraction of a network's parameters that a file of initial weights must contain.
_ENOUGH = 0.5


def read_start(file: str) -> dict[str, Tensor]:
    """Return the state dictionary in the file of the option ``start``, on the CPU.

    Raises:
        InputError: the file is missing, no state dictionary, or contains code.
    """
    return read_state(file, "start")


def start_from(module: nn.Module, state: Mapping[str, Tensor], where: str) -> list[str]:
    """Copy the tensors of ``state`` into ``module`` where name and shape agree.

    All other tensors keep their values. With the weights of a published ImageNet network, for
    example, only the last layer, of another length, keeps its initialisation.

    Args:
        module: changed in place; data types and devices stay.
        state: name -> tensor.
        where: source of ``state``, for messages.

    Returns:
        The names of the module's parameters and buffers that were not copied, in its order.

    Raises:
        InputError: ``state`` contains fewer than half of the module's parameters; the module
            was not changed.
    """
    own = module.state_dict()
    copied = {name for name, tensor in own.items() if _matches(tensor, state.get(name))}
    parameters = {name: tensor.numel() for name, tensor in module.named_parameters()}
    total = sum(parameters.values())
    available = sum(size for name, size in parameters.items() if name in copied)
    if available < _ENOUGH * total:
        missing = [
            _describe(name, own[name], state.get(name)) for name in parameters if name not in copied
        ]
        first = next(iter(state), None)
        content = "is empty" if first is None else f"begins with {first!r}"
        raise InputError(
            f"start {where}: expected weights of this network, got {available} of its {total} "
            f"parameters; missing {', '.join(missing[:3])}, while the file {content}: "
            "give the weights of the same network, or leave start empty"
        )
    with torch.no_grad():
        for name in copied:
            own[name].copy_(state[name])
    return [name for name in own if name not in copied]


def _matches(own: Tensor, given: Tensor | None) -> bool:
    if given is None or given.shape != own.shape:
        return False
    # Integers, such as those of a quantised network, are no values of a float parameter.
    return given.is_floating_point() == own.is_floating_point()


def _describe(name: str, own: Tensor, given: Tensor | None) -> str:
    """Return a parameter's name, with both shapes if the file has it in another shape."""
    if given is None or given.shape == own.shape:
        return repr(name)
    return f"{name!r} {tuple(own.shape)} (the file: {tuple(given.shape)})"
