"""Groups of channels of a traced network that can only be removed together.

Every output channel of a convolution or linear layer gets a number, which is tracked through
the graph. An addition joins the numbers of its operands, since neither channel can be removed
alone; so do max-feature-map (Wu et al. 2018, arXiv 1511.02683), the product of a gate, and a
depthwise convolution. All input channels of an unknown operator are kept.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from evonas.deployment.pruning import operators

Ids = NDArray[np.intp]


class Channels:
    """The numbered channels of a graph, in which dimension 0 is the batch and 1 the channels.

    Args:
        graph: graph of ``tracing.trace``.

    Attributes:
        of: node -> numbers of its output's channels; the channels of other nodes are not
            tracked.
        parts: node with several outputs -> numbers of the channels of each output.
        weights: dotted name -> dimension -> numbers of the channels along it.
        fixed: (node, reason) of the nodes whose input channels are all kept.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.of: dict[fx.Node, Ids] = {}
        self.parts: dict[fx.Node, list[Ids]] = {}
        self.weights: dict[str, dict[int, Ids]] = {}
        self.fixed: list[tuple[str, str]] = []
        self._parent: list[int] = []
        self._stay: list[Ids] = []
        uses = [
            s.target for n in graph.graph.nodes for s in n.all_input_nodes if operators.is_weight(s)
        ]
        self._shared = {str(target) for target, count in Counter(uses).items() if count > 1}
        for node in graph.graph.nodes:
            if node.op == "call_function":
                ids = self._rule(node)(node)
                if ids is not None:
                    self.of[node] = ids

    def __len__(self) -> int:
        return len(self._parent)

    def roots(self, ids: Ids) -> Ids:
        """Return for each channel number the root, which represents its group."""
        return np.array([self._root(int(number)) for number in ids], np.intp)

    def staying(self) -> Ids:
        """Return the roots of the channels that must be kept."""
        return self.roots(np.concatenate([np.empty(0, np.intp), *self._stay]))

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def _fresh(self, count: int) -> Ids:
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _join(self, first: Ids, second: Ids) -> None:
        """Join the groups of corresponding channels."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            self._parent[max(a, b)] = min(a, b)

    def _fix(self, node: fx.Node, why: str, inputs: Iterable[Ids]) -> None:
        """Record that the input channels of a node must be kept, and why."""
        inputs = [ids for ids in inputs if len(ids)]
        if inputs:
            self.fixed.append((node.name, why))
            self._stay += inputs

    def _weight(self, node: object, dimension: int, ids: Ids) -> Ids:
        """Record that a weight has these channels along a dimension; return their numbers."""
        if isinstance(node, fx.Node):
            recorded = self.weights.setdefault(str(node.target), {})
            self._join(recorded.setdefault(dimension, ids), ids)
            return recorded[dimension]
        return ids

    def _rule(self, node: fx.Node) -> Callable[[fx.Node], Ids | None]:
        rules: list[tuple[frozenset[object], Callable[[fx.Node], Ids | None]]] = [
            (operators.CONVOLUTIONS, self._convolution),
            (operators.LINEAR, self._linear),
            (operators.NORMS, self._norm),
            (operators.SPLITS, self._split),
            (frozenset({operator.getitem}), self._item),
            (operators.SLICES, self._slice),
            (operators.CATS, self._cat),
            (operators.PADS, self._pad),
            (operators.SPATIAL, self._same),
            (operators.REDUCTIONS, self._reduction),
            (operators.VIEWS, self._view),
        ]
        for targets, rule in rules:
            if node.target in targets:
                return rule
        return self._pointwise if operators.pointwise(node) else self._unknown

    def _inputs(self, node: fx.Node) -> list[Ids]:
        sources = node.all_input_nodes
        single = [self.of[source] for source in sources if source in self.of]
        return single + [ids for source in sources for ids in self.parts.get(source, [])]

    def _unknown(self, node: fx.Node) -> Ids | None:
        if isinstance(node.meta.get("val"), Tensor | tuple | list):  # other nodes are sizes
            self._fix(node, f"{operators.name(node)} may mix channels", self._inputs(node))
        return None

    def _same(self, node: fx.Node) -> Ids | None:
        return self.of.get(operators.source(node))

    def _convolution(self, node: fx.Node) -> Ids | None:
        x, weight, bias = operators.source(node), node.args[1], operators.argument(node, 2, None)
        groups = int(operators.argument(node, 6, 1))
        if not self._owns(weight):
            return self._unknown(node)
        inputs = self.of.get(x)
        if groups == 1:
            if inputs is not None:
                self._weight(weight, 1, inputs)
            outputs = self._weight(weight, 0, self._fresh(operators.shape(weight)[0]))
        elif inputs is not None and groups == len(inputs):
            outputs = self._weight(weight, 0, inputs.repeat(operators.shape(weight)[0] // groups))
        else:
            self._fix(node, f"a convolution in {groups} groups", self._inputs(node))
            return None
        return self._weight(bias, 0, outputs)

    def _linear(self, node: fx.Node) -> Ids | None:
        x, weight, bias = operators.source(node), node.args[1], operators.argument(node, 2, None)
        if not self._owns(weight) or len(operators.shape(x)) != 2:
            return self._unknown(node)
        if x in self.of:
            self._weight(weight, 1, self.of[x])
        return self._weight(
            bias, 0, self._weight(weight, 0, self._fresh(operators.shape(weight)[0]))
        )

    def _owns(self, weight: object) -> bool:
        """Whether an operand is a weight that no other node uses, so that it can be sliced."""
        return operators.is_weight(weight) and str(weight.target) not in self._shared  # type: ignore[attr-defined]

    def _norm(self, node: fx.Node) -> Ids | None:
        ids = self.of.get(operators.source(node))
        wide = [
            w for w in node.args[1:5] if operators.is_weight(w) and prod(operators.shape(w)) > 1
        ]
        if ids is None or not all(map(self._owns, wide)):
            return self._unknown(node)
        for weight in wide:
            self._weight(weight, 0, ids)
        return ids

    def _pointwise(self, node: fx.Node) -> Ids | None:
        """Join the channels of all operands; operands with one channel are broadcast."""
        shape = operators.shape(node)
        joined, weights, tracked = list[Ids](), list[tuple[fx.Node, int]](), True
        for source in node.all_input_nodes:
            own = operators.shape(source)
            axis = 1 - (len(shape) - len(own))
            if len(shape) < 2 or axis < 0 or own[axis] != shape[1]:
                tracked &= len(shape) > 1 and (axis == 1 or source not in self.of)
            elif operators.is_weight(source):
                weights.append((source, axis))
                tracked &= self._owns(source)
            elif axis == 1 and source in self.of:
                joined.append(self.of[source])
            else:
                tracked &= shape[1] == 1
        if not tracked:
            return self._unknown(node)
        if not joined:
            return None
        for ids in joined[1:]:
            self._join(joined[0], ids)
        for source, axis in weights:
            self._weight(source, axis, joined[0])
        return joined[0]

    def _split(self, node: fx.Node) -> None:
        ids, shapes = self.of.get(operators.source(node)), [v.shape for v in node.meta["val"]]
        if ids is not None:
            if operators.dimension(node, 2) == 1:
                ends = np.cumsum([int(shape[1]) for shape in shapes])[:-1]
                self.parts[node] = np.split(ids, ends)
            else:
                self.parts[node] = [ids] * len(shapes)

    def _item(self, node: fx.Node) -> Ids | None:
        source, index = node.args
        parts = self.parts.get(source)  # type: ignore[arg-type]
        return parts[index] if parts else None  # type: ignore[index]

    def _slice(self, node: fx.Node) -> Ids | None:
        ids = self.of.get(operators.source(node))
        if ids is None or operators.dimension(node, 1) != 1:
            return ids
        start, end, step = (operators.argument(node, place, None) for place in (2, 3, 4))
        if step not in (None, 1):
            return self._unknown(node)
        return ids[slice(start, end)]

    def _cat(self, node: fx.Node) -> Ids | None:
        sources = list(node.args[0])  # type: ignore[arg-type]
        tracked = [self.of.get(source) for source in sources]
        if all(ids is None for ids in tracked):
            return None
        operands = []
        for source, ids in zip(sources, tracked, strict=True):
            if ids is None:
                ids = self._fresh(operators.shape(source)[1])
                self._stay.append(ids)
            operands.append(ids)
        if operators.dimension(node, 1) == 1:
            return np.concatenate(operands)
        for ids in operands[1:]:
            self._join(operands[0], ids)
        return operands[0]

    def _pad(self, node: fx.Node) -> Ids | None:
        ids = self.of.get(operators.source(node))
        before, after = operators.channel_pads(node)
        if ids is None or not (before or after):
            return ids
        if min(before, after) < 0 or not operators.pads_constant(node):
            return self._unknown(node)
        return np.concatenate([self._fresh(before), ids, self._fresh(after)])

    def _reduction(self, node: fx.Node) -> Ids | None:
        x = operators.source(node)
        axes = operators.axes(node)
        if axes is None or not {0, 1}.isdisjoint(axes):
            return self._unknown(node)
        return self.of.get(x)

    def _view(self, node: fx.Node) -> Ids | None:
        x = operators.source(node)
        ids, before, after = self.of.get(x), operators.shape(x), operators.shape(node)
        if ids is None or len(after) < 2:
            return self._unknown(node)
        if after[1] == before[1] and prod(after[2:]) == prod(before[2:]):
            return ids
        if len(after) == 2 and after[1] == prod(before[1:]):  # flattened
            return ids.repeat(prod(before[2:]))
        return self._unknown(node)
