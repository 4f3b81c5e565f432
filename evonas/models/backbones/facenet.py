"""Inception-ResNet v1 for face recognition, as the library facenet-pytorch has it.

F. Schroff et al. (2015), FaceNet, with the network of C. Szegedy et al. (2017); library:
https://github.com/timesler/facenet-pytorch. Needs
``pip install 'evonas[facenet]'`` and then, as the library's own limits
forbid every torch of the last years, ``pip install --no-deps facenet-pytorch``.
"""

from __future__ import annotations

from typing import Literal

from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.common.model_libraries import build, library

_INSTALL = "'evonas[facenet]', then pip install --no-deps facenet-pytorch"
_MEAN = 127.5 / 255.0  # the library feeds (x - 127.5) / 128
_STD = 128.0 / 255.0


class Facenet(Hooked):
    """facenet-pytorch's InceptionResnetV1: 160x160 RGB, frozen; taps such as ``repeat_2``.

    Exactly one of ``weights``, ``pretrained`` and ``random`` says where weights come from.

    Args:
        model: what the library's weights were trained on; used with ``pretrained``.
        weights: state dictionary of that network; its classifier (``logits``) is left out.
        pretrained: let the library download its weights.
        random: seed of fresh weights.
        input_size: side of the input in pixels.
        taps: paths of parts; None: all, in the order of execution. ``repeat_1`` is
            (256, 17, 17), ``repeat_2`` (896, 8, 8), ``block8`` (1792, 3, 3) at 160 pixels.

    Raises:
        InputError: the library is not installed or unfit, or the file does not fit.
    """

    def __init__(
        self,
        *,
        model: Literal["vggface2", "casia-webface"] = "vggface2",
        weights: str | None = None,
        pretrained: bool = False,
        random: int | None = None,
        input_size: int = 160,
        taps: tuple[str, ...] | None = None,
    ) -> None:
        facenet = library("facenet_pytorch", "facenet", _INSTALL)
        net = build(
            "facenet",
            lambda load: facenet.InceptionResnetV1(pretrained=model if load else None),
            weights,
            pretrained,
            random,
            leave_out=("logits.",),
            may_miss=lambda net: ("logits.",),
        )
        super().__init__(
            net,
            "backbone 'facenet'",
            identity={"model": "InceptionResnetV1"},
            input_size=input_size,
            mean=(_MEAN, _MEAN, _MEAN),
            std=(_STD, _STD, _STD),
            taps=taps,
        )
