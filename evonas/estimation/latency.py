"""How long a head network takes for one image, on the device at hand."""

from __future__ import annotations

import time

import numpy as np
import torch

from evonas.backbones.base import Shape

WARM_UP, REPEATS = 10, 50


def latency(module: torch.nn.Module, shape: Shape, device: str) -> float:
    """Return the median time of a forward pass at batch 1, milliseconds.

    The number of threads is the caller's affair; workers have one. It is a measurement:
    on a machine that is busy it is larger, and it never comes out the same twice.

    Args:
        module: the network; left in evaluation mode.
        shape: (channels, height, width) of its input.
        device: ``cpu`` or ``cuda``.
    """
    example = torch.zeros(1, *shape, device=device)
    module.to(device).eval()
    times = []
    with torch.inference_mode():
        for repeat in range(WARM_UP + REPEATS):
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            module(example)
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat >= WARM_UP:
                times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 4)
