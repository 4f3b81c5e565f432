"""Run LiteRT (TensorFlow Lite) files, .tflite, on the CPU; without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.errors import InputError, one_line
from evonas.models.files.onnx_session import Run


def session(path: Path, threads: int = 1) -> Run:
    """Return the network of a .tflite file, which takes one image, as a function on numpy arrays.

    Args:
        path: .tflite file.
        threads: number of threads.

    Raises:
        InputError: ai-edge-litert is missing, or the file is damaged.
    """
    runtime = library("ai_edge_litert.interpreter", "running a .tflite file", "litert")
    try:
        interpreter = runtime.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        (images,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(
            f"{path}: cannot be read by LiteRT ({one_line(error)}): export again"
        ) from error

    def one(image: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(images["index"], np.ascontiguousarray(image))
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(answer["index"])
        return found

    return lambda batch: np.concatenate([one(image) for image in np.split(batch, len(batch))])
