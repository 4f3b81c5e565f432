"""Run OpenVINO files (.xml with its .bin), and write them from ONNX models; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.errors import InputError, one_line
from evonas.models.files.onnx_session import Run


def save(model: bytes, path: Path, notes: dict[str, str]) -> None:
    """Write an ONNX model as an OpenVINO file, in single precision.

    The runtime's own reader converts it: ``openvino.convert_model`` would report its use.

    Args:
        model: content of an .onnx file.
        path: .xml file; the weights lie in a .bin beside it.
        notes: key -> text, stored in the .xml.

    Raises:
        InputError: openvino is missing, or lacks an operator.
    """
    openvino = _library()
    try:
        network = openvino.Core().read_model(model)
        for key, text in notes.items():
            network.set_rt_info(text, key)
        openvino.save_model(network, str(path), compress_to_fp16=False)
    except Exception as error:  # the reader raises RuntimeError for anything
        raise InputError(
            f"OpenVINO cannot read the network ({one_line(error)}): use --format onnx"
        ) from error


def session(path: Path, threads: int = 1, outputs: Sequence[str] = ()) -> Run:
    """Return the network of an OpenVINO file as a function on numpy arrays.

    Args:
        path: .xml file with a .bin beside it.
        threads: number of threads.
        outputs: names of the outputs to return, side by side; empty: the first.

    Raises:
        InputError: openvino is missing, or the file is damaged.
    """
    core = _library().Core()
    # Processors with bfloat16 or float16 would round otherwise.
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    try:
        compiled = core.compile_model(core.read_model(str(path)), "CPU", options)
        found = [compiled.output(name) for name in outputs] or [compiled.output(0)]
        (name,) = (end.any_name for end in compiled.inputs)
        single = not compiled.input(0).partial_shape[0].is_dynamic
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(
            f"{path}: cannot be read by OpenVINO ({one_line(error)}): export again"
        ) from error

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(images, len(images)) if single and len(images) > 1 else [images]
        done = [compiled({name: part}) for part in parts]
        return np.concatenate([np.concatenate([one[end] for end in found], 1) for one in done])

    return run


def note(path: Path, key: str) -> str:
    """Return a text stored in an OpenVINO file; empty if it has none.

    Raises:
        ElementTree.ParseError: the file is no XML.
    """
    found = ElementTree.parse(path).getroot().find(f"rt_info/{key}")
    return "" if found is None else found.get("value", "")


def _library() -> Any:
    return library("openvino", "running or writing an OpenVINO file", "openvino")
