"""Any image classification model of torchvision, by name; normalised as its weights say.

torchvision maintainers (2016), https://github.com/pytorch/vision. Needs
``pip install 'evonas[torchvision]'``.
"""

from __future__ import annotations

from typing import Any

from evonas.errors import InputError
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.common.model_libraries import build, check_name, library
from evonas.models.backbones.common.taps import IMAGENET_MEAN, IMAGENET_STD

_INSTALL = "'evonas[torchvision]'"


class Torchvision(Hooked):
    """A torchvision model, frozen; see ``Hooked`` for taps and how they are named.

    Exactly one of ``weights``, ``pretrained`` and ``random`` says where weights come from.

    Args:
        model: torchvision's name (``resnet18``).
        weights: state dictionary of that model.
        pretrained: let torchvision download its default weights.
        random: seed of fresh weights.
        arguments: further keyword arguments of the model.
        input_size: side of the input in pixels; None: that of the default weights.
        taps: paths of parts (``layer2.1``, ``features.4``); None: all, as they are executed.
        prefix_tokens: tokens in front of a grid of tokens; None: as many as are too many
            for the largest square.

    Raises:
        InputError: torchvision is not installed or unfit, does not know the model, cannot
            make it so, or it is no classifier of images.
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
        models = library("torchvision.models", "torchvision", _INSTALL)
        # Detection, segmentation, video and quantised models lie in sub-modules of their own.
        check_name("torchvision", model, models.list_models(module=models))
        default = getattr(models.get_model_weights(model), "DEFAULT", None)
        preset = default.transforms() if default is not None else None
        size = input_size or (getattr(preset, "crop_size", None) or [0])[0]
        if not size:
            raise InputError(
                f"backbone 'torchvision', {model}: the library does not say its input size: "
                "give backbone.input_size"
            )
        net = build(
            "torchvision",
            lambda load: models.get_model(
                model, weights=default if load else None, **(arguments or {})
            ),
            weights,
            pretrained,
            random,
        )
        super().__init__(
            net,
            f"backbone 'torchvision', {model}",
            identity={"model": model, "arguments": arguments or {}},
            input_size=int(size),
            mean=tuple(getattr(preset, "mean", IMAGENET_MEAN)),
            std=tuple(getattr(preset, "std", IMAGENET_STD)),
            taps=taps,
            prefix_tokens=prefix_tokens,
        )
