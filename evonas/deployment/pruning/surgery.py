"""Taking channels out of a traced network: smaller weights, and sizes that follow them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from evonas.deployment.pruning import operators as steps
from evonas.deployment.pruning.channel_groups import Channels, Ids
from evonas.deployment.pruning.tracing import attribute, replace

_ATEN = torch.ops.aten


def without(graph: fx.GraphModule, channels: Channels, keep: NDArray[np.bool_]) -> fx.GraphModule:
    """Return a graph without the channels that are not kept.

    Args:
        graph: of ``tracing.trace``; stays as it is.
        channels: of this graph.
        keep: (len(channels),) whether the channels of a root are kept.
    """
    made = deepcopy(graph)
    sizes = _Sizes(channels, keep)
    for path, along in channels.weights.items():
        tensor = attribute(made, path).detach()
        for dimension, ids in along.items():
            places = torch.from_numpy(np.flatnonzero(sizes.kept(ids)))
            tensor = tensor.index_select(dimension, places)
        replace(made, path, tensor.clone())
    copies = {node.name: node for node in made.graph.nodes}
    for node in graph.graph.nodes:
        if node.op == "call_function":
            sizes.adapt(node, copies[node.name])
    made.graph.lint()
    made.recompile()
    for parameter in made.parameters():
        parameter.requires_grad_(True)
    return made


def fit(child: nn.Module, parent: nn.Module, kept: NDArray[np.bool_]) -> tuple[str, ...]:
    """Give a head network what another one of its kind learnt of the channels that are left.

    Args:
        child: built for ``kept.sum()`` channels; changed in place.
        parent: built for ``len(kept)`` channels.
        kept: which channels of the map are left.

    Returns:
        Names of tensors that could not be fitted, and stay as they were drawn: those that
        differ in anything but the number of the map's channels.
    """
    old, missed = parent.state_dict(), []
    places = torch.from_numpy(np.flatnonzero(kept))
    for name, tensor in child.state_dict().items():
        other = old.get(name)
        differing = [] if other is None else _differing(tensor, other)
        if other is not None and differing is not None and len(differing) == 1:
            (dimension,) = differing
            times, rest = divmod(other.shape[dimension], len(kept))
            # Norms have a number for each channel; other weights take channels in second.
            takes = dimension == 1 or (other.dim() == times == 1)
            if takes and not rest and tensor.shape[dimension] == times * len(places):
                # A flattened map has a column for each cell of each channel.
                cells = places[:, None] * times + torch.arange(times)
                other = other.index_select(dimension, cells.flatten())
        if other is None or other.shape != tensor.shape:
            missed.append(name)
        else:
            tensor.copy_(other)
    return tuple(missed)


def _differing(one: Tensor, other: Tensor) -> list[int] | None:
    """Return the dimensions in which two tensors differ; None: they have not equally many."""
    if one.dim() != other.dim():
        return None
    return [i for i in range(one.dim()) if one.shape[i] != other.shape[i]]


class _Sizes:
    """The numbers in a graph that follow from how many channels there are."""

    def __init__(self, channels: Channels, keep: NDArray[np.bool_]) -> None:
        self._channels, self._keep = channels, keep

    def kept(self, ids: Ids) -> NDArray[np.bool_]:
        return self._keep[self._channels.roots(ids)]

    def _count(self, ids: Ids) -> int:
        return int(self.kept(ids).sum())

    def adapt(self, node: fx.Node, copy: fx.Node) -> None:
        """Change the sizes among the arguments of a step's copy."""
        of = self._channels.of
        if node.target in steps.CONVOLUTIONS and int(steps.argument(node, 6, 1)) > 1:
            if steps.source(node) in of and node in of:
                copy.args = _at(copy.args, 6, self._count(of[steps.source(node)]))
        elif node in self._channels.parts and steps.dimension(node, 2) == 1:
            counts = [self._count(ids) for ids in self._channels.parts[node]]
            copy.target = _ATEN.split_with_sizes.default
            copy.args = (copy.args[0], counts, 1)
            copy.kwargs = {}
        elif node.target in steps.SLICES and node in of and steps.dimension(node, 1) == 1:
            kept = self.kept(of[steps.source(node)])
            start, end, _ = slice(*(steps.argument(node, i, None) for i in (2, 3))).indices(
                len(kept)
            )
            first = int(kept[:start].sum())
            copy.args = (copy.args[0], 1, first, first + int(kept[start:end].sum()))
        elif node.target in steps.PADS and node in of and any(steps.channel_pads(node)):
            before, _ = steps.channel_pads(node)
            ids, pads = of[node], list(node.args[1])  # type: ignore[arg-type]
            place = 2 * (len(steps.shape(node)) - 2)
            taken = len(of[steps.source(node)])
            pads[place] = self._count(ids[:before])
            pads[place + 1] = self._count(ids[before + taken :])
            copy.args = _at(copy.args, 1, pads)
        elif node.target in steps.VIEWS and node in of:
            shape = steps.argument(node, 1, None)
            if isinstance(shape, list | tuple) and len(shape) > 1 and shape[1] == len(of[node]):
                sizes = list(copy.args[1])  # type: ignore[arg-type]
                sizes[1] = self._count(of[node])
                copy.args = _at(copy.args, 1, sizes)


def _at(arguments: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*arguments[:place], value, *arguments[place + 1 :])
