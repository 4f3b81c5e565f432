"""Latency of a network at batch size 1, measured on this machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from evonas.estimation.training.precision import exact
from evonas.models.backbones.base import Shape

WARM_UP, REPEATS = 10, 50
#: Of a comparison: so often all have their turn, so many runs at a time.
ROUNDS, TURN = 20, 5


@dataclass(frozen=True)
class Times:
    """Latency of one network in a comparison, over all its runs.

    Attributes:
        p50, p95: median and 95th percentile, milliseconds.
        ratio: time of the first one of the comparison over that of this one; more than 1
            is faster. Median over the rounds, in each of which both ran.
    """

    p50: float
    p95: float
    ratio: float


@dataclass(frozen=True)
class Latency:
    """Latency of one image.

    Attributes:
        ms: median of the passes, milliseconds.
        noise: half the interquartile range of the passes over their median: the spread of
            single passes, not of the median.
    """

    ms: float
    noise: float


def latency(module: torch.nn.Module, shape: Shape, device: str) -> Latency:
    """Measure the time of a forward pass at batch size 1, in single precision (no TF32 on a GPU).

    The caller sets the number of threads (workers have one). Two measurements differ, and on a
    busy machine the latency is larger.

    Args:
        module: the network; left in evaluation mode.
        shape: (channels, height, width) of its input.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    example = torch.zeros(1, *shape, device=device)
    module.to(device).eval()
    times = []
    with torch.inference_mode(), exact(device):
        for repeat in range(WARM_UP + REPEATS):
            if device != "cpu":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            module(example)
            if device != "cpu":
                torch.cuda.synchronize(device)
            if repeat >= WARM_UP:
                times.append(time.perf_counter() - start)
    low, middle, high = 1e3 * np.percentile(times, (25, 50, 75))
    # 0 would say that it was not measured
    return Latency(max(round(float(middle), 4), 1e-4), round(float((high - low) / 2 / middle), 4))


def compared(runs: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
    """Measure the latencies of several networks, which take turns in one process.

    Other load on the machine slows all networks alike, so ratios vary less than times.

    Args:
        runs: name -> runs the network once, on the CPU.
    """
    spent = np.zeros((len(runs), ROUNDS, TURN))
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    for turn in range(ROUNDS):
        for number, run in enumerate(runs.values()):
            for repeat in range(TURN):
                start = time.perf_counter()
                run()
                spent[number, turn, repeat] = 1e3 * (time.perf_counter() - start)
    rounds = np.median(spent, axis=2)
    ratios = np.median(rounds[0] / rounds, axis=1)
    low, high = np.percentile(spent, (50, 95), axis=(1, 2)).round(4)
    return {
        name: Times(float(low[i]), float(high[i]), round(float(ratios[i]), 3))
        for i, name in enumerate(runs)
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's number of CPU threads inside a ``with`` block; restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # no Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
