"""Quantisation: a retrained network, whole, as 8-bit integers, judged before and after."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evonas.core.compression_settings import QuantizeSettings
from evonas.deployment.quantization.aware_training import Aware
from evonas.deployment.quantization.capture import Captured, capture
from evonas.deployment.quantization.quantize import check_extra, quantize
from evonas.deployment.quantization.speed import speed
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.estimation.cost.latency import processor, threads
from evonas.models.files.quantized_network import SUFFIXES, load_quantized

_BATCH = 64
_PACKAGES = {
    "pt2e": ("torch", "torchao"),
    "onnx": ("torch", "onnx", "onnxruntime"),
}


@dataclass
class Quantization:
    """One network of a retraining on its way to 8-bit integers.

    Args:
        network: what is quantised.
        compiling: also measure what torch.compile makes of the result (road pt2e); it takes
            up to a minute and a C++ compiler.

    Raises:
        InputError: there is no such network, it is quantised already, or the data have no
            training split.

    Attributes:
        notes: what was done otherwise than asked for, in words.
        seconds: what each stage took.
    """

    network: RetrainedNetwork
    compiling: bool = False
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one = self.network.contender
        if Path(one["weights"][0]).suffix in SUFFIXES:
            raise InputError(
                f"{self.network.retrained.folder}: {one['name']!r} is quantised already: give the "
                "folder that `evonas retrain` or `evonas prune` wrote"
            )
        self._assembly = self.network.assembly
        self._assembly.dataset.sides()  # refused here, if it has none to train on
        if len(one["weights"]) > 1:
            self.notes.append(
                f"of {len(one['weights'])} trained seeds number {self.network.repeat} is quantised"
            )

    @property
    def settings(self) -> QuantizeSettings:
        """How."""
        return self._assembly.experiment.quantize

    def run(self, path: Path) -> dict[str, Any]:
        """Write the network and return what it costs and reaches, before and after.

        What is said about the network after is measured on the file, loaded back.

        Args:
            path: of the file.

        Raises:
            InputError: a library is missing, the network cannot be exported or quantised, or a
                file is damaged.
            RunError: training diverged, or an exported file gives other outputs.
        """
        settings, captured = self.settings, self._captured
        check_extra(settings.road, settings.aware)
        with tempfile.TemporaryDirectory() as folder, threads(self._assembly.hardware.threads):
            floats = Path(folder) / "float.onnx"
            images = self._calibration()
            history: list[dict[str, float]] = []
            aware = None
            if settings.aware:
                with self._timed("training"):
                    aware, history = self._trained(captured, images)
                self.notes.append(
                    "the backbone was trained on as well: a part of the change is that, and no "
                    "other head can share it"
                )
            with self._timed("quantising"):
                covered = quantize(captured, settings.road, images, path, aware, floats)
                found = load_quantized(path, self._assembly.hardware.threads)
            with self._timed("judging"):
                metrics = {
                    "before": self.network.judge(self.network.full_network),
                    "after": self.network.judge(found),
                }
            with self._timed("measuring latency"), threads(1):
                again = load_quantized(path)
                measured = speed(
                    self.network.full_network, floats, again, images[0][:1], self.compiling
                )
        after = path.stat().st_size
        return {
            "network": self.network.contender["name"],
            "repeat": self.network.repeat,
            "tap": self.network.tap,
            "file": path.name,
            "settings": settings.model_dump(mode="json"),
            "seed": self._assembly.experiment.seed,
            "calibration_images": sum(map(len, images)),
            "judged_on": {
                "images": len(self.network.judges),
                "split": f"{self.network.side} split",
            },
            **metrics,
            "bytes": {"before": captured.size, "after": after, "ratio": captured.size / after},
            "operators": asdict(covered),
            "latency": {name: asdict(one) for name, one in measured.times.items()},
            "training": history,
            "seconds": {
                stage: round(spent, 2)
                for stage, spent in {**self.seconds, **measured.seconds}.items()
            },
            "cpu": processor(),
            "packages": {name: version(name) for name in _PACKAGES[settings.road]},
            "notes": [
                *self.notes,
                *measured.notes,
                *self.network.cautions(),
                *self._assembly.warnings(),
            ],
        }

    @cached_property
    def _captured(self) -> Captured:
        captured = capture(self.network.full_network, self._assembly.backbone.input_size)
        if not captured.any_batch:
            self.notes.append("the network takes one image at a time, as its backbone does")
        return captured

    def _calibration(self) -> list[Tensor]:
        """Return the images that ranges are taken from, drawn by the experiment's seed."""
        learners, wanted = self.network.learners, self.settings.images
        rng = np.random.default_rng(self._assembly.experiment.seed)
        chosen = np.sort(rng.permutation(learners)[:wanted])
        if not len(chosen):
            raise InputError("data: no image of the training split can be decoded")
        if len(chosen) < wanted:
            self.notes.append(
                f"ranges are taken from {len(chosen)} images: fewer than {wanted} are there"
            )
        return list(torch.split(self.network.images(chosen), _BATCH))

    def _trained(
        self, captured: Captured, images: list[Tensor]
    ) -> tuple[Aware, list[dict[str, float]]]:
        """Return the network trained with simulated rounding, and the history of that."""
        aware, label = Aware(captured, images), "epochs of aware training"
        history = self.network.train(
            aware,
            self.settings.training,
            lambda done, total: self.network.progress(label, done, total),
        )
        return aware, history

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start
