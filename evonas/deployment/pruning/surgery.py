"""Remove channels from a traced network: slice its weights and adapt sizes in its graph."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from evonas.deployment.pruning import operators
from evonas.deployment.pruning.channel_groups import Channels, Ids
from evonas.models.tracing import attribute, replace

_ATEN = torch.ops.aten


def without(graph: fx.GraphModule, channels: Channels, keep: NDArray[np.bool_]) -> fx.GraphModule:
    """Return a copy of a graph without the channels that are not kept.

    Args:
        graph: graph of ``tracing.trace``.
        channels: channels of this graph.
        keep: (len(channels),) whether each group of channels, given by its root, is kept.
    """
    pruned = deepcopy(graph)
    sizes = _Sizes(channels, keep)
    for path, along in channels.weights.items():
        tensor = attribute(pruned, path).detach()
        for dimension, ids in along.items():
            indices = torch.from_numpy(np.flatnonzero(sizes.kept(ids)))
            tensor = tensor.index_select(dimension, indices)
        replace(pruned, path, tensor.clone())
    copies = {node.name: node for node in pruned.graph.nodes}
    for node in graph.graph.nodes:
        if node.op == "call_function":
            sizes.adapt(node, copies[node.name])
    pruned.graph.lint()
    pruned.recompile()
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    return pruned


def fit(child: nn.Module, parent: nn.Module, kept: NDArray[np.bool_]) -> tuple[str, ...]:
    """Copy a head's weights to a head for fewer input channels, where the channels are kept.

    Args:
        child: head for ``kept.sum()`` channels; changed in place.
        parent: head of the same architecture for ``len(kept)`` channels.
        kept: (channels,) whether each channel of the map is kept.

    Returns:
        Names of the tensors that keep their initialisation, because their shapes differ in
        more than the number of the map's channels.
    """
    old, missed = parent.state_dict(), []
    places = torch.from_numpy(np.flatnonzero(kept))
    for name, tensor in child.state_dict().items():
        other = old.get(name)
        differing = [] if other is None else _differing(tensor, other)
        if other is not None and differing is not None and len(differing) == 1:
            (dimension,) = differing
            times, rest = divmod(other.shape[dimension], len(kept))
            # Norms have one value for each channel; in other weights dimension 1 is the input.
            is_input = dimension == 1 or (other.dim() == times == 1)
            if is_input and not rest and tensor.shape[dimension] == times * len(places):
                # A flattened map has an entry for each position of each channel.
                cells = places[:, None] * times + torch.arange(times)
                other = other.index_select(dimension, cells.flatten())
        if other is None or other.shape != tensor.shape:
            missed.append(name)
        else:
            tensor.copy_(other)
    return tuple(missed)


def _differing(first: Tensor, second: Tensor) -> list[int] | None:
    """Return the dimensions in which two shapes differ; None if their lengths differ."""
    if first.dim() != second.dim():
        return None
    return [i for i in range(first.dim()) if first.shape[i] != second.shape[i]]


class _Sizes:
    """Adapts arguments of operators that contain numbers of channels."""

    def __init__(self, channels: Channels, keep: NDArray[np.bool_]) -> None:
        self._channels, self._keep = channels, keep

    def kept(self, ids: Ids) -> NDArray[np.bool_]:
        return self._keep[self._channels.roots(ids)]

    def _count(self, ids: Ids) -> int:
        return int(self.kept(ids).sum())

    def adapt(self, node: fx.Node, copy: fx.Node) -> None:
        """Change the numbers of channels in the arguments of ``copy``, the copy of ``node``."""
        of = self._channels.of
        if node.target in operators.CONVOLUTIONS and int(operators.argument(node, 6, 1)) > 1:
            if operators.source(node) in of and node in of:
                copy.args = _at(copy.args, 6, self._count(of[operators.source(node)]))
        elif node in self._channels.parts and operators.dimension(node, 2) == 1:
            counts = [self._count(ids) for ids in self._channels.parts[node]]
            copy.target = _ATEN.split_with_sizes.default
            copy.args = (copy.args[0], counts, 1)
            copy.kwargs = {}
        elif node.target in operators.SLICES and node in of and operators.dimension(node, 1) == 1:
            kept = self.kept(of[operators.source(node)])
            start, end, _ = slice(*(operators.argument(node, i, None) for i in (2, 3))).indices(
                len(kept)
            )
            first = int(kept[:start].sum())
            copy.args = (copy.args[0], 1, first, first + int(kept[start:end].sum()))
        elif node.target in operators.PADS and node in of and any(operators.channel_pads(node)):
            before, _ = operators.channel_pads(node)
            ids, pads = of[node], list(node.args[1])  # type: ignore[arg-type]
            place = 2 * (len(operators.shape(node)) - 2)
            taken = len(of[operators.source(node)])
            pads[place] = self._count(ids[:before])
            pads[place + 1] = self._count(ids[before + taken :])
            copy.args = _at(copy.args, 1, pads)
        elif node.target in operators.VIEWS and node in of:
            shape = operators.argument(node, 1, None)
            if isinstance(shape, list | tuple) and len(shape) > 1 and shape[1] == len(of[node]):
                sizes = list(copy.args[1])  # type: ignore[arg-type]
                sizes[1] = self._count(of[node])
                copy.args = _at(copy.args, 1, sizes)


def _at(arguments: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*arguments[:place], value, *arguments[place + 1 :])
