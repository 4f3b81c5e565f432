"""Cut a backbone at a tap: the layers after the tap become a module that can be trained.

The layers are those of the traced backbone (``models.tracing``), so modules, hooks and programs
from files are cut in the same way. Batch norms keep the statistics of the frozen backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone, informative_taps
from evonas.models.tracing import trace

#: Name of the backbone's input, in the place of a tap.
IMAGE = "image"
_FEW = 16  # taps up to which all of them divide a backbone into intervals
_ATEN = torch.ops.aten
#: Operators that return the values of their operand in the same order.
_COPIES = frozenset(
    (
        *(_ATEN.clone.default, _ATEN.alias.default, _ATEN.detach.default),
        *(_ATEN.contiguous.default, _ATEN._to_copy.default, _ATEN.to.dtype),
    )
)
#: Operators that return some values of their operand, or all in another order or shape.
_VIEWS = frozenset(
    (
        *(_ATEN.slice.Tensor, _ATEN.transpose.int, _ATEN.permute.default),
        *(_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default),
    )
)


@dataclass(frozen=True)
class UpperLayers:
    """The layers of a backbone from one tap up to another, with copied weights.

    Attributes:
        graph: (n, c, h, w) map of ``reads`` -> map of the upper tap. Its parameters are those of
            the layers after the lower tap; all other tensors are buffers.
        reads: name of the lower tap, or ``image`` if some of the layers read other maps as well:
            the graph then computes the layers before the tap, too.
        intervals: parameter -> number of its interval between taps, from 1, which ends at the
            upper tap.
    """

    graph: fx.GraphModule
    reads: str
    intervals: Mapping[str, int]


class BackboneCut:
    """A backbone up to one tap, traced, with the taps before it at which it can be cut.

    Args:
        backbone: the backbone; not changed.
        tap: name of the upper tap.

    Raises:
        InputError: the backbone has no tap of that name, or cannot be traced.
    """

    def __init__(self, backbone: Backbone, tap: str) -> None:
        self._backbone, self._tap = backbone, tap
        backbone.check_taps([tap])
        backbone.require_torch("evonas finetune")
        names, self._shown = list(backbone.taps), backbone.informative_taps(_FEW)
        self._taps = names[: names.index(tap) + 1]
        side = backbone.input_size
        try:
            self._graph = trace(_Taps(backbone, self._taps), torch.zeros(2, 3, side, side))
        except InputError as error:
            raise InputError(f"{error}: such a backbone cannot be cut") from error
        outputs = next(node for node in self._graph.graph.nodes if node.op == "output").args[0]
        assert isinstance(outputs, tuple | list)
        self._images = next(node for node in self._graph.graph.nodes if node.op == "placeholder")
        maps = dict(zip(self._taps, map(_copied, outputs), strict=True))
        self._end = maps[tap]
        self._whole = _ancestors(self._end)
        self._maps = {IMAGE: self._images, **maps}

    @property
    def default(self) -> str:
        """The highest tap with layers of weights after it; ``image`` if there is none.

        Raises:
            InputError: no layer up to the upper tap has weights.
        """
        return self._below()[-1]

    def above(self, lower: str) -> UpperLayers:
        """Return the layers after a tap, or with ``image`` all layers, up to the upper tap.

        Raises:
            InputError: there is no such tap, it is not below the upper tap, or no layer between
                both has weights.
        """
        self._check(lower)
        trained = self._weights(lower)
        if not trained:
            raise InputError(
                f"no layer between the taps {lower!r} and {self._tap!r} has weights, so there is "
                f"nothing to train but the head: {self._choice()}"
            )
        graph = self._cut(lower)
        reads = IMAGE if graph is None else lower
        if graph is None:
            graph = self._cut(IMAGE)
            assert graph is not None
        for name in [name for name, _ in graph.named_parameters() if name not in trained]:
            _freeze(graph, name)
        return UpperLayers(graph, reads, self._intervals(trained))

    def _check(self, lower: str) -> None:
        if lower not in self._maps:
            if lower in self._backbone.taps:
                raise InputError(
                    f"the tap {lower!r} is above the head's tap {self._tap!r}: {self._choice()}"
                )
            raise InputError(f"the backbone has no tap {lower!r}: {self._choice()}")
        if lower == self._tap:
            raise InputError(
                f"{lower!r} is the head's own tap, so there is nothing to train but the head, as "
                f"`evonas retrain` does: {self._choice()}"
            )
        if self._start(lower) is None:
            raise InputError(
                f"the tap {lower!r} is on another branch of the backbone than the head's tap "
                f"{self._tap!r}: {self._choice()}"
            )

    def _choice(self) -> str:
        return f"expected one of {', '.join(self._below())}"

    def _below(self) -> list[str]:
        """Return what may be frozen up to, from the image upwards; of many taps a selection."""
        if not self._weights(IMAGE):
            raise InputError(
                f"no layer of the backbone up to {self._tap!r} has weights, so there is nothing to "
                "train but the head, as `evonas retrain` does"
            )
        taps = {name: self._backbone.taps[name] for name in self._taps[:-1] if self._weights(name)}
        return [IMAGE, *informative_taps(taps, _FEW)]

    def _start(self, lower: str) -> fx.Node | None:
        """Return the node from which the layers after a tap start; None if there is none.

        The map may be a view of it, such as the grid among all tokens.
        """
        node: fx.Node = self._maps[lower]
        while node not in self._whole:
            if node.target not in _VIEWS and node.target not in _COPIES:
                return None
            node = node.all_input_nodes[0]
        return node

    def _weights(self, lower: str) -> set[str]:
        """Return the names of the parameters of the layers after a tap."""
        start = self._start(lower)
        if start is None:
            return set()
        parameters = dict(self._graph.named_parameters(remove_duplicate=False))
        layers = self._whole - _ancestors(start)
        return {str(node.target) for node in layers if node.op == "get_attr"} & parameters.keys()

    def _cut(self, lower: str) -> fx.GraphModule | None:
        """Return the layers after a tap as a module; None if they read other maps as well."""
        start = self._maps[lower]
        if start not in self._whole:
            return None
        before = _ancestors(start) - {start}
        included: set[fx.Node] = set()
        waiting = [self._end]
        while waiting:
            node = waiting.pop()
            if node in included or node is start:
                continue
            tensor = node.op != "get_attr" and isinstance(node.meta.get("val"), Tensor)
            if tensor and node in before and self._images in _ancestors(node):
                return None
            included.add(node)
            # The batch size and the device are the same for the map as for the images.
            waiting += [] if _of_batch(node) else node.all_input_nodes
        graph = fx.Graph()
        maps = graph.placeholder("maps")
        maps.meta = dict(start.meta)
        copies = {start: maps, self._images: maps}
        for node in self._graph.graph.nodes:
            if node in included:
                copies[node] = graph.node_copy(node, lambda source: copies[source])
        graph.output(copies[self._end])
        return deepcopy(fx.GraphModule(self._graph, graph)).eval()

    def _intervals(self, trained: set[str]) -> dict[str, int]:
        """Return the number of each parameter's interval, of those with weights."""
        ends = [name for name in self._taps if name in self._shown or name == self._tap]
        inside: list[set[str]] = []
        left = set(trained)
        for name in ends:
            nodes = _ancestors(self._maps[name])
            found = {str(node.target) for node in nodes if node.op == "get_attr"} & left
            left -= found
            inside += [found] if found else []
        return {name: n for n, names in enumerate(reversed(inside), start=1) for name in names}


class _Taps(nn.Module):
    """The maps of several taps of a backbone, in the order of their names."""

    def __init__(self, backbone: Backbone, taps: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self._taps = backbone, taps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(images, self._taps)
        return tuple(maps[tap] for tap in self._taps)


def _copied(node: fx.Node) -> fx.Node:
    """Return the node whose values a node copies, if it does, else the node itself."""
    while node.target in _COPIES:
        source = node.all_input_nodes[0]
        if source.meta["val"].dtype != node.meta["val"].dtype:
            break
        node = source
    return node


def _ancestors(node: fx.Node) -> set[fx.Node]:
    """Return a node and all nodes that its value depends on."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _of_batch(node: fx.Node) -> bool:
    """Whether a node is the batch size or the device of the images."""
    if node.target is getattr:
        return True
    return node.target is _ATEN.sym_size.int and node.args[1:] == (0,)


def _freeze(module: nn.Module, path: str) -> None:
    """Turn a parameter into a buffer."""
    holder, _, name = path.rpartition(".")
    owner = module.get_submodule(holder)
    tensor = getattr(owner, name).detach()
    delattr(owner, name)
    owner.register_buffer(name, tensor)
