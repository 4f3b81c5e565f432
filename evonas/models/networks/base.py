"""Base class of network families: they build modules and compute their cost without building."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from torch import nn

from evonas.core import registry
from evonas.errors import InputError, nearest
from evonas.models.built_weights import weights_when_built
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture

Shape = tuple[int, int, int]

#: Setting of every architecture: the backbone's tap whose feature map is the network's input.
#: The code that builds the network reads it, not the family.
TAP = "tap"


class Network(ABC):
    """A family of networks with one feature map as input.

    All methods accept every combination of settings that the family's search space can
    decode to, and every feature map of at least 1 x 1.

    Names in the state dict say what weights are for, because weights are inherited by name:
    equal names in two networks must have the same function. The blocks of a stage are called
    ``stage<number>[_<kind>].<repeat>``, counted from 0; see ``models.weight_inheritance``.

    Attributes:
        settings: names of all settings that the family reads for at least one architecture.
            A search space or baseline with another name is refused, see ``refuse_unread``.
        dense: True if the output is a map, (n, n_outputs, height, width), for tasks that
            need one; False if it is a vector, (n, n_outputs).
        designs: settings of hand-made networks that a search begins with, without tap and
            ``width``; see ``workflows.initial_designs``.
        width: name of the setting that says how wide a design is.
    """

    settings: ClassVar[frozenset[str]]
    dense: bool = False
    designs: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    width: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a family that does not declare its settings."""
        super().__init_subclass__(**options)
        if not isinstance(getattr(cls, "settings", None), frozenset):
            raise TypeError(
                f"{cls.__name__} must declare the names of the settings that it reads: "
                f"settings = frozenset({{...}}), empty if there are none"
            )

    @abstractmethod
    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        """Return the network with fresh weights from torch's current generator.

        Args:
            architecture: settings of a network of this family.
            in_shape: (channels, height, width) of the feature map.
            n_outputs: length of the output, or its number of channels if ``dense``.

        Returns:
            A module (n, channels, height, width) -> (n, n_outputs[, h, w]).

        Raises:
            InputError: a setting is missing or has an unknown value.
        """

    @abstractmethod
    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds of one forward pass at batch 1, without building the network.

        The value equals fvcore's count over convolution and linear operators.
        """

    def weights(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> WeightCount:
        """Return the number of parameters and batch norm statistics of the network.

        By default the network is built without memory, in 10 to 100 ms, once for each of the last
        256 architectures. Limits on parameters and megabytes need the numbers of thousands of
        architectures: families of large spaces compute them as they do ``macs``.
        """
        return _weights_when_built(type(self), architecture, in_shape, n_outputs)


@lru_cache(maxsize=256)
def _weights_when_built(
    family: type[Network], architecture: Architecture, in_shape: Shape, n_outputs: int
) -> WeightCount:
    return weights_when_built(lambda: family().build(architecture, in_shape, n_outputs))


def refuse_unread(network: str, names: Iterable[str], where: str) -> None:
    """Refuse settings that the network family does not read.

    An unread setting changes an architecture's digest but not its network: equal networks
    would count as distinct, and a misspelt setting would leave the default in force.

    Args:
        network: name of the family.
        names: names of genes or settings.
        where: kind and place of the names, for the message: ``FILE: gene``.

    Raises:
        InputError: the family is unknown, or does not read one of the names.
    """
    known = {TAP, *registry.load("network", network).settings}
    unread = [name for name in names if name not in known]
    if unread:
        hints = "; ".join(f"{name!r}: {nearest(name, known)}" for name in unread)
        raise InputError(f"{where} that network {network!r} does not read: {hints}")
