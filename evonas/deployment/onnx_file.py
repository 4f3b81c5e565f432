"""Convert programs to ONNX, join ONNX models, and write them with metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from evonas.core.optional_imports import library, quiet
from evonas.errors import InputError, one_line
from evonas.models.files.onnx_session import LARGEST, sealed

_WHAT = "exporting to ONNX"
#: Name of the input of every model, and of the intermediate input of one that is joined.
INPUT = "images"
_FAILED = re.compile(r"translating node %(\w+) .*?target=(?:torch\.ops\.)?([\w.]+)\]", re.DOTALL)


def model(program: ExportedProgram, output: str) -> Any:
    """Return a program as an ONNX model with the input ``images``.

    Args:
        program: images -> one output.
        output: name of the output.

    Raises:
        InputError: ONNX lacks an operator; the message names the operator and its module.
    """
    try:
        with torch.no_grad(), quiet():
            exported: Any = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[output], verbose=False
            )
            proto = exported.model_proto
    except Exception as error:  # the exporter raises many kinds of errors
        raise InputError(_explain(error)) from error
    bare(proto)
    for end in (*proto.graph.input, *proto.graph.output):
        end.ClearField("metadata_props")
        for size in end.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    return proto


def joined(first: Any, second: nn.Module, outputs: Tensor, output: str) -> Any:
    """Return an ONNX model followed by a torch module.

    Args:
        first: model whose first output is the input of ``second``; further outputs stay outputs,
            behind that of ``second``. It is changed in place.
        second: module of one input and one output.
        outputs: first outputs of ``first`` for two images.
        output: name of the module's output.

    Raises:
        InputError: ONNX lacks an operator of the module, or the models cannot be brought to one
            opset.
    """
    onnx = library("onnx", _WHAT)
    compose = library("onnx.compose", _WHAT)
    shapes = ({0: Dim("batch")},)
    with torch.no_grad(), quiet():
        program = torch.export.export(second.eval(), (outputs,), dynamic_shapes=shapes)
    tail = model(program, output)
    end = first.graph.output[0].name
    newest = max(_opset(first), _opset(tail))
    first, tail = _converted(first, newest), _converted(tail, newest)
    tail = compose.add_prefix(tail, "answer_")
    first.ir_version = tail.ir_version = max(first.ir_version, tail.ir_version)
    with quiet():
        merged = compose.merge_models(first, tail, io_map=[(end, f"answer_{INPUT}")])
    last = f"answer_{output}"
    for node in merged.graph.node:
        node.output[:] = [output if name == last else name for name in node.output]
        node.input[:] = [output if name == last else name for name in node.input]
    ends = sorted(merged.graph.output, key=lambda value: bool(value.name != last))
    ends[0].name = output
    ends = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in ends]
    del merged.graph.output[:]
    merged.graph.output.extend(ends)
    versions = {opset.domain: opset for opset in merged.opset_import}
    kept = [onnx.OperatorSetIdProto.FromString(o.SerializeToString()) for o in versions.values()]
    del merged.opset_import[:]
    merged.opset_import.extend(kept)
    onnx.checker.check_model(merged)
    return merged


def split_output(proto: Any, output: str, widths: Mapping[str, int]) -> None:
    """Split an output of an ONNX model into several, in place, along its columns.

    Args:
        proto: the model; further outputs stay behind the new ones.
        output: name of the output, (n, k).
        widths: name of each new output -> number of its columns, in order.
    """
    onnx = library("onnx", _WHAT)
    old = next(value for value in proto.graph.output if value.name == output)
    kind, rows = old.type.tensor_type.elem_type, old.type.tensor_type.shape.dim[0]
    count = rows.dim_param or rows.dim_value
    others = [value for value in proto.graph.output if value.name != output]
    others = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in others]
    sizes = onnx.numpy_helper.from_array(np.array([*widths.values()], np.int64), f"{output}_sizes")
    proto.graph.initializer.append(sizes)
    node = onnx.helper.make_node("Split", [output, sizes.name], [*widths], axis=1)
    proto.graph.node.append(node)
    del proto.graph.output[:]
    for name, width in widths.items():
        made = onnx.helper.make_tensor_value_info(name, kind, [count, width])
        proto.graph.output.append(made)
    proto.graph.output.extend(others)
    onnx.checker.check_model(proto)


def _opset(proto: Any) -> int:
    """Return the version of the standard operators of a model."""
    return next((int(o.version) for o in proto.opset_import if not o.domain), 1)


def _converted(proto: Any, version: int) -> Any:
    """Return a model with standard operators of another version.

    Raises:
        InputError: an operator cannot be converted.
    """
    if _opset(proto) == version:
        return proto
    try:
        with quiet():
            return library("onnx.version_converter", _WHAT).convert_version(proto, version)
    except Exception as error:  # the converter raises many kinds of errors
        raise InputError(
            f"the network cannot be converted from opset {_opset(proto)} to opset {version} "
            f"({one_line(error)}): export the backbone with opset {version}"
        ) from error


def save(proto: Any, path: Path, notes: Mapping[str, str]) -> None:
    """Write an ONNX model with metadata, name -> text.

    Raises:
        InputError: the model is too large for one file.
    """
    path.write_bytes(sealed(content(proto, notes)))


def content(proto: Any, notes: Mapping[str, str]) -> bytes:
    """Return the content of an .onnx file with metadata, name -> text, without a checksum.

    Raises:
        InputError: the model is too large for one file.
    """
    helper = library("onnx.helper", _WHAT)
    helper.set_model_props(proto, dict(notes))
    if proto.ByteSize() > LARGEST:
        raise InputError(
            f"expected a network of at most 2 GB, the limit of an .onnx file, got "
            f"{proto.ByteSize() / 1e9:.1f} GB: use --format torch_export"
        )
    return bytes(proto.SerializeToString())


def bare(model: Any) -> None:
    """Remove the exporter's notes on source code from an ONNX model."""
    for message in (model, model.graph, *model.graph.node, *model.graph.value_info):
        for field in ("doc_string", "metadata_props"):
            message.ClearField(field)


def module_of(node: fx.Node) -> str:
    """Return the path of the module that a node of a program comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _explain(error: Exception) -> str:
    """Return a message for an exception of the exporter, with operator and module if known."""
    for cause in _causes(error):
        match = _FAILED.search(str(cause))
        if match:
            name, operator = match.groups()
            node = next((node for node in _nodes(error) if node.name == name), None)
            where = module_of(node) if node is not None else ""
            return (
                f"ONNX has no operator for {operator}, which "
                f"{f'module {where!r} of the network' if where else 'the network'} calls: replace "
                "it there, or use --format torch_export"
            )
    return (
        f"the network cannot be exported as ONNX ({one_line(error.__cause__ or error)}): use "
        "--format torch_export"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _nodes(error: BaseException) -> Iterator[fx.Node]:
    """Yield the nodes in the exporter's stack frames, as its message only names a node."""
    for cause in _causes(error):
        trace = cause.__traceback__
        while trace is not None:
            values = trace.tb_frame.f_locals.values()
            yield from (value for value in values if isinstance(value, fx.Node))
            trace = trace.tb_next
