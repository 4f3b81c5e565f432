"""Pruning filters of a traced network (Li et al. 2017, arXiv 1608.08710, section 3.1).

What decides on a channel is a *map*: what a layer takes in, or the network's output. Maps are
the places where filters are seen: behind the activation, the sum of a residual unit, the larger
of two halves. Their means over height and width are the features of source 002's algorithm 1.
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

from evonas.deployment.pruning import operators as steps
from evonas.deployment.pruning.channel_groups import Channels, Ids
from evonas.deployment.pruning.surgery import without
from evonas.deployment.pruning.tracing import name_of, result, trace
from evonas.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Map:
    """A place where filters are seen.

    Attributes:
        name: of the layer that made them last.
        step: of the graph.
        shape: (channels, height, width); (channels, 1, 1) of a vector.
    """

    name: str
    step: fx.Node
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """What stays of a network.

    Attributes:
        keep: (numbers of channels,) whether each stays.
        kept: map name -> (channels,) whether each stays.
        output: (channels,) of the network's output, whether each stays; all do where its last
            step is one that nobody follows.
        single: maps of which a single filter stays.
    """

    keep: Mask
    kept: Mapping[str, Mask]
    output: Mask
    single: tuple[str, ...]


class Prunable:
    """A network and what may be taken out of it.

    Args:
        network: (n, 3, side, side) -> one feature map (n, c, h, w), or a vector (n, c).
        example: two inputs.

    Attributes:
        graph: the traced network.
        fixed: (step, why) of what keeps all channels that it takes.

    Raises:
        InputError: the network cannot be traced, or has no layer whose filters could go.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.graph = trace(network, example)
        self._channels = Channels(self.graph)
        self.fixed = tuple(self._channels.fixed)
        if not self.maps:
            stuck = "; ".join(f"{step}: {why}" for step, why in self.fixed[:3])
            raise InputError(
                f"{name_of(network)}: has no layer whose filters could go, expected convolutions "
                f"that are followed by others ({stuck or 'there is none'})"
            )

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """The maps from input to output, each once."""
        found: dict[str, Map] = {}
        graph = self.graph.graph
        makers, names = _makers(graph), _layer_names(graph)
        taken = [steps.source(node) for node in graph.nodes if _takes(node)]
        for seen in [*taken, result(graph)]:
            maker = makers[seen]
            if maker is None or seen not in self._channels.of or names[maker] in found:
                continue
            channels, *sides = steps.shape(seen)[1:]
            height, width = sides if len(sides) == 2 else (1, 1)
            found[names[maker]] = Map(names[maker], seen, (channels, height, width))
        return tuple(found.values())

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the mean over height and width of every map, (n, channels) each."""
        wanted = {one.step: one.name for one in self.maps}
        found: dict[str, Tensor] = {}

        class Pooling(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if n in wanted:
                    found[wanted[n]] = value.flatten(2).mean(2) if value.dim() > 2 else value
                return value

        Pooling(self.graph).run(images)
        return {one.name: found[one.name] for one in self.maps}

    def plan(
        self,
        chosen: Mapping[str, Mask],
        shared: Literal["union", "last"] = "union",
    ) -> Plan:
        """Return what stays if each map keeps what it chose.

        A channel that several maps see, as in a residual stage, stays if one of them chose it
        (``union``), or if the last one did (``last``). What is added to a channel, or is the
        other half of it, stays with it; of every tensor at least one channel stays.

        Args:
            chosen: map name -> (channels,); a map that is left out keeps all.
            shared: which maps decide.
        """
        channels, keep = self._channels, np.ones(len(self._channels), bool)
        roots = {one.name: channels.roots(channels.of[one.step]) for one in self.maps}
        decided = np.zeros(len(keep), bool)
        for one in self.maps:
            own, wanted = roots[one.name], np.asarray(chosen.get(one.name, True))
            wanted = np.broadcast_to(wanted, own.shape)
            fresh = own if shared == "last" else own[~decided[own]]
            keep[fresh] = False
            keep[own[wanted]] = True
            decided[own] = True
        keep[channels.staying()] = True
        for ids in self._every():
            if len(ids) and not keep[channels.roots(ids)].any():
                keep[channels.roots(ids[:1])] = True
        kept = {name: keep[own] for name, own in roots.items()}
        single = tuple(
            name for name, own in roots.items() if len(set(own)) > 1 == len(set(own[keep[own]]))
        )
        end = result(self.graph.graph)
        followed = end in channels.of
        output = keep[channels.roots(channels.of[end])] if followed else np.ones(_width(end), bool)
        return Plan(keep, kept, output, single)

    def pruned(self, plan: Plan) -> fx.GraphModule:
        """Return the network without what does not stay, with weights of its own."""
        return without(self.graph, self._channels, plan.keep)

    def masked(self, plan: Plan) -> nn.Module:
        """Return the whole network with what does not stay set to zero in every step.

        It computes what ``pruned`` does, on the channels that stay.
        """
        return _Masked(self.graph, self._channels, plan.keep)

    def _every(self) -> list[Ids]:
        parts = [ids for found in self._channels.parts.values() for ids in found]
        return [*self._channels.of.values(), *parts]


class _Masked(nn.Module):
    """A graph whose channels are multiplied with 0 or 1 behind every step."""

    def __init__(self, graph: fx.GraphModule, channels: Channels, keep: Mask) -> None:
        super().__init__()
        self.graph = deepcopy(graph)
        stuckof = {node.name: node for node in graph.graph.nodes}
        self._masks = {
            name: torch.from_numpy(keep[channels.roots(channels.of[node])])
            for name, node in stuckof.items()
            if node in channels.of
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return the output, (n, c, ...), with zeros in the channels that do not stay."""
        masks = self._masks

        class Masking(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if n.name in masks:
                    mask = masks[n.name].to(value.dtype)
                    value = value * mask.view(-1, *[1] * (value.dim() - 2))
                return value

        found: Tensor = Masking(self.graph).run(images)
        return found


def _width(node: fx.Node) -> int:
    return steps.shape(node)[1]


def _takes(node: fx.Node) -> bool:
    return node.op == "call_function" and steps.mixes(node)


def _makers(graph: fx.Graph) -> dict[fx.Node, fx.Node | None]:
    """Return for each step the layer, itself or before it, whose channels came last."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    found: dict[fx.Node, fx.Node | None] = {}
    for node in graph.nodes:
        if _takes(node):
            found[node] = node
        else:
            before = [found[source] for source in node.all_input_nodes]
            makers = [maker for maker in before if maker is not None]
            found[node] = max(makers, key=lambda maker: place[maker], default=None)
    return found


def _layer_names(graph: fx.Graph) -> dict[fx.Node, str]:
    """Return the name of each layer: the path of its module, or of the step where it has none.

    What all have in front, the parts that only hold the network, is left out.
    """
    paths: dict[fx.Node, list[str]] = {}
    for node in filter(_takes, graph.nodes):
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        paths[node] = str(stack[-1][0]).split(".") if stack and stack[-1][0] else [node.name]
    while paths and len({path[0] for path in paths.values()}) == 1:
        if min(map(len, paths.values())) == 1:
            break
        paths = {node: path[1:] for node, path in paths.items()}
    names: dict[fx.Node, str] = {}
    for node, path in paths.items():
        name = ".".join(path)
        again = sum(one == name or one.startswith(f"{name}:") for one in names.values())
        names[node] = f"{name}:{again}" if again else name
    return names
