"""Run the network of a file: exported programs, operator by operator, and TorchScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_aggregate

from evonas.errors import InputError, one_line
from evonas.models.files.safetensors_files import check_archive

_DEVICE = "@device"  # no node of a graph can have this name
_REPEATED = re.compile(r"@(\d+)$")


class _Operator(nn.Module):
    """One operator of a program, with the weights that no earlier operator uses.

    Each operator is a module, so that counters attribute costs to single operators.
    """

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
    """An exported program that returns the outputs of named operators.

    Guards and checks in the file are not executed; the shape of the input is checked here.

    Args:
        program: the exported program, of operators only.
        where: name of the program in messages.

    Raises:
        InputError: the program has not exactly one input tensor, contains nodes that are no
            operators, or was exported in training mode.

    Attributes:
        shape: shape of the input; dynamic sizes are None.
        last: name of the operator whose output is the program's first output.
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
                "export a module whose forward has no other arguments"
            )
        self._input = images[0].name
        self.shape = tuple(n if isinstance(n, int) else None for n in images[0].meta["val"].shape)
        self._nodes: list[fx.Node] = [node for node in nodes if node.op == "call_function"]
        odd = [n.name for n in nodes if n.op in ("call_module", "call_method", "get_attr")]
        if odd:
            raise InputError(
                f"{where}: node {odd[0]!r} of the graph is no operator of torch: export the "
                "network without control flow and without torch.no_grad inside"
            )
        self._check_mode(where)
        state = {**program.constants, **program.state_dict}
        narrow = [n for n, t in state.items() if getattr(t, "dtype", None) is torch.bfloat16]
        if narrow or images[0].meta["val"].dtype != torch.float32:
            raise InputError(
                f"{where}: expected a program in 32-bit floats, got another type for "
                f"{repr(narrow[0]) if narrow else 'the input'}: export model.float()"
            )
        self.steps = nn.ModuleDict()
        self._slots: dict[str, tuple[str, str]] = {}  # placeholder -> (its operator, tensor name)
        for node in self._nodes:
            owned = {}
            for source in node.all_input_nodes:
                spec = kinds.get(source.name)
                if spec and source.name != self._input and source.name not in self._slots:
                    self._slots[source.name] = (_key(node), f"t_{source.name}")
                    owned[f"t_{source.name}"] = state[spec.target]
            self.steps[_key(node)] = _Operator(node.target, owned)
        self._last_use = {s.name: n.name for n in self._nodes for s in n.all_input_nodes}
        self.names = _tap_names(self._nodes)
        returned = next(iter(signature.user_outputs), None)
        self.last = next(iter(self.names.get(str(returned), ())), str(returned))

    def forward(self, images: Tensor, wanted: set[str] | None) -> dict[str, Tensor]:
        """Return name -> output of the wanted operators; the rest of the program is not run.

        If ``wanted`` is None, all outputs are returned as tensors on the meta device.
        """
        outputs: dict[str, Tensor] = {}
        values: dict[str, Any] = {self._input: images, _DEVICE: images.device}
        for node in self._nodes:
            args, kwargs = map_aggregate(
                (node.args, node.kwargs), lambda part: self._argument(part, values)
            )
            result = self.steps[_key(node)](*args, **kwargs)
            values[node.name] = result
            for source in node.all_input_nodes:  # free values after their last use
                if self._last_use[source.name] == node.name:
                    values.pop(source.name, None)
            if not isinstance(result, Tensor):
                continue
            for name in self.names[node.name]:
                if wanted is None:
                    outputs[name] = torch.empty_like(result, device="meta")
                elif name in wanted:
                    outputs[name] = result
                    if len(outputs) == len(wanted):
                        return outputs
            if wanted is not None and not wanted.isdisjoint(self.names[node.name]):
                # A later in-place operator, such as a ReLU, may overwrite the tensor.
                outputs |= {n: result.clone() for n in self.names[node.name] if n in wanted}
        return outputs

    def _argument(self, part: Any, values: dict[str, Any]) -> Any:
        """Return the value of an argument (or of an item of it) of an operator."""
        if isinstance(part, torch.device):
            return values[_DEVICE]  # not the device of the export, which the graph contains
        return self._value(part, values) if isinstance(part, fx.Node) else part

    def _value(self, source: fx.Node, values: dict[str, Any]) -> Any:
        if source.name in values:
            return values[source.name]
        operator, name = self._slots[source.name]
        return getattr(self.steps[operator], name)

    def _check_mode(self, where: str) -> None:
        for node in self._nodes:
            for argument, value in zip(_arguments(node), node.args, strict=False):
                if argument in ("train", "training") and value is True:
                    raise InputError(
                        f"{where}: was exported in training mode (node {node.name!r}): call "
                        "model.eval() before torch.export.export"
                    )


class Script(nn.Module):
    """A TorchScript file as a plain module, which can be frozen, hashed and traced.

    TorchScript modules themselves have no forward hooks, which counting operations needs.

    Args:
        path: TorchScript file; torch's interpreter loads it on the CPU.

    Raises:
        InputError: the file is no TorchScript.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            check_archive(path)
            script: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            script.eval()
        except Exception as error:  # damaged archives raise many kinds of errors in torch
            raise InputError(
                f"backbone.path={path}: is no TorchScript ({one_line(error).split('. ', 1)[0]}); "
                "a program of torch.export is named .pt2, and a state dictionary needs "
                "backbone=torch_module"
            ) from error
        self._hidden = [script.float()]
        for name, parameter in script.named_parameters():
            parameter.requires_grad_(False)
            shared = nn.Parameter(parameter.detach(), requires_grad=False)
            self.register_parameter(_flat_name(name), shared)
        for name, buffer in script.named_buffers():
            self.register_buffer(_flat_name(name), buffer)
        self._steps: list[Any] = []

    def unroll(self, example: Tensor) -> None:
        """Record the operators that one image runs through, for a later trace.

        A trace does not see the operators inside TorchScript.
        """
        self._steps = [make_fx(self._hidden[0])(example)]

    def forward(self, images: Tensor) -> Any:
        """Return what the TorchScript module returns for (n, 3, h, w) images."""
        if torch._C._get_tracing_state():  # traces count operations, at batch 1
            return self._steps[0](images)
        return self._hidden[0](images)


def _flat_name(name: str) -> str:
    return "t_" + name.replace(".", "_")


def _arguments(node: fx.Node) -> list[str]:
    """Return the names of the arguments of a node's operator."""
    schema = getattr(node.target, "_schema", None)
    return [argument.name for argument in schema.arguments] if schema else []


def _rearranges(node: fx.Node) -> bool:
    """Whether an operator returns a view of its input, according to its schema."""
    schema = getattr(node.target, "_schema", None)
    aliases = [value.alias_info for value in schema.returns if value.alias_info] if schema else []
    return any(not alias.is_write for alias in aliases)


def _key(node: fx.Node) -> str:
    return f"s_{node.name}"  # prefixed, as ModuleDict refuses names of methods such as "to"


def _tap_names(nodes: list[fx.Node]) -> dict[str, list[str]]:
    """Return the tap names of each node.

    They are the modules whose last operator the node is, inner modules first; otherwise the
    name of the node, unless it only returns a view.
    """
    ends: dict[str, str] = {}
    depths: dict[str, int] = {}
    for node in nodes:
        for depth, (key, (path, _)) in enumerate((node.meta.get("nn_module_stack") or {}).items()):
            repeated = _REPEATED.search(key)
            name = f"{path}:{repeated[1]}" if repeated else str(path)
            if path:
                ends[name], depths[name] = node.name, depth
    names: dict[str, list[str]] = {node.name: [] for node in nodes}
    for name in sorted(ends, key=lambda name: -depths[name]):
        names[ends[name]].append(name)
    for node in nodes:
        if not names[node.name] and node.name not in ends and not _rearranges(node):
            names[node.name] = [node.name]
    return names
