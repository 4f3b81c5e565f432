"""Any image model of the library timm, by name; its size and normalisation are timm's own.

R. Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
Needs ``pip install 'evonas[timm]'``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from evonas.errors import InputError
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.common.model_libraries import build, check_name, library

_INSTALL = "'evonas[timm]'"


class Timm(Hooked):
    """A timm model, frozen; see ``Hooked`` for taps and how they are named.

    Exactly one of ``weights``, ``pretrained`` and ``random`` says where weights come from.

    Args:
        model: timm's name, with or without a tag (``resnet18.a1_in1k``).
        weights: state dictionary of that model; its classifier may be missing in it.
        pretrained: let timm download the weights of its tag.
        random: seed of fresh weights.
        arguments: further keyword arguments of ``timm.create_model`` (``img_size: 128``).
        input_size: side of the input in pixels; None: timm's for this model.
        taps: paths of parts (``blocks.5``, ``stages.2``); None: all, as they are executed.
        prefix_tokens: tokens in front of a grid of tokens; None: as the model says, else
            as many as are too many for the largest square.

    Raises:
        InputError: timm is not installed, does not know the model, or cannot make it so.
    """

    def __init__(
        self,
        *,
        model: str,
        weights: str | None = None,
        pretrained: bool = False,
        random: int | None = None,
        arguments: dict[str, Any] | None = None,
        input_size: int | None = None,
        taps: tuple[str, ...] | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        timm = library("timm", "timm", _INSTALL)
        if ":" not in model:  # those with a colon lie elsewhere (hf-hub:, local-dir:)
            check_name("timm", model.partition(".")[0], timm.list_models())
        net = build(
            "timm",
            lambda load: timm.create_model(model, pretrained=load, **(arguments or {})),
            weights,
            pretrained,
            random,
            may_miss=_classifier,
        )
        config = library("timm.data", "timm", _INSTALL).resolve_model_data_config(net)
        channels, height, width = config["input_size"]
        if channels != 3 or (height != width and input_size is None):
            raise InputError(
                f"backbone 'timm', {model}: expected a model of square RGB images, got one of "
                f"{channels} channels and {height}x{width} pixels: choose another"
            )
        if prefix_tokens is None:
            prefix_tokens = getattr(net, "num_prefix_tokens", None)
        super().__init__(
            net,
            f"backbone 'timm', {model}",
            identity={"model": model, "arguments": arguments or {}},
            input_size=input_size or height,
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            taps=taps,
            prefix_tokens=prefix_tokens,
        )


def _classifier(net: nn.Module) -> Sequence[str]:
    """Return the beginnings of the classifier's names; no tap needs it."""
    config: Any = getattr(net, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return [f"{name}." for name in ([named] if isinstance(named, str) else named)]
