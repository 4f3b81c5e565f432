"""Run .onnx files with ONNX Runtime, and protect them with a checksum; without torch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.errors import InputError, one_line

_WHAT = "running an .onnx file"

#: Largest size of a protocol buffer, in bytes.
LARGEST = 2**31 - 2**20

# A protocol buffer entry of ModelProto.metadata_props: key, then value of 8 hexadecimal digits.
_DIGITS, _KEY = 8, b"evonas_crc32"
_PAIR = bytes([0x0A, len(_KEY)]) + _KEY + bytes([0x12, _DIGITS])
_SEAL = bytes([14 << 3 | 2, len(_PAIR) + _DIGITS]) + _PAIR

#: A network as a function: (n, 3, side, side) float32 RGB in 0..255 -> outputs of n images.
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def session(path: Path, threads: int = 1, outputs: Sequence[str] = ()) -> Run:
    """Return the network of an .onnx file as a function on numpy arrays.

    Args:
        path: .onnx file.
        threads: number of threads of ONNX Runtime.
        outputs: names of the outputs to return, side by side; empty: the first.

    Returns:
        A function of (n, 3, side, side) float32 images that returns the outputs.

    Raises:
        InputError: onnxruntime is missing, or the file is damaged, refers to weights in other
            files, or has more than one input or no output.
    """
    onnx, runtime = (library(name, _WHAT) for name in ("onnx", "onnxruntime"))
    try:
        content = unsealed(path.read_bytes())
        model = onnx.load_model_from_string(content)
        if any(tensor.data_location == tensor.EXTERNAL for tensor in tensors(model.graph)):
            # A reference to another file could name any file of the machine.
            raise InputError(
                f"{path}: expected all weights in this file, got references to other files: "
                "export it with its weights inside"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        network = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except InputError:
        raise
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(
            f"{path}: cannot be read as ONNX ({one_line(error)}): write it again"
        ) from error
    inputs, known = network.get_inputs(), [end.name for end in network.get_outputs()]
    if len(inputs) != 1 or not known or len(inputs[0].shape) != 4:
        raise InputError(
            f"{path}: expected one input (n, 3, side, side) and an output, got {len(inputs)} "
            f"and {len(known)}: write it again"
        )
    name, wanted = inputs[0].name, [*outputs] or known[:1]
    if not set(wanted) <= set(known):
        raise InputError(
            f"{path}: expected the outputs {', '.join(wanted)}, got {', '.join(known)}: write it "
            f"again"
        )
    single = inputs[0].shape[0] == 1

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(images, len(images)) if single and len(images) > 1 else [images]
        return np.concatenate([_side_by_side(network.run(wanted, {name: part})) for part in parts])

    return run


def _side_by_side(outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, 1)


def sealed(content: bytes) -> bytes:
    """Return the content of an .onnx file with its CRC-32 appended, as ONNX has no checksum.

    Fields of a protocol buffer may come in any order, so readers take the appended bytes for
    one more entry of the model's metadata (``ModelProto.metadata_props``, field 14).
    """
    value = f"{zlib.crc32(content):08x}".encode()
    return content + _SEAL + value


def unsealed(content: bytes) -> bytes:
    """Return the content of an .onnx file without the checksum of ``sealed``, if it has one.

    Raises:
        ValueError: the content does not have its checksum.
    """
    start = len(content) - _DIGITS
    if content[max(start - len(_SEAL), 0) : start] != _SEAL:
        return content
    model = content[: start - len(_SEAL)]
    if sealed(model) != content:
        raise ValueError("it is not what was written: its checksum is another")
    return model


def tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor of an ONNX graph, including those in attributes and inner graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)
