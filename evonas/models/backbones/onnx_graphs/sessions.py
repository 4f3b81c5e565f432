"""Run parts of an ONNX graph with ONNX Runtime; several threads may share them."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.models.backbones.onnx_graphs.graph import Graph
from evonas.models.backbones.onnx_graphs.reading import onnx_module
from evonas.models.backbones.onnx_graphs.rewriting import INPUT

#: Images of one pass: maps of so few stay in the processor's caches, which is a tenth faster for
#: MobileFaceNet than 64 images.
_IMAGES = 4
#: Parts of a graph that are held at once: each has its own copy of the weights.
_HELD = 8


class Sessions:
    """Sessions of ONNX Runtime on the CPU, one for each set of tensors and number of threads.

    Args:
        graph: the graph, whose input is ``images``.
        batch: number of images of every pass; None: any.
    """

    def __init__(self, graph: Graph, batch: int | None = None) -> None:
        self.graph, self.batch = graph, batch
        self._lock = Lock()
        self._held: OrderedDict[tuple[tuple[str, ...], int], Any] = OrderedDict()

    def run(self, images: NDArray[np.float32], names: tuple[str, ...]) -> list[Any]:
        """Return tensors for a batch of images, and compute nothing that they do not need.

        ONNX Runtime uses as many threads as torch does in the thread that calls.

        Args:
            images: (n, 3, side, side) float32 RGB in 0..255.
            names: names of tensors.
        """
        session = self._session(names, torch.get_num_threads())
        size, runs = self.batch or _IMAGES, []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            if self.batch is not None and len(part) < size:
                part = np.resize(part, (size, *part.shape[1:]))  # repeats the last images
            runs.append(session.run(None, {INPUT: part}))
        if len(runs) == 1 and len(runs[0][0]) == len(images):
            return list(runs[0])
        return [np.concatenate(parts)[: len(images)] for parts in zip(*runs, strict=True)]

    def _session(self, names: tuple[str, ...], threads: int) -> Any:
        with self._lock:
            key = (names, threads)
            if key not in self._held:
                self._held[key] = open_session(self.graph.cut(names), threads)
                while len(self._held) > _HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]


def open_session(model: Any, threads: int = 1) -> Any:
    """Return a session of ONNX Runtime on the CPU."""
    runtime = onnx_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    return runtime.InferenceSession(model.SerializeToString(), options, providers=providers)
