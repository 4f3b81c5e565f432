"""Features of a backbone from an .onnx file, against ONNX Runtime alone.

python experiments/benchmarks/onnx_features.py FILE [TAP ...]

Both compute maps of the same random pixels on all cores, a batch of 64 a thread, by turns in one
process. evonas normalises, cuts the graph at the tap and stores 16-bit floats; ONNX Runtime alone
gets normalised images and the graph cut at the same tensor, and its maps are thrown away.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from onnx import load, shape_inference, utils

from evonas.estimation.cost.latency import processor
from evonas.estimation.features import feature_cache
from evonas.models.backbones.onnx import Onnx
from evonas.models.backbones.onnx_graphs.sessions import open_session

IMAGES, BATCH, ROUNDS = 512, 64, 9
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Print the ratio of speeds for each tap."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("taps", nargs="*", metavar="TAP")
    args = parser.parse_args()
    backbone = Onnx(file=str(args.file))
    side = backbone.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), np.uint8)
    print(f"{IMAGES} images of {side} pixels, {CORES} cores, {processor()}")
    for tap in args.taps or backbone.informative_taps(16):
        ours, alone = measured(backbone, tap, pixels, args.file)
        ratio = np.median(alone / ours)
        low, high = np.percentile(alone / ours, (25, 75))
        print(
            f"{tap}: {IMAGES / np.median(ours):.0f} images/s, ONNX Runtime alone "
            f"{IMAGES / np.median(alone):.0f}; {ratio:.2f} times as fast ({low:.2f} to {high:.2f})"
        )


def measured(
    backbone: Onnx, tap: str, pixels: np.ndarray, file: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return (ROUNDS,) seconds of evonas and of ONNX Runtime alone."""
    mean, std = (255 * values.numpy() for values in (backbone.mean, backbone.std))
    images = ((pixels.transpose(0, 3, 1, 2) - mean) / std).astype(np.float32)
    model = shape_inference.infer_shapes(load(file))
    name = model.graph.input[0].name
    session = open_session(
        utils.Extractor(model).extract_model([name], [backbone.tensor_name(tap)])
    )
    stored = {tap: np.empty((IMAGES, *backbone.taps[tap]), np.float16)}
    starts = range(0, IMAGES, BATCH)

    def ours(start: int) -> None:
        feature_cache._run(backbone, pixels[start : start + BATCH], stored, start)

    def alone(start: int) -> None:
        session.run(None, {name: images[start : start + BATCH]})

    def seconds(work: Callable[[int], None]) -> float:
        with ThreadPoolExecutor(CORES, initializer=lambda: torch.set_num_threads(1)) as pool:
            begun = time.perf_counter()
            list(pool.map(work, starts))
            return time.perf_counter() - begun

    times = np.array([[seconds(ours), seconds(alone)] for _ in range(ROUNDS + 1)])[1:]
    return times[:, 0], times[:, 1]


if __name__ == "__main__":
    main()
