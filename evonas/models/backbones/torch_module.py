"""Any PyTorch module: a function that makes it, its weights, and taps on its parts by name.

The function is named ``package.module:function`` and imported, from what is installed or
from the working directory. **Importing and calling it runs its code**: take such a name
only from a file or a command line that you trust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from evonas.core.dotted_names import imported, working_directory
from evonas.errors import InputError, one_line
from evonas.models.backbones.common.hooked_module import Hooked, seeded, shared_weights
from evonas.models.backbones.common.taps import IMAGENET_MEAN, IMAGENET_STD, Channels, Triple
from evonas.models.files.state_dicts import load_into, read_state

_LOADED = 0.5  # share of weights that do not depend on the seed, from which on they count as loaded


class TorchModule(Hooked):
    """A module that a function makes, frozen; see ``Hooked`` for taps and how they are named.

    Weights come from one of three places: the file ``weights``; the seed ``random``; or the
    function itself, if neither is given. The last two are told apart by calling the function
    with two seeds: weights that change with the seed are random, and random weights are
    used only where ``random`` asks for them.

    Args:
        callable: ``package.module:function`` (or a class); returns an ``nn.Module`` that
            takes (n, 3, input_size, input_size).
        arguments: keyword arguments of the function.
        weights: state dictionary, .safetensors, .pt, .pth or .bin; every name must fit.
        input_size: side of the square input, in pixels.
        mean, std: of each channel, in the network's order, for images in 0..1; those of
            ImageNet unless given.
        channels: the order in which the network takes them.
        taps: paths of parts (``layer2.1``); None: all, in the order of execution.
        prefix_tokens: tokens in front of a grid of tokens; None: as many as are too many
            for the largest square.
        random: seed of fresh weights (a control: what does training contribute?).

    Raises:
        InputError: the function cannot be imported or fails, returns no module, or the
            weights, the input or the taps do not fit it.
    """

    def __init__(
        self,
        *,
        callable: str,
        input_size: int,
        arguments: dict[str, Any] | None = None,
        weights: str | None = None,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        channels: Channels = "rgb",
        taps: tuple[str, ...] | None = None,
        prefix_tokens: int | None = None,
        random: int | None = None,
    ) -> None:
        if weights is not None and random is not None:
            raise InputError(
                f"backbone.weights={weights!r} and backbone.random={random} exclude each other: "
                "give only one"
            )
        with working_directory():
            make = _function(callable)
            net = _made(make, callable, arguments or {}, random or 0)
            if weights is not None:
                load_into(net, read_state(weights), f"backbone.weights={weights}")
            else:
                other = _made(make, callable, arguments or {}, (random or 0) + 1)
                _check_origin(shared_weights(net, other), callable, random)
            super().__init__(
                net,
                f"backbone 'torch_module', {callable}",
                identity={"callable": callable, "arguments": arguments or {}},
                input_size=input_size,
                mean=mean,
                std=std,
                channels=channels,
                taps=taps,
                prefix_tokens=prefix_tokens,
            )


def _function(name: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` names."""
    where = f"backbone.callable={name!r}"
    form = "package.module:function, such as torchvision.models:resnet18"
    found: Any = imported(name, where, form)
    if isinstance(found, nn.Module) or not hasattr(found, "__call__"):  # noqa: B004 - shadowed
        raise InputError(
            f"{where}: expected a function that returns an nn.Module, got a {type(found).__name__}"
        )
    function: Callable[..., Any] = found
    return function


def _made(make: Callable[..., Any], name: str, arguments: dict[str, Any], seed: int) -> nn.Module:
    try:
        made = seeded(lambda: make(**arguments), seed)
    except Exception as error:  # it is a user's code that runs here
        raise InputError(
            f"backbone.callable={name!r} with arguments {sorted(arguments)} fails "
            f"({one_line(error)})"
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"backbone.callable={name!r}: expected it to return an nn.Module, "
            f"got a {type(made).__name__}"
        )
    return made


def _check_origin(shared: float | None, name: str, random: int | None) -> None:
    """Refuse random weights that nobody asked for, and loaded ones in place of random."""
    loaded = shared is None or shared >= _LOADED
    if random is None and not loaded:
        raise InputError(
            f"backbone.callable={name!r} makes random weights: give backbone.weights=FILE, "
            "or backbone.random=SEED if random ones are wanted"
        )
    if random is not None and loaded:
        raise InputError(
            f"backbone.random={random}: {name} makes the same weights from every seed, so it "
            "loads them (or has none): change the backbone.arguments that make it do so"
        )
