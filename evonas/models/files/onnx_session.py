"""Running an .onnx file: numpy images in, outputs out, without torch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.errors import InputError, one_line

_WHAT = "running an .onnx file"

_DIGITS, _KEY = 8, b"evonas_crc32"
_PAIR = bytes([0x0A, len(_KEY)]) + _KEY + bytes([0x12, _DIGITS])  # its key, and its value begins
_SEAL = bytes([14 << 3 | 2, len(_PAIR) + _DIGITS]) + _PAIR

#: (n, 3, side, side) float32 RGB in 0..255 -> outputs of n images.
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def session(path: Path, threads: int = 1, extra: str = "quantize") -> Run:
    """Return a function of images (n, 3, side, side) float32 that gives outputs, both of numpy.

    Args:
        path: of the file.
        threads: of ONNX Runtime.
        extra: of evonas that has the libraries, for messages.

    Raises:
        InputError: onnxruntime is missing, or the file is damaged, has its weights elsewhere,
            or takes or gives more than one tensor.
    """
    onnx, runtime = (library(name, _WHAT, extra) for name in ("onnx", "onnxruntime"))
    try:
        content = unsealed(path.read_bytes())
        model = onnx.load_model_from_string(content)
        if any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors(model.graph)):
            # Files that a file names could be any of this machine.
            raise InputError(f"{path}: its weights lie in other files: expected all in one")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        made = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except InputError:
        raise
    except Exception as error:  # damaged bytes end in errors of any kind
        raise InputError(
            f"{path}: cannot be read as ONNX ({one_line(error)}): write it again"
        ) from error
    inputs, outputs = made.get_inputs(), made.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise InputError(f"{path}: expected one batch of images and one output: write it again")
    name = inputs[0].name
    single = inputs[0].shape[0] == 1

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(images, len(images)) if single and len(images) > 1 else [images]
        return np.concatenate([made.run(None, {name: part})[0] for part in parts])

    return run


def sealed(content: bytes) -> bytes:
    """Return an .onnx file with its CRC-32 behind it, since the format has no checksum.

    Fields of a message of the protocol may lie in any order, so what stands behind a model is
    one more of its notes (``ModelProto.metadata_props``, field 14) to whoever reads it.
    """
    value = f"{zlib.crc32(content):08x}".encode()
    return content + _SEAL + value


def unsealed(content: bytes) -> bytes:
    """Return the content of an .onnx file; one of another maker has no checksum.

    Raises:
        ValueError: it is not what was written.
    """
    start = len(content) - _DIGITS
    if content[max(start - len(_SEAL), 0) : start] != _SEAL:
        return content
    made = content[: start - len(_SEAL)]
    if sealed(made) != content:
        raise ValueError("it is not what was written: its checksum is another")
    return made


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor that an ONNX graph holds, those inside its steps too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
