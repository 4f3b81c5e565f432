"""Running an exported program step by step, up to a step, with the names of its modules."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate

from evonas.errors import InputError

_DEVICE = "@device"  # no step is called that
_REPEATED = re.compile(r"@(\d+)$")


class _Step(nn.Module):
    """One operator and the tensors that it is the first to use, so that its cost is its own."""

    def __init__(self, operator: Any, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.operator = operator
        for name, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.operator(*args, **kwargs)


class Program(nn.Module):
    """The steps of an exported program; (n, 3, side, side) -> outputs of named steps.

    Guards and checks that the file brings along are not run; shapes are checked here.

    Args:
        program: the exported program, of operators only.
        where: names it in messages.

    Raises:
        InputError: it takes more or less than one tensor, has parts that are no operators,
            or was exported in training mode.

    Attributes:
        shape: of its input; None where any size will do.
        last: name of the step whose output the program returns first.
    """

    def __init__(self, program: torch.export.ExportedProgram, where: str) -> None:
        super().__init__()
        signature = program.graph_signature
        kinds = {spec.arg.name: spec for spec in signature.input_specs}
        inputs = [n for n, spec in kinds.items() if spec.kind is InputKind.USER_INPUT]
        nodes = list(program.graph.nodes)
        images = [n for n in nodes if n.name in inputs and isinstance(n.meta.get("val"), Tensor)]
        if len(inputs) != 1 or len(images) != 1:
            raise InputError(
                f"{where}: expected a program of one input, a batch of images, got {inputs}: "
                "export a module whose forward takes the images alone"
            )
        self._input = images[0].name
        self.shape = tuple(n if isinstance(n, int) else None for n in images[0].meta["val"].shape)
        self._nodes: list[fx.Node] = [node for node in nodes if node.op == "call_function"]
        odd = [n.name for n in nodes if n.op in ("call_module", "call_method", "get_attr")]
        if odd:
            raise InputError(
                f"{where}: step {odd[0]!r} is no operator of torch: export the network without "
                "control flow and without torch.no_grad inside"
            )
        self._check_mode(where)
        state = {**program.constants, **program.state_dict}
        narrow = [n for n, t in state.items() if getattr(t, "dtype", None) is torch.bfloat16]
        if narrow or images[0].meta["val"].dtype != torch.float32:
            raise InputError(
                f"{where}: expected a program in 32-bit floats, got {narrow[:1] or 'its input'} of "
                "another type: export model.float()"
            )
        self.steps = nn.ModuleDict()
        self._slots: dict[str, tuple[str, str]] = {}  # placeholder -> (step that owns it, name)
        for node in self._nodes:
            owned = {}
            for source in node.all_input_nodes:
                spec = kinds.get(source.name)
                if spec and source.name != self._input and source.name not in self._slots:
                    self._slots[source.name] = (_key(node), f"t_{source.name}")
                    owned[f"t_{source.name}"] = state[spec.target]
            self.steps[_key(node)] = _Step(node.target, owned)
        self._last_use = {s.name: n.name for n in self._nodes for s in n.all_input_nodes}
        self.names = _names(self._nodes)
        returned = next(iter(signature.user_outputs), None)
        self.last = next(iter(self.names.get(str(returned), ())), str(returned))

    def forward(self, images: Tensor, wanted: set[str] | None) -> dict[str, Tensor]:
        """Return name -> output of the wanted steps, or the shapes of all (without storage)."""
        found: dict[str, Tensor] = {}
        values: dict[str, Any] = {self._input: images, _DEVICE: images.device}
        for node in self._nodes:
            args, kwargs = map_aggregate(
                (node.args, node.kwargs), lambda part: self._argument(part, values)
            )
            result = self.steps[_key(node)](*args, **kwargs)
            values[node.name] = result
            for source in node.all_input_nodes:  # maps of steps that are over are freed
                if self._last_use[source.name] == node.name:
                    values.pop(source.name, None)
            if not isinstance(result, Tensor):
                continue
            for name in self.names[node.name]:
                if wanted is None:
                    found[name] = torch.empty_like(result, device="meta")
                elif name in wanted:
                    found[name] = result
                    if len(found) == len(wanted):
                        return found
            if wanted is not None and not wanted.isdisjoint(self.names[node.name]):
                # A later step may write into this very tensor (an in-place ReLU does).
                found |= {n: result.clone() for n in self.names[node.name] if n in wanted}
        return found

    def _argument(self, part: Any, values: dict[str, Any]) -> Any:
        """Return what stands in the place of a part of a step's arguments."""
        if isinstance(part, torch.device):
            return values[_DEVICE]  # the file names that on which it was exported
        return self._value(part, values) if isinstance(part, fx.Node) else part

    def _value(self, source: fx.Node, values: dict[str, Any]) -> Any:
        if source.name in values:
            return values[source.name]
        step, name = self._slots[source.name]
        return getattr(self.steps[step], name)

    def _check_mode(self, where: str) -> None:
        for node in self._nodes:
            for argument, value in zip(_arguments(node), node.args, strict=False):
                if argument in ("train", "training") and value is True:
                    raise InputError(
                        f"{where}: was exported in training mode (step {node.name!r}): call "
                        "model.eval() before torch.export.export"
                    )


def _arguments(node: fx.Node) -> list[str]:
    schema = getattr(node.target, "_schema", None)
    return [argument.name for argument in schema.arguments] if schema else []


def _rearranges(node: fx.Node) -> bool:
    """Whether a step only shows its input in another shape (by its schema: a view)."""
    schema = getattr(node.target, "_schema", None)
    shown = [value.alias_info for value in schema.returns if value.alias_info] if schema else []
    return any(not alias.is_write for alias in shown)


def _key(node: fx.Node) -> str:
    return f"s_{node.name}"  # a step may be called "to", as methods of modules are


def _names(nodes: list[fx.Node]) -> dict[str, list[str]]:
    """Return step -> tap names: the modules that end with it, inner ones first, or its own."""
    ends: dict[str, str] = {}
    depths: dict[str, int] = {}
    for node in nodes:
        for depth, (key, (path, _)) in enumerate((node.meta.get("nn_module_stack") or {}).items()):
            repeated = _REPEATED.search(key)
            name = f"{path}:{repeated[1]}" if repeated else str(path)
            if path:
                ends[name], depths[name] = node.name, depth
    found: dict[str, list[str]] = {node.name: [] for node in nodes}
    for name in sorted(ends, key=lambda name: -depths[name]):
        found[ends[name]].append(name)
    for node in nodes:
        if not found[node.name] and node.name not in ends and not _rearranges(node):
            found[node.name] = [node.name]
    return found
