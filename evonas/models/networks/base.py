"""What every network family offers: a module, and its cost without building it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import nn

from evonas.core import registry
from evonas.errors import InputError, nearest
from evonas.space import Architecture

Shape = tuple[int, int, int]

#: The setting of every architecture that says which feature map its network stands on. It is
#: read by whoever builds the network, not by the family.
TAP = "tap"


class Network(ABC):
    """A family of networks on one feature map.

    Both methods are total over the settings that the family's search space can
    decode to, and over every feature map of at least 1 x 1.

    Names in the state dict say what weights are for, so that they can be inherited: what stands
    under one name in two networks does the same work in both. Repeats of a stage are called
    ``stage<number>[_<kind>].<repeat>``, from 0 on; see ``transfer.inherit``.

    Attributes:
        settings: names of all settings that the family reads for some architecture; one that
            counts only beside certain values of others is among them. A search space or a
            baseline with any other name is refused, see ``refuse_unread``.
        dense: the family's output is a map, (n, n_outputs, height, width), for tasks
            that ask for one; else a vector, (n, n_outputs).
    """

    settings: ClassVar[frozenset[str]]
    dense: bool = False

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
            architecture: of this family.
            in_shape: (channels, height, width) of the feature map.
            n_outputs: length of the output, or its channels if ``dense``.

        Returns:
            A module (n, channels, height, width) -> (n, n_outputs[, h, w]).

        Raises:
            InputError: a setting is missing or has a value the family does not know.
        """

    @abstractmethod
    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        """Return the multiply-adds of one forward pass at batch 1, without building.

        It equals what fvcore counts on convolution and linear operators.
        """


def refuse_unread(network: str, names: Iterable[str], where: str) -> None:
    """Refuse settings that neither the network family nor its builder reads.

    They would change an architecture's digest and nothing else: equal networks would count as
    distinct ones, and a misspelt setting would leave the default in force.

    Args:
        network: name of the family.
        names: of genes or settings.
        where: what they are and where they stand, for the message: ``FILE: gene``.

    Raises:
        InputError: there is no such family, or it does not read a name.
    """
    known = {TAP, *registry.load("network", network).settings}
    unread = [name for name in names if name not in known]
    if unread:
        found = "; ".join(f"{name!r}: {nearest(name, known)}" for name in unread)
        raise InputError(f"{where} that network {network!r} does not read: {found}")
