"""Inception-ResNet v1 for face recognition, from the library facenet-pytorch.

F. Schroff et al. (2015), FaceNet, with the network of C. Szegedy et al. (2017); library:
https://github.com/timesler/facenet-pytorch. Needs ``pip install 'evonas[facenet]'`` and then
``pip install --no-deps facenet-pytorch``, because the library's declared dependencies exclude
recent versions of torch.
"""

from __future__ import annotations

from typing import Literal

from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.common.model_libraries import build, library

_INSTALL = "'evonas[facenet]', then pip install --no-deps facenet-pytorch"
_MEAN = 127.5 / 255.0  # the library normalises with (x - 127.5) / 128
_STD = 128.0 / 255.0


class Facenet(Hooked):
    """facenet-pytorch's InceptionResnetV1 on 160x160 RGB pixels, frozen.

    Exactly one of ``weights``, ``pretrained`` and ``random`` must be given.

    Args:
        model: training set of the library's weights; used with ``pretrained``.
        weights: state dictionary of the network; its classifier (``logits``) is left out.
        pretrained: let the library download its weights.
        random: seed of random weights.
        input_size: side of the input in pixels.
        taps: paths of submodules; None: all, in the order of execution. ``repeat_1`` is
            (256, 17, 17), ``repeat_2`` (896, 8, 8), ``block8`` (1792, 3, 3) at 160 pixels.

    Raises:
        InputError: the library is not installed or cannot be imported, or the file is not a
            state dictionary of this network.
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
