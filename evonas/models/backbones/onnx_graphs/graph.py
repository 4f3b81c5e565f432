"""An ONNX graph with its order of computation: which nodes a tensor needs, and cutting there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import Any

from evonas.models.backbones.onnx_graphs.reading import onnx_module

#: Operators whose output has the scale and zero point of their first input, if it is quantised.
_SAME_SCALE = frozenset(
    {"Transpose", "Reshape", "MaxPool", "Identity", "Slice", "Squeeze", "Unsqueeze", "Flatten"}
)
#: Operators whose output says the sizes of the input, not its values.
_SIZES = frozenset({"Shape", "Size"})


class Graph:
    """A model whose nodes stand in the order of computation, as ONNX demands.

    Args:
        model: ``onnx.ModelProto`` with one input.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes: list[Any] = list(model.graph.node)

    @property
    def input(self) -> str:
        """Name of the input."""
        return str(self.model.graph.input[0].name)

    @cached_property
    def initializers(self) -> dict[str, Any]:
        """Name -> constant tensor."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def producers(self) -> dict[str, int]:
        """Name of a tensor -> index of the node that computes it."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        """Name of a tensor -> indices of the nodes that read it."""
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in sources(node):
                found.setdefault(name, []).append(index)
        return found

    @cached_property
    def dependent(self) -> set[str]:
        """Names of the tensors whose values depend on those of the input, which is among them."""
        found = {self.input}
        for node in self.nodes:
            if node.op_type not in _SIZES and not found.isdisjoint(sources(node)):
                found |= {name for name in node.output if name}
        return found

    def needed(self, names: Iterable[str]) -> list[int]:
        """Return the indices of the nodes that tensors need, in the order of computation."""
        open_names, found = list(names), set[int]()
        while open_names:
            index = self.producers.get(open_names.pop())
            if index is not None and index not in found:
                found.add(index)
                open_names += sources(self.nodes[index])
        return sorted(found)

    def behind(self, chosen: Callable[[Any], bool]) -> set[str]:
        """Return the names of the tensors that depend on the images and on a chosen node."""
        found = set[str]()
        for node in self.nodes:
            if chosen(node) or not found.isdisjoint(sources(node)):
                found |= self.dependent.intersection(node.output)
        return found

    def cut(self, names: Collection[str]) -> Any:
        """Return a model of the nodes and weights that tensors need.

        Args:
            names: tensors; quantised ones are followed by an operator that dequantises them.

        Returns:
            ``onnx.ModelProto`` whose outputs are the tensors, in this order; the names of
            quantised ones end in ``_float``.
        """
        onnx = onnx_module()
        nodes = [self.nodes[index] for index in self.needed(names)]
        outputs = []
        for name in names:
            scale = self.scale_of(name)
            if scale is not None:
                end = f"{name}_float"
                nodes.append(onnx.helper.make_node("DequantizeLinear", [name, *scale], [end]))
                name = end
            outputs.append(name)
        used = {name for node in nodes for name in sources(node)}
        model = onnx.ModelProto()
        model.ir_version, model.producer_name = self.model.ir_version, "evonas"
        model.opset_import.extend(self.model.opset_import)
        graph = model.graph
        graph.name = self.model.graph.name or "backbone"
        graph.node.extend(nodes)
        graph.input.extend(self.model.graph.input)
        graph.initializer.extend(t for n, t in self.initializers.items() if n in used)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return model

    def scale_of(self, name: str) -> tuple[str, str] | None:
        """Return the names of a tensor's scale and zero point; None: it is not quantised."""
        index = self.producers.get(name)
        if index is None:
            return None
        node = self.nodes[index]
        if node.op_type == "QuantizeLinear":
            found = list(node.input[1:3])
        elif node.op_type in ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"):
            found = list(node.input[6:8])
        elif node.op_type == "QLinearConcat":
            found = list(node.input[:2])
        elif node.op_type.startswith("QLinear"):  # of one input: pooling and activations
            found = list(node.input[3:5])
        elif node.op_type in _SAME_SCALE:
            return self.scale_of(node.input[0])
        else:
            return None
        return (found[0], found[1]) if len(found) == 2 else None


def sources(node: Any) -> list[str]:
    """Return the names that a node reads, those of its inner graphs included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            found += [name for inner in graph.node for name in sources(inner)]
            found += [end.name for end in graph.output]
    return found
