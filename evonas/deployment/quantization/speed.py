"""What quantising does to the latency of a network, measured by turns in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from evonas.deployment.quantization.compiled import compiled
from evonas.estimation.cost.latency import Times, compared
from evonas.models.files.onnx_session import session
from evonas.models.files.quantized_network import Quantized

_NOT_COMPILED = (
    "int8 of pt2e is fast through torch.compile alone, which was not measured: --compile"
)


@dataclass(frozen=True)
class Speed:
    """How long one image takes.

    Attributes:
        times: what runs the network, and in which numbers -> what it takes; the first is
            torch with floats.
        notes: what was not measured, and why.
        seconds: what compiling took.
    """

    times: Mapping[str, Times]
    notes: Sequence[str]
    seconds: Mapping[str, float]


def speed(
    whole: nn.Module, floats: Path, found: Quantized, image: Tensor, compiling: bool
) -> Speed:
    """Compare a network with its quantised form, each as it is run in practice.

    Args:
        whole: the network of floats.
        floats: the ONNX file that the quantised one was made from, where it is one of ONNX.
        found: the quantised one.
        image: (1, 3, side, side) float RGB in 0..255.
        compiling: also through torch.compile, both, where the quantised one is of torch.
    """
    runs: dict[str, Callable[[Tensor], object]] = {"float, torch": whole}
    notes: list[str] = []
    seconds: dict[str, float] = {}
    if found.program is None:
        infer = session(floats)
        runs["float, ONNX Runtime"] = lambda images: infer(images.numpy())
        runs["int8, ONNX Runtime"] = found
    else:
        runs["int8, torch"] = found
        notes += [] if compiling else [_NOT_COMPILED]
        for name, module in (("float", whole), ("int8", found.program)) if compiling else ():
            start = time.perf_counter()
            made = compiled(module, image)
            seconds[f"compiling {name}"] = time.perf_counter() - start
            if isinstance(made, str):
                notes.append(f"{name} could not be compiled: {made}")
            else:
                runs[f"{name}, torch.compile"] = made
    with torch.no_grad():
        times = compared({name: partial(run, image) for name, run in runs.items()})
    return Speed(times, notes, seconds)
