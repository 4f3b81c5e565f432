"""What every backbone offers: named taps on a frozen network."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from evonas.errors import InputError, nearest

Shape = tuple[int, int, int]


class NetworkCost(NamedTuple):
    """The cost of a whole network at batch 1.

    Attributes:
        macs: multiply-adds of its convolutions and linear layers.
        params: number of its parameters.
    """

    macs: int
    params: int


class Backbone(nn.Module, ABC):
    """A frozen network that turns face images into feature maps.

    Normalisation is part of ``forward``, so nobody else needs to know it.

    Attributes:
        input_size: side of the square input, in pixels.
        taps: tap name -> (channels, height, width) of its output, from the
            input to the output of the network.
    """

    input_size: int
    taps: Mapping[str, Shape]

    @abstractmethod
    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the feature maps of the named taps.

        Args:
            images: (n, 3, input_size, input_size) float RGB in 0..255.
            taps: names from ``self.taps``; layers behind the last are not run.

        Returns:
            tap name -> (n, channels, height, width) float.

        Raises:
            InputError: there is no such tap.
        """

    def known(self, taps: Sequence[str]) -> set[str]:
        """Return the names as a set.

        Raises:
            InputError: the backbone has not all of them (the nearest is offered).
        """
        for name in taps:
            if name not in self.taps:
                raise InputError(f"the backbone has no tap {name!r}: {nearest(name, self.taps)}")
        return set(taps)

    def whole(self) -> NetworkCost | None:
        """Return the cost of the whole network that the backbone was cut from.

        It counts from the image to the network's own output, with a fully connected part
        that no tap needs. Reductions by pruning are published against it, and most of such
        a reduction may be that part alone (``transfer.reduction``).

        Returns:
            None where there is no such network; then the last tap is all that there is.
        """
        return None

    @property
    def normalisation(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of red, green and blue in 0..255, for people who ask.

        What is fed is (value - mean) / deviation; None where that is not how it is told.
        """
        return None

    @property
    def fingerprint(self) -> str:
        """Hexadecimal hash of the class, every weight and every buffer."""
        digest = hashlib.blake2b(type(self).__qualname__.encode(), digest_size=16)
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def freeze(self) -> None:
        """Put the network in evaluation mode and switch gradients off."""
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)


class Pooled(Backbone):
    """A backbone whose maps are averaged over height and width: a few numbers an image.

    Its taps are those of the backbone that it wraps, of shape (channels, 1, 1), and all of
    them take one pass and little room, so linear models of every tap are cheap (John
    et al. 2019, arXiv 1901.02675, algorithm 1).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.input_size = backbone, backbone.input_size
        self.taps = {tap: (shape[0], 1, 1) for tap, shape in backbone.taps.items()}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return (n, channels, 1, 1) means of the named maps; see ``Backbone.forward``."""
        maps: dict[str, Tensor] = self.backbone(images, taps)
        return {tap: values.mean((2, 3), keepdim=True) for tap, values in maps.items()}

    @property
    def fingerprint(self) -> str:
        """Hexadecimal hash; follows from that of the wrapped backbone, and is another."""
        text = f"{type(self).__qualname__} {self.backbone.fingerprint}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def informative_taps(taps: Mapping[str, Shape], few: int) -> list[str]:
    """Return the taps worth a look: parts near the top, and the last of each shape.

    Args:
        taps: name -> shape, from input to output.
        few: up to so many, all are.
    """
    if len(taps) <= few:
        return list(taps)
    last = {shape: tap for tap, shape in taps.items()}
    high = {tap for tap in taps if tap.count(".") < 2 and ":" not in tap}
    return [tap for tap in taps if tap in high or last[taps[tap]] == tap]
