"""Latency of a network before and after quantization, measured alternately in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evonas.core.optional_imports import quiet
from evonas.errors import one_line
from evonas.estimation.cost.latency import Times, compared
from evonas.models.files.onnx_session import session
from evonas.models.files.quantized_network import Quantized

_NOT_COMPILED = (
    "int8 of pt2e is fast only with torch.compile, which was not measured: give --compile"
)


@dataclass(frozen=True)
class Speed:
    """Latencies of one image.

    Attributes:
        times: number type and runtime -> latency; the first entry is torch with floats.
        notes: what was not measured, and why.
        seconds: duration of each compilation.
    """

    times: Mapping[str, Times]
    notes: Sequence[str]
    seconds: Mapping[str, float]


def speed(
    network: nn.Module,
    floats: Path,
    quantised: Quantized,
    image: Tensor,
    compiling: bool,
    name: str = "float, torch",
) -> Speed:
    """Measure the latency of a float network and its quantised form in their runtimes.

    Args:
        network: the float network.
        floats: float ONNX file, if ``quantised`` is an ONNX file.
        quantised: the quantised network.
        image: (1, 3, side, side) float RGB in 0..255.
        compiling: also measure both with torch.compile, if ``quantised`` is a torch program.
        name: name of the float network in the table.
    """
    runs: dict[str, Callable[[Tensor], object]] = {name: network}
    notes: list[str] = []
    seconds: dict[str, float] = {}
    if quantised.program is None:
        infer = session(floats)
        runs["float, ONNX Runtime"] = lambda images: infer(images.numpy())
        runs["int8, ONNX Runtime"] = quantised
    else:
        runs["int8, torch"] = quantised
        notes += [] if compiling else [_NOT_COMPILED]
        for name, module in (("float", network), ("int8", quantised.program)) if compiling else ():
            start = time.perf_counter()
            compiled = _compile(module, image)
            seconds[f"compiling {name}"] = time.perf_counter() - start
            if isinstance(compiled, str):
                notes.append(f"{name} could not be compiled: {compiled}")
            else:
                runs[f"{name}, torch.compile"] = compiled
    with torch.no_grad():
        times = compared({name: partial(run, image) for name, run in runs.items()})
    return Speed(times, notes, seconds)


def _compile(module: nn.Module, images: Tensor) -> Any:
    """Compile a module for a batch size, with constant weights; may take a minute.

    Args:
        module: images -> outputs, in evaluation mode.
        images: a batch of the size to compile for.

    Returns:
        The compiled module, to be run without gradients, or the reason of a failure as text.
    """
    try:
        import torch._inductor.config as inductor

        # As an option of torch.compile, freezing would be too late for integer operators.
        with inductor.patch(freezing=True), torch.no_grad(), quiet():
            compiled = torch.compile(module.eval())
            compiled(images)
    except Exception as error:  # there is no compiler, or it fails
        return one_line(error)
    return compiled
