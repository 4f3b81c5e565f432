"""What every network family offers: a module, and its cost without building it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from evonas.space import Architecture

Shape = tuple[int, int, int]


class Network(ABC):
    """A family of networks on one feature map.

    Both methods are total over the settings that the family's search space can
    decode to, and over every feature map of at least 1 x 1.

    Names in the state dict say what weights are for, so that they can be inherited: what stands
    under one name in two networks does the same work in both. Repeats of a stage are called
    ``stage<number>[_<kind>].<repeat>``, from 0 on; see ``transfer.inherit``.

    Attributes:
        dense: the family's output is a map, (n, n_outputs, height, width), for tasks
            that ask for one; else a vector, (n, n_outputs).
    """

    dense: bool = False

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
