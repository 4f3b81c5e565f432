"""Safe loading of exported programs: files that could run code are refused before loading.

``torch.export.load`` of torch 2.13 is not safe on its own. It unpickles the sample inputs
(with ``weights_only`` first, and without if that fails), tensors marked ``use_pickle``, and
custom objects; it evaluates sizes as Python; it loads compiled libraries; and it accepts any
operator, including those that read and write files. This module therefore reads the archive
first, with torch's own reader, and refuses everything except tensors, torch's own operators
and plain arithmetic of sizes. Guards, which ``ExportedProgram.module()`` compiles from text in
the file, are never used. The only other operators that are accepted, by their full names, are
those that quantise floats to 8-bit integers and dequantise them.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from evonas.errors import InputError, one_line
from evonas.models.files.graph_devices import follow_input
from evonas.models.files.safetensors_files import check_archive

#: Arithmetic of sizes as torch writes it, ``Mul(Integer(2), Symbol('s7', positive=True))``:
#: calls of classes, symbols, flags and numbers; no attributes and no other strings.
_EXPRESSION = re.compile(
    r"(?:[A-Z][A-Za-z]*+(?=\()|'?[suz]\d++'?|[a-z]++(?==True|=False)|True|False|[-\d+*/(), =])*+"
)
_OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+")
_ARITHMETIC = frozenset(
    f"_operator.{name}"
    for names in ("getitem add sub mul floordiv truediv mod pow neg", "eq ne lt le gt ge and_ or_")
    for name in names.split()
)
#: Operators of quantised programs that are not torch's own.
_QUANTISED = frozenset(
    f"torch.ops.quantized_decomposed.{way}_per_{what}.default"
    for way in ("quantize", "dequantize")
    for what in ("tensor", "channel")
)
_FILES = frozenset({"from_file", "save"})  # torch's operators that read and write files
_AGAIN = "export it again with torch.export.save, with plain tensors and torch's own operators"


def load_program(path: Path, where: str = "") -> torch.export.ExportedProgram:
    """Return the exported program in a .pt2 file.

    Args:
        path: .pt2 file.
        where: name of the file in messages; by default that of the option ``backbone.path``.

    Raises:
        InputError: the file is damaged, of an older format, or opening or running it
            could run code.
    """
    where = where or f"backbone.path={path}"
    try:
        check_archive(path)
        if _check_contents(path, where):
            # The import registers the operators of quantised programs.
            importlib.import_module("torch.ao.quantization.fx._decomposed")
        with _without_logging():
            return torch.export.load(path)
    except InputError:
        raise
    except Exception as error:  # damaged archives raise many kinds of errors in torch
        raise InputError(
            f"{where}: cannot be read as a program of torch.export "
            f"({one_line(error).split('. ', 1)[0]}): {_AGAIN}"
        ) from error


@contextmanager
def _without_logging() -> Iterator[None]:
    """Suppress torch.export's log, which repeats the traceback of an exception that it raises."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_contents(path: Path, where: str) -> bool:
    """Refuse an archive that contains anything other than tensors, operators and sizes.

    Returns:
        Whether the program is quantised.
    """
    quantised = False
    reader = torch._C.PyTorchFileReader(str(path))
    records: list[str] = reader.get_all_records()
    if "archive_format" not in records or reader.get_record("archive_format") != b"pt2":
        raise _refused(
            where, "is of an older format, which holds pickles", "with torch 2.9 or later"
        )
    for name in records:
        if name.startswith("data/aotinductor/"):
            raise _refused(where, f"holds compiled code ({name})")
        if name.endswith(".pt"):
            _check_tensors(where, name, reader.get_record(name))
        elif name.endswith(".json"):
            content = json.loads(reader.get_record(name))
            if name.endswith("_config.json"):
                for entry in content["config"].values():
                    record = f"{name.rpartition('/')[0]}/{entry['path_name']}"
                    if not entry["path_name"].startswith(("weight_", "tensor_")):
                        raise _refused(where, f"holds a pickled object ({record})")
                    if entry["use_pickle"]:
                        _check_tensors(where, record, reader.get_record(record))
            else:
                for key, text in _texts(content):
                    _check_text(where, key, text)
                    quantised |= key == "target" and text in _QUANTISED
    return quantised


def _check_text(where: str, key: str, text: str) -> None:
    if key == "expr_str" and not _EXPRESSION.fullmatch(text):
        raise _refused(where, f"has a size that is no plain arithmetic ({text[:60]!r})")
    if key == "target":
        known = text in _ARITHMETIC or text in _QUANTISED or _OPERATOR.fullmatch(text)
        if not known or not _FILES.isdisjoint(text.split(".")):
            raise _refused(where, f"calls {text[:80]!r}, which is no operator of torch's own")


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, string) for every string in JSON data, and for keys of range constraints."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, str):
                yield key, value
            elif key == "range_constraints":
                yield from (("expr_str", symbol) for symbol in value)
            else:
                yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)


def _check_tensors(where: str, name: str, data: bytes) -> None:
    """Refuse a pickled record that contains anything other than tensors."""
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise _refused(where, f"holds a pickle of more than tensors ({name})") from error


def _refused(where: str, why: str, how: str = "") -> InputError:
    return InputError(
        f"{where}: {why}, and opening it could run code: {_AGAIN}{', ' + how if how else ''}"
    )


def unlifted(program: ExportedProgram) -> fx.GraphModule:
    """Return a program as a graph module, images -> one tensor, that runs on any device.

    Unlike ``ExportedProgram.module``, this function compiles no guards, which are text in the
    file, and keeps only the tensors that the graph uses.
    """
    state = {**program.state_dict, **program.constants}
    owners = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.kind is not InputKind.USER_INPUT
    }
    root: dict[str, Any] = {}
    graph, values = fx.Graph(), {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in owners:
            if node.users:
                name = f"t{len(root)}"
                root[name] = state[owners[node.name]]
                values[node] = graph.get_attr(name)
                values[node].meta = dict(node.meta)
        elif node.op == "output":
            (result,) = node.args[0]
            graph.output(values[result])
        else:
            values[node] = graph.node_copy(node, lambda source: values[source])
    follow_input(graph)
    module = fx.GraphModule(root, graph)
    module.eval()
    return module
