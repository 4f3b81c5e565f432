"""Read .onnx files of any origin, with weights in other files, and name what is wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from evonas.core.optional_imports import library, quiet
from evonas.errors import InputError, one_line
from evonas.models.files.onnx_session import LARGEST, tensors, unsealed

WHAT = "backbone 'onnx'"
#: Operators with inner graphs, of which one is chosen or repeated by values.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_BLOCK = 1 << 20
_NEWEST = re.compile(r"official support for domain ai\.onnx is till opset (\d+)")


class GraphFile(NamedTuple):
    """The content of an .onnx file.

    Attributes:
        model: ``onnx.ModelProto`` with all weights inside, without functions.
        digest: hexadecimal hash of the file and of the files with its weights.
    """

    model: Any
    digest: str


def onnx_module(name: str = "onnx") -> Any:
    """Import a module of onnx or onnxruntime.

    Raises:
        InputError: the package is not installed.
    """
    return library(name, WHAT)


def read_graph(path: Path, where: str) -> GraphFile:
    """Read an .onnx file.

    Weights in other files have to lie in the folder of the .onnx file or below it.

    Args:
        path: .onnx file.
        where: name of the backbone in messages.

    Raises:
        InputError: the file is missing or is no ONNX file, its weights are missing or lie
            elsewhere, or it has an operator that ONNX Runtime does not know.
    """
    onnx = onnx_module()
    if not path.is_file():
        raise InputError(f"{where}: no such file: give an .onnx file with backbone.file")
    digest = hashlib.blake2b(digest_size=16)
    content = path.read_bytes()
    digest.update(content)
    try:
        model = onnx.load_model_from_string(unsealed(content))
        if not model.graph.node or not model.opset_import:
            raise ValueError("it has no operators")
        if not all(isinstance(name, str) for name in _names(model)):
            raise ValueError("it has names that are no text")
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(
            f"{where}: is no ONNX file ({one_line(error)}): expected a network that was exported "
            "to .onnx"
        ) from error
    for file in _load_weights(model, path, where):
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    for named in (*model.opset_import, *model.graph.node):
        if named.domain == "ai.onnx":
            named.domain = ""  # another name of the standard operators
    if model.ByteSize() > LARGEST:
        raise InputError(
            f"{where}: expected a network of at most 2 GB, got {model.ByteSize() / 1e9:.1f} GB: "
            "export it up to the layers that are needed"
        )
    if model.functions:
        with quiet():
            model = onnx_module("onnx.inliner").inline_local_functions(model)
    _check_operators(model, where)
    return GraphFile(model, digest.hexdigest())


@contextmanager
def whole_graph(where: str) -> Iterator[None]:
    """Refuse a graph that is not as the standard demands, whatever fails inside the block.

    Raises:
        InputError: anything failed.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # graphs that are not valid fail anywhere
        raise InputError(
            f"{where}: is no valid ONNX graph ({one_line(error)}): export it again"
        ) from error


def explain(error: Exception, model: Any) -> str:
    """Return why ONNX Runtime does not take a model, in one line."""
    match = _NEWEST.search(str(error))
    if not match:
        return one_line(error)
    runtime, version = onnx_module("onnxruntime").__version__, opset(model)
    return (
        f"its opset {version} is beyond ONNX Runtime {runtime}, which takes opsets up to "
        f"{match[1]}: export it with an older opset, or update onnxruntime"
    )


def opset(model: Any) -> int:
    """Return the version of the standard operators of a model."""
    return max((o.version for o in model.opset_import if not o.domain), default=1)


def _load_weights(model: Any, path: Path, where: str) -> list[Path]:
    """Load weights that the model refers to; return the files that hold them, sorted."""
    helper = onnx_module("onnx.external_data_helper")
    folder, files = path.parent.resolve(), set()
    for tensor in tensors(model.graph):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        file = (folder / place).resolve()
        if not place or not file.is_relative_to(folder):
            # A reference to another folder could name any file of the machine.
            raise InputError(
                f"{where}: expected weights beside the file, got a reference to {place!r}: "
                "export it again with its weights in its own folder"
            )
        if not file.is_file():
            raise InputError(
                f"{where}: its weights are in {place!r}, which is not beside it: copy that file "
                f"into {path.parent}"
            )
        try:
            helper.load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # a file that is too short, or was changed
            raise InputError(
                f"{where}: the weights {tensor.name!r} cannot be read from {place!r} "
                f"({one_line(error)}): copy both files again"
            ) from error
        tensor.data_location = tensor.DEFAULT
        tensor.ClearField("external_data")
        files.add(file)
    return sorted(files)


def _names(model: Any) -> Iterator[Any]:
    """Yield the names in a graph, which are bytes where they are no UTF-8."""
    for node in model.graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.initializer, *model.opset_import):
        yield value.domain if hasattr(value, "domain") else value.name


def _check_operators(model: Any, where: str) -> None:
    """Refuse operators that ONNX Runtime does not have in any version."""
    known = {(schema.domain, schema.name) for schema in _schemas()}
    unknown = {
        node.op_type + (f" ({node.domain})" if node.domain else "")
        for node in model.graph.node
        if (node.domain, node.op_type) not in known
    }
    if unknown:
        raise InputError(
            f"{where}: ONNX Runtime has no operator {', '.join(sorted(unknown))}: export the "
            "network with standard operators"
        )


def _schemas() -> list[Any]:
    state = onnx_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found: list[Any] = state.get_all_operator_schema()
    return found
