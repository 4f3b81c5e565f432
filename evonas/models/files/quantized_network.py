"""Load quantised networks from .pt2 and .onnx files, without unpickling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.files.exported_programs import load_program, unlifted
from evonas.models.files.onnx_session import session

#: Suffixes of the files of quantised networks.
SUFFIXES = (".pt2", ".onnx")


class Quantized(nn.Module):
    """A quantised network from a file, which runs on the CPU.

    Attributes:
        program: the network as a torch module; None if ONNX Runtime runs it.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], program: nn.Module | None) -> None:
        super().__init__()
        self.program = program
        self._run = run

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs, (n, n_outputs[, h, w]), for (n, 3, side, side) RGB in 0..255."""
        return self._run(images)

    def outputs(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs for images in a numpy array, as a numpy array.

        Args:
            images: (n, 3, side, side) RGB in 0..255, of any numeric type.
        """
        with torch.inference_mode():
            outputs: NDArray[np.float32] = self(torch.from_numpy(images).float()).numpy()
        return outputs


def load_quantized(path: str | Path, threads: int = 1) -> Quantized:
    """Return the quantised network in a file that ``evonas quantize`` wrote.

    ``load_quantized(file).outputs`` is a function of numpy images; ``Task.predictions``
    computes labels from its outputs. A .pt2 file needs only torch and is several times faster with
    ``torch.compile``; an .onnx file needs the extra ``quantize``.

    Args:
        path: .pt2 or .onnx file.
        threads: number of threads of ONNX Runtime; torch's is set with
            ``torch.set_num_threads``.

    Raises:
        InputError: the file is missing, damaged, of another kind, or could run code.
    """
    file = Path(path).expanduser()
    if file.suffix not in SUFFIXES or not file.is_file():
        what = "no such file" if file.suffix in SUFFIXES else f"got {file.suffix or 'no suffix'!r}"
        raise InputError(f"{path}: expected a quantised network, .pt2 or .onnx, {what}")
    if file.suffix == ".onnx":
        infer = session(file, threads)
        return Quantized(lambda images: torch.from_numpy(infer(images.numpy())), None)
    program = load_program(file, str(file))
    graph = unlifted(program).requires_grad_(False)
    shape = next(n for n in graph.graph.nodes if n.op == "placeholder").meta["val"].shape
    single = len(shape) == 4 and shape[0] == 1

    def run(images: Tensor) -> Tensor:
        parts = torch.split(images, 1) if single and len(images) > 1 else (images,)
        outputs: list[Tensor] = [graph(part) for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    return Quantized(run, graph)
