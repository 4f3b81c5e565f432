"""Weights and forward pass of backbones whose network is defined in evonas."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from evonas.errors import InputError


def check_weight_source(
    backbone: str, weights: str | None, random: int | None, file: str = "FILE"
) -> None:
    """Refuse a backbone that was given both trained and random weights, or neither.

    Args:
        backbone: its name, for the message.
        weights: path of the trained weights.
        random: seed of random weights.
        file: what ``weights`` must be, for the message.

    Raises:
        InputError: both options are given, or neither is.
    """
    if (weights is None) == (random is None):
        raise InputError(
            f"backbone {backbone!r}: expected either backbone.weights={file} or "
            f"backbone.random=SEED, got weights={weights!r}, random={random!r}"
        )


def draw_weights(network: nn.Module, generator: torch.Generator, gain: float = 2.0) -> None:
    """Draw normal weights of variance gain / fan-in, and set biases to 0.

    Scales of batch norms stay as they are. ``gain`` = 2 is the initialisation for ReLU of He
    et al. (2015, arXiv 1502.01852).

    Args:
        network: changed in place.
        generator: source of the numbers; the global generator is not used.
        gain: mean square of a layer's output, relative to its input.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                deviation = (gain / parameter[0].numel()) ** 0.5
                parameter.normal_(0.0, deviation, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()


def run_to_taps(
    x: Tensor, steps: Iterable[tuple[str, Callable[[Tensor], Tensor]]], wanted: set[str]
) -> dict[str, Tensor]:
    """Run the parts of a network one after another until all wanted outputs are computed.

    Args:
        x: input of the first part.
        steps: (tap, part whose output is the tap's feature map), in the order of execution.
        wanted: names of taps.

    Returns:
        tap -> feature map.
    """
    maps: dict[str, Tensor] = {}
    for tap, step in steps:
        if len(maps) == len(wanted):
            break
        x = step(x)
        if tap in wanted:
            maps[tap] = x
    return maps
