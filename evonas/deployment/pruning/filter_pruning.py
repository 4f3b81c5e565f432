"""Pruning of filters of a traced network (Li et al. 2017, arXiv 1608.08710, section 3.1).

Filters are chosen by *maps*: a map is the input of a layer, or the network's output, such as
the output of an activation, of a residual addition, or of max-feature-map. The means of maps
over height and width are the features of algorithm 1 of John et al. (2019, arXiv 1901.02675).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from evonas.deployment.pruning import operators
from evonas.deployment.pruning.channel_groups import Channels, Ids
from evonas.deployment.pruning.surgery import without
from evonas.errors import InputError
from evonas.models.tracing import name_of, result, trace

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Map:
    """A tensor between layers, whose channels are outputs of filters.

    Attributes:
        name: name of the last layer that computed its channels.
        step: node of the graph.
        shape: (channels, height, width); (channels, 1, 1) for a vector.
    """

    name: str
    step: fx.Node
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class PruningPlan:
    """The channels of a network that are kept.

    Attributes:
        keep: (numbers of channels in the graph,) whether each is kept.
        kept: map name -> (channels,) whether each is kept.
        output: (channels,) of the network's output, whether each is kept; all are kept if the
            channels of the last node are not tracked.
        single: names of maps with a single kept filter.
    """

    keep: Mask
    kept: Mapping[str, Mask]
    output: Mask
    single: tuple[str, ...]


class Prunable:
    """A traced network whose filters can be removed.

    Args:
        network: (n, 3, side, side) -> one feature map (n, c, h, w), or a vector (n, c).
        example: two inputs.

    Attributes:
        graph: the traced network.
        fixed: (node, reason) of the nodes whose input channels are all kept.

    Raises:
        InputError: the network cannot be traced, or no filter of it can be removed.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.graph = trace(network, example)
        self._channels = Channels(self.graph)
        self.fixed = tuple(self._channels.fixed)
        if not self.maps:
            reasons = "; ".join(f"{step}: {why}" for step, why in self.fixed[:3])
            raise InputError(
                f"{name_of(network)}: has no layer whose filters can be removed, expected "
                f"convolutions that are followed by others ({reasons or 'there is none'})"
            )

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """The maps from input to output, without duplicates."""
        maps: dict[str, Map] = {}
        graph = self.graph.graph
        layers, names = _last_layers(graph), _layer_names(graph)
        inputs = [operators.source(node) for node in graph.nodes if _is_layer(node)]
        for node in [*inputs, result(graph)]:
            layer = layers[node]
            if layer is None or node not in self._channels.of or names[layer] in maps:
                continue
            channels, *sides = operators.shape(node)[1:]
            height, width = sides if len(sides) == 2 else (1, 1)
            maps[names[layer]] = Map(names[layer], node, (channels, height, width))
        return tuple(maps.values())

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the mean over height and width of every map, each (n, channels)."""
        names = {feature_map.step: feature_map.name for feature_map in self.maps}
        means: dict[str, Tensor] = {}

        class Pooling(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if n in names:
                    means[names[n]] = value.flatten(2).mean(2) if value.dim() > 2 else value
                return value

        Pooling(self.graph).run(images)
        return {name: means[name] for name in names.values()}

    def plan(
        self,
        chosen: Mapping[str, Mask],
        shared: Literal["union", "last"] = "union",
    ) -> PruningPlan:
        """Return the channels to keep, given the filters that each map chose.

        A channel that belongs to several maps, as in a residual stage, is kept if one of them
        chose it (``union``), or if the last of them did (``last``). Channels that are added to
        each other, or are halves of one max-feature-map, are kept or removed together. Every
        tensor keeps at least one channel.

        Args:
            chosen: map name -> (channels,); a map that is missing keeps all channels.
            shared: which maps decide on a channel that belongs to several maps.
        """
        channels, keep = self._channels, np.ones(len(self._channels), bool)
        roots = {m.name: channels.roots(channels.of[m.step]) for m in self.maps}
        decided = np.zeros(len(keep), bool)
        for name, own in roots.items():
            wanted = np.broadcast_to(np.asarray(chosen.get(name, True)), own.shape)
            undecided = own if shared == "last" else own[~decided[own]]
            keep[undecided] = False
            keep[own[wanted]] = True
            decided[own] = True
        keep[channels.staying()] = True
        for ids in self._channels_of_tensors():
            if len(ids) and not keep[channels.roots(ids)].any():
                keep[channels.roots(ids[:1])] = True
        kept = {name: keep[own] for name, own in roots.items()}
        single = tuple(
            name for name, own in roots.items() if len(set(own)) > 1 == len(set(own[keep[own]]))
        )
        end = result(self.graph.graph)
        if end in channels.of:
            output = keep[channels.roots(channels.of[end])]
        else:
            output = np.ones(operators.shape(end)[1], bool)
        return PruningPlan(keep, kept, output, single)

    def pruned(self, plan: PruningPlan) -> fx.GraphModule:
        """Return the network without the removed channels, with copied weights."""
        return without(self.graph, self._channels, plan.keep)

    def masked(self, plan: PruningPlan) -> nn.Module:
        """Return the complete network, with removed channels set to 0 after every operator.

        Its outputs on kept channels are those of ``pruned``.
        """
        return _Masked(self.graph, self._channels, plan.keep)

    def _channels_of_tensors(self) -> list[Ids]:
        parts = [ids for outputs in self._channels.parts.values() for ids in outputs]
        return [*self._channels.of.values(), *parts]


class _Masked(nn.Module):
    """A graph that multiplies channels by 0 or 1 after every operator."""

    def __init__(self, graph: fx.GraphModule, channels: Channels, keep: Mask) -> None:
        super().__init__()
        self.graph = deepcopy(graph)
        self._masks = {
            node.name: torch.from_numpy(keep[channels.roots(channels.of[node])])
            for node in graph.graph.nodes
            if node in channels.of
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return the output, (n, c, ...), with zeros in the removed channels."""
        masks = self._masks

        class Masking(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if n.name in masks:
                    mask = masks[n.name].to(value.dtype)
                    value = value * mask.view(-1, *[1] * (value.dim() - 2))
                return value

        output: Tensor = Masking(self.graph).run(images)
        return output


def _is_layer(node: fx.Node) -> bool:
    """Whether a node is a convolution or linear layer, whose outputs mix all input channels."""
    return node.op == "call_function" and operators.mixes(node)


def _last_layers(graph: fx.Graph) -> dict[fx.Node, fx.Node | None]:
    """Return node -> the last layer in the graph that its channels come from, or itself."""
    position = {node: number for number, node in enumerate(graph.nodes)}
    last: dict[fx.Node, fx.Node | None] = {}
    for node in graph.nodes:
        if _is_layer(node):
            last[node] = node
        else:
            sources = [last[source] for source in node.all_input_nodes]
            layers = [layer for layer in sources if layer is not None]
            last[node] = max(layers, key=lambda layer: position[layer], default=None)
    return last


def _layer_names(graph: fx.Graph) -> dict[fx.Node, str]:
    """Return the name of each layer: the path of its module, or the node's name without one.

    A common prefix of all paths, that of modules which only contain the network, is removed.
    """
    paths: dict[fx.Node, list[str]] = {}
    for node in filter(_is_layer, graph.nodes):
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        paths[node] = str(stack[-1][0]).split(".") if stack and stack[-1][0] else [node.name]
    while paths and len({path[0] for path in paths.values()}) == 1:
        if min(map(len, paths.values())) == 1:
            break
        paths = {node: path[1:] for node, path in paths.items()}
    names: dict[fx.Node, str] = {}
    for node, path in paths.items():
        name = ".".join(path)
        calls = sum(other == name or other.startswith(f"{name}:") for other in names.values())
        names[node] = f"{name}:{calls}" if calls else name
    return names
