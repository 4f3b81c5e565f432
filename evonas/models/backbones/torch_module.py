"""A backbone from any function that returns a PyTorch module.

The function is named ``package.module:function`` and is imported from the installed packages
or the working directory. **Importing and calling it runs its code**: use only names from files
and command lines that you trust.
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

#: Smallest fraction of weights independent of the seed at which weights count as loaded.
_LOADED = 0.5


class TorchModule(Hooked):
    """A frozen module that a function returns; see ``Hooked`` for its taps and their names.

    The weights are those of the file ``weights``, random weights of the seed ``random``, or, if
    neither is given, those that the function loads. The function is called with two seeds:
    weights that depend on the seed are random, and are refused unless ``random`` is given.

    Args:
        callable: ``package.module:function`` (or a class); returns an ``nn.Module`` whose input
            is (n, 3, input_size, input_size).
        arguments: keyword arguments of the function.
        weights: state dictionary, .safetensors, .pt, .pth or .bin; every name must match.
        input_size: side of the square input, in pixels.
        mean, std: mean and standard deviation of each channel, in the network's order of
            channels, for images in 0..1; the default are those of ImageNet.
        channels: order of the channels in the network's input.
        taps: paths of submodules (``layer2.1``); None: all, in the order of execution.
        prefix_tokens: number of tokens before a grid of tokens; None: the tokens that do not fit
            into the largest square.
        random: seed of random weights, for control experiments without training.

    Raises:
        InputError: the function cannot be imported, fails or returns no module, or the weights,
            the input or the taps do not match the module.
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
            function = _import_function(callable)
            net = _call(function, callable, arguments or {}, random or 0)
            if weights is not None:
                load_into(net, read_state(weights), f"backbone.weights={weights}")
            else:
                other = _call(function, callable, arguments or {}, (random or 0) + 1)
                _check_weight_origin(shared_weights(net, other), callable, random)
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


def _import_function(name: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` names."""
    where = f"backbone.callable={name!r}"
    form = "package.module:function, such as torchvision.models:resnet18"
    value: Any = imported(name, where, form)
    if isinstance(value, nn.Module) or not hasattr(value, "__call__"):  # noqa: B004 - shadowed
        raise InputError(
            f"{where}: expected a function that returns an nn.Module, got a {type(value).__name__}"
        )
    function: Callable[..., Any] = value
    return function


def _call(
    function: Callable[..., Any], name: str, arguments: dict[str, Any], seed: int
) -> nn.Module:
    try:
        module = seeded(lambda: function(**arguments), seed)
    except Exception as error:  # user code can raise any exception
        raise InputError(
            f"backbone.callable={name!r} with arguments {sorted(arguments)} fails "
            f"({one_line(error)})"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"backbone.callable={name!r}: expected it to return an nn.Module, "
            f"got a {type(module).__name__}"
        )
    return module


def _check_weight_origin(shared: float | None, name: str, random: int | None) -> None:
    """Refuse random weights without the option ``random``, and loaded weights with it."""
    loaded = shared is None or shared >= _LOADED
    if random is None and not loaded:
        raise InputError(
            f"backbone.callable={name!r} makes random weights: give backbone.weights=FILE, "
            "or backbone.random=SEED to use random weights"
        )
    if random is not None and loaded:
        raise InputError(
            f"backbone.random={random}: {name} makes the same weights from every seed, so it "
            "loads its weights (or has none): give backbone.arguments with which it loads none"
        )
