"""Which channels of a traced network stand and fall together.

Every channel that a convolution or a linear layer makes has a number. It is followed through
the graph: a sum makes two numbers one, since one of them cannot go alone; so does the larger
of two halves (max-feature-map, Wu et al. 2018, arXiv 1511.02683), a gate's product, and a
depthwise convolution. A step that nobody knows fixes what it takes: its channels all stay.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from evonas.deployment.pruning import operators as steps

Ids = NDArray[np.intp]


class Channels:
    """The numbered channels of a graph, all with the batch first and channels second.

    Args:
        graph: of ``tracing.trace``.

    Attributes:
        of: step -> numbers of its output's channels; steps without are not followed.
        parts: step with several outputs -> numbers of each.
        weights: dotted name -> dimension -> numbers of the channels along it.
        fixed: (step, why) of what keeps all channels that it takes.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.of: dict[fx.Node, Ids] = {}
        self.parts: dict[fx.Node, list[Ids]] = {}
        self.weights: dict[str, dict[int, Ids]] = {}
        self.fixed: list[tuple[str, str]] = []
        self._parent: list[int] = []
        self._stay: list[Ids] = []
        uses = [
            s.target for n in graph.graph.nodes for s in n.all_input_nodes if steps.is_weight(s)
        ]
        self._shared = {str(target) for target, count in Counter(uses).items() if count > 1}
        for node in graph.graph.nodes:
            if node.op == "call_function":
                found = self._rule(node)(node)
                if found is not None:
                    self.of[node] = found

    def __len__(self) -> int:
        return len(self._parent)

    def roots(self, ids: Ids) -> Ids:
        """Return for each number the one that stands for all that it is tied to."""
        return np.array([self._root(int(one)) for one in ids], np.intp)

    def staying(self) -> Ids:
        """Return the numbers (roots) that must not go."""
        return self.roots(np.concatenate([np.empty(0, np.intp), *self._stay]))

    def _root(self, one: int) -> int:
        while self._parent[one] != one:
            self._parent[one] = one = self._parent[self._parent[one]]
        return one

    def _fresh(self, count: int) -> Ids:
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _tie(self, one: Ids, other: Ids) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            self._parent[max(a, b)] = min(a, b)

    def _fix(self, node: fx.Node, why: str, taken: Iterable[Ids]) -> None:
        taken = [ids for ids in taken if len(ids)]
        if taken:
            self.fixed.append((node.name, why))
            self._stay += taken

    def _weight(self, node: object, dimension: int, ids: Ids) -> Ids:
        """Note that a weight has these channels along a dimension; return their numbers."""
        if isinstance(node, fx.Node):
            noted = self.weights.setdefault(str(node.target), {})
            self._tie(noted.setdefault(dimension, ids), ids)
            return noted[dimension]
        return ids

    def _rule(self, node: fx.Node) -> Callable[[fx.Node], Ids | None]:
        rules: list[tuple[frozenset[object], Callable[[fx.Node], Ids | None]]] = [
            (steps.CONVOLUTIONS, self._convolution),
            (steps.LINEAR, self._linear),
            (steps.NORMS, self._norm),
            (steps.SPLITS, self._split),
            (frozenset({operator.getitem}), self._item),
            (steps.SLICES, self._slice),
            (steps.CATS, self._cat),
            (steps.PADS, self._pad),
            (steps.SPATIAL, self._same),
            (steps.REDUCTIONS, self._reduction),
            (steps.VIEWS, self._view),
        ]
        for targets, rule in rules:
            if node.target in targets:
                return rule
        return self._pointwise if steps.pointwise(node) else self._unknown

    def _taken(self, node: fx.Node) -> list[Ids]:
        sources = node.all_input_nodes
        found = [self.of[source] for source in sources if source in self.of]
        return found + [ids for source in sources for ids in self.parts.get(source, [])]

    def _unknown(self, node: fx.Node) -> Ids | None:
        if isinstance(node.meta.get("val"), Tensor | tuple | list):  # no size of a dimension
            self._fix(node, f"{steps.name(node)} may mix channels", self._taken(node))
        return None

    def _same(self, node: fx.Node) -> Ids | None:
        return self.of.get(steps.source(node))

    def _convolution(self, node: fx.Node) -> Ids | None:
        x, weight, bias = steps.source(node), node.args[1], steps.argument(node, 2, None)
        groups = int(steps.argument(node, 6, 1))
        if not self._owns(weight):
            return self._unknown(node)
        taken = self.of.get(x)
        if groups == 1:
            if taken is not None:
                self._weight(weight, 1, taken)
            made = self._weight(weight, 0, self._fresh(steps.shape(weight)[0]))
        elif taken is not None and groups == len(taken):
            made = self._weight(weight, 0, taken.repeat(steps.shape(weight)[0] // groups))
        else:
            self._fix(node, f"a convolution in {groups} groups", self._taken(node))
            return None
        return self._weight(bias, 0, made)

    def _linear(self, node: fx.Node) -> Ids | None:
        x, weight, bias = steps.source(node), node.args[1], steps.argument(node, 2, None)
        if not self._owns(weight) or len(steps.shape(x)) != 2:
            return self._unknown(node)
        if x in self.of:
            self._weight(weight, 1, self.of[x])
        return self._weight(bias, 0, self._weight(weight, 0, self._fresh(steps.shape(weight)[0])))

    def _owns(self, weight: object) -> bool:
        """Whether an operand is a weight that no other step uses, so that it may shrink alone."""
        return steps.is_weight(weight) and str(weight.target) not in self._shared  # type: ignore[attr-defined]

    def _norm(self, node: fx.Node) -> Ids | None:
        found = self.of.get(steps.source(node))
        wide = [w for w in node.args[1:5] if steps.is_weight(w) and prod(steps.shape(w)) > 1]
        if found is None or not all(map(self._owns, wide)):
            return self._unknown(node)
        for weight in wide:
            self._weight(weight, 0, found)
        return found

    def _pointwise(self, node: fx.Node) -> Ids | None:
        """Tie all operands that have the output's channels; those with one are spread over them."""
        shape = steps.shape(node)
        tied, weights, followed = list[Ids](), list[tuple[fx.Node, int]](), True
        for source in node.all_input_nodes:
            own = steps.shape(source)
            axis = 1 - (len(shape) - len(own))
            if len(shape) < 2 or axis < 0 or own[axis] != shape[1]:
                followed &= len(shape) > 1 and (axis == 1 or source not in self.of)
            elif steps.is_weight(source):
                weights.append((source, axis))
                followed &= self._owns(source)
            elif axis == 1 and source in self.of:
                tied.append(self.of[source])
            else:
                followed &= shape[1] == 1
        if not followed:
            return self._unknown(node)
        if not tied:
            return None
        for other in tied[1:]:
            self._tie(tied[0], other)
        for source, axis in weights:
            self._weight(source, axis, tied[0])
        return tied[0]

    def _split(self, node: fx.Node) -> None:
        taken, sizes = self.of.get(steps.source(node)), [v.shape for v in node.meta["val"]]
        if taken is not None:
            if steps.dimension(node, 2) == 1:
                ends = np.cumsum([int(size[1]) for size in sizes])[:-1]
                self.parts[node] = np.split(taken, ends)
            else:
                self.parts[node] = [taken] * len(sizes)

    def _item(self, node: fx.Node) -> Ids | None:
        source, index = node.args
        parts = self.parts.get(source)  # type: ignore[arg-type]
        return parts[index] if parts else None  # type: ignore[index]

    def _slice(self, node: fx.Node) -> Ids | None:
        taken = self.of.get(steps.source(node))
        if taken is None or steps.dimension(node, 1) != 1:
            return taken
        start, end, step = (steps.argument(node, place, None) for place in (2, 3, 4))
        if step not in (None, 1):
            return self._unknown(node)
        return taken[slice(start, end)]

    def _cat(self, node: fx.Node) -> Ids | None:
        sources = list(node.args[0])  # type: ignore[arg-type]
        found = [self.of.get(source) for source in sources]
        if all(ids is None for ids in found):
            return None
        whole = []
        for source, ids in zip(sources, found, strict=True):
            if ids is None:
                ids = self._fresh(steps.shape(source)[1])
                self._stay.append(ids)
            whole.append(ids)
        if steps.dimension(node, 1) == 1:
            return np.concatenate(whole)
        for ids in whole[1:]:
            self._tie(whole[0], ids)
        return whole[0]

    def _pad(self, node: fx.Node) -> Ids | None:
        taken = self.of.get(steps.source(node))
        before, after = steps.channel_pads(node)
        if taken is None or not (before or after):
            return taken
        if min(before, after) < 0 or not steps.pads_constant(node):
            return self._unknown(node)
        return np.concatenate([self._fresh(before), taken, self._fresh(after)])

    def _reduction(self, node: fx.Node) -> Ids | None:
        x = steps.source(node)
        axes = steps.axes(node)
        if axes is None or not {0, 1}.isdisjoint(axes):
            return self._unknown(node)
        return self.of.get(x)

    def _view(self, node: fx.Node) -> Ids | None:
        x = steps.source(node)
        taken, before, after = self.of.get(x), steps.shape(x), steps.shape(node)
        if taken is None or len(after) < 2:
            return self._unknown(node)
        if after[1] == before[1] and prod(after[2:]) == prod(before[2:]):
            return taken
        if len(after) == 2 and after[1] == prod(before[1:]):  # flattened
            return taken.repeat(prod(before[2:]))
        return self._unknown(node)
