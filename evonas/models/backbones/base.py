"""Base class of backbones: frozen networks with named feature maps (taps)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evonas.errors import InputError, nearest

Shape = tuple[int, int, int]


class NetworkCost(NamedTuple):
    """The cost of a network at batch 1.

    Attributes:
        macs: multiply-adds of its convolutions and linear layers.
        params: number of its parameters.
    """

    macs: int
    params: int


class TapCost(NamedTuple):
    """The cost of a backbone up to one tap at batch 1.

    Attributes:
        macs: multiply-adds.
        params: number of parameters.
        statistics: number of running means and variances of batch norms.
        not_counted: operators without multiply-adds, sorted by name.
    """

    macs: int
    params: int
    statistics: int
    not_counted: tuple[str, ...]


def count_cost(
    run: Callable[[Tensor], object],
    side: int,
    parameters: Iterable[nn.Parameter],
    device: str = "cpu",
) -> NetworkCost:
    """Return the cost of a network, counted by torch while it runs on one empty image.

    ``estimation.cost.complexity`` counts on a trace, which a network on the meta device cannot
    give. A test checks that both counters agree.

    Args:
        run: the network: (1, 3, side, side) images in 0..255 -> any output.
        side: side of the input, in pixels.
        parameters: parameters of the network.
        device: device of the parameters; ``meta`` needs neither computation nor memory.
    """
    images = torch.zeros(1, 3, side, side, device=device)
    # FlopCounterMode does not count the products inside fused attention operators.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run(images)
    n_parameters = sum(parameter.numel() for parameter in parameters)
    return NetworkCost(counter.get_total_flops() // 2, n_parameters)


class Backbone(nn.Module, ABC):
    """A frozen network that computes feature maps of face images.

    ``forward`` includes the normalisation of the images.

    Attributes:
        input_size: side of the square input, in pixels.
        taps: name -> (channels, height, width) of each available feature map, in the order of
            computation.
        has_tensor_names: whether ``tap_name`` knows further names of taps.
    """

    input_size: int
    taps: Mapping[str, Shape]
    has_tensor_names: ClassVar[bool] = False

    @abstractmethod
    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the feature maps of the named taps.

        Args:
            images: (n, 3, input_size, input_size) float RGB in 0..255.
            taps: names from ``self.taps``; layers after the last of these taps are not run.

        Returns:
            tap name -> (n, channels, height, width) float.

        Raises:
            InputError: the backbone has no tap of that name.
        """

    def check_taps(self, taps: Sequence[str]) -> set[str]:
        """Check that the backbone has these taps, and return their names as a set.

        Raises:
            InputError: a name is unknown; the message offers the nearest name.
        """
        for name in taps:
            if self.tap_name(name) not in self.taps:
                raise InputError(f"the backbone has {self.no_tap(name)}")
        return set(taps)

    def no_tap(self, name: str) -> str:
        """Return why a name is no tap; it completes "the backbone has"."""
        return f"no tap {name!r}: {nearest(name, self.taps)}"

    def tap_name(self, name: str) -> str:
        """Return the tap of a name; backbones of files accept further names of taps."""
        return name

    def informative_taps(self, few: int) -> list[str]:
        """Return a selection of taps for tables, probes and searches; see the function."""
        return informative_taps(self.taps, few)

    def cost_up_to(self, tap: str) -> TapCost | None:
        """Return the cost up to a tap; None: torch's trace of it says the cost.

        Backbones that do not compute in torch define it; see ``estimation.cost.complexity``.
        """
        return None

    def remarks(self) -> list[str]:
        """Return lines on what was assumed about the network, for people; none by default."""
        return []

    @classmethod
    def require_torch(cls, what: str) -> None:
        """Refuse what only a backbone in PyTorch can do: gradients and traces.

        Args:
            what: subject of the message, such as ``evonas prune``.

        Raises:
            InputError: this backbone does not compute in torch.
        """
        return

    def full_cost(self) -> NetworkCost | None:
        """Return the cost of the complete network, up to its own output.

        It includes fully connected layers that no tap needs. Publications on pruning state
        reductions relative to this cost, and removing those layers may account for most of a
        reduction (``deployment.pruning.reduction``).

        Returns:
            The cost, or None if the backbone has no layers after its last tap.
        """
        return None

    @property
    def normalisation(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of red, green and blue in 0..255, for model cards.

        The first layer receives (value - mean) / deviation. None if the normalisation does not
        have this form.
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
        """Set evaluation mode and disable the gradients of all parameters."""
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)


class Pooled(Backbone):
    """A backbone whose feature maps are averaged over height and width.

    It has the taps of the wrapped backbone, of shape (channels, 1, 1). All taps are computed in
    one pass and take little memory, so linear models of every tap are cheap (John et al. 2019,
    arXiv 1901.02675, algorithm 1).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.input_size = backbone, backbone.input_size
        self.taps = {tap: (shape[0], 1, 1) for tap, shape in backbone.taps.items()}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the (n, channels, 1, 1) means of the named maps; see ``Backbone.forward``."""
        maps: dict[str, Tensor] = self.backbone(images, taps)
        return {tap: values.mean((2, 3), keepdim=True) for tap, values in maps.items()}

    @property
    def fingerprint(self) -> str:
        """Hexadecimal hash of the wrapped backbone's fingerprint and this class's name."""
        text = f"{type(self).__qualname__} {self.backbone.fingerprint}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def informative_taps(taps: Mapping[str, Shape], few: int) -> list[str]:
    """Return a selection of taps: outer modules, and the last tap of each shape.

    Args:
        taps: name -> shape, from input to output.
        few: number of taps up to which all are returned.
    """
    if len(taps) <= few:
        return list(taps)
    last_of_shape = {shape: tap for tap, shape in taps.items()}
    outer = {tap for tap in taps if tap.count(".") < 2 and ":" not in tap}
    return [tap for tap in taps if tap in outer or last_of_shape[taps[tap]] == tap]
