"""Quantise a retrained network to 8-bit integers, and evaluate it before and after."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evonas.core.compression_settings import QuantizeSettings
from evonas.deployment.quantization.backends import check_extra, quantize
from evonas.deployment.quantization.capture import Captured, capture
from evonas.deployment.quantization.onnx_runtime import captured_onnx
from evonas.deployment.quantization.qat import QATNetwork
from evonas.deployment.quantization.speed import speed
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.estimation.cost.latency import processor, threads
from evonas.models.backbones.onnx import Onnx
from evonas.models.files.quantized_network import SUFFIXES, load_quantized
from evonas.runs.compression_schemas import QuantizeResult

_BATCH = 64
_PACKAGES = {
    "pt2e": ("torch", "torchao"),
    "onnx": ("torch", "onnx", "onnxruntime"),
}


@dataclass
class Quantization:
    """Quantization of one network of a retraining.

    Args:
        network: the retrained network.
        compiling: also measure latency with torch.compile (backend pt2e), which takes up to a
            minute and needs a C++ compiler.

    Raises:
        InputError: there is no such network, it is quantised already, or the data have no
            training split.

    Attributes:
        notes: deviations from the settings, for the user.
        seconds: stage -> duration.
    """

    network: RetrainedNetwork
    compiling: bool = False
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entry = self.network.contender
        if Path(entry["weights"][0]).suffix in SUFFIXES:
            raise InputError(
                f"{self.network.retrained.folder}: {entry['name']!r} is quantised already: give "
                "the folder that `evonas retrain` or `evonas prune` wrote"
            )
        self._components = self.network.components
        settings = self._components.experiment.quantize
        if settings.road == "pt2e" or settings.aware:
            what = "--qat" if settings.aware else "--backend pt2e"
            self._components.backbone.require_torch(what)
        self._components.dataset.sides()  # raises InputError without a training split
        if (trained := len(entry["weights"])) > 1:
            self.notes.append(
                f"of {trained} trained seeds number {self.network.repeat} is quantised"
            )

    @property
    def settings(self) -> QuantizeSettings:
        """The settings of the quantization."""
        return self._components.experiment.quantize

    def run(self, path: Path, checkpoint: Path) -> QuantizeResult:
        """Write the quantised network, and return errors, size and latency before and after.

        The values after quantization are measured with the network loaded from the file.

        Args:
            path: file to write.
            checkpoint: file from which quantization-aware training goes on if it was stopped.

        Returns:
            The content of quantize.json.

        Raises:
            InputError: a library is missing, the network cannot be exported or quantised, or a
                file is damaged.
            RunError: the training diverged, or the outputs of an exported file differ.
        """
        settings, captured = self.settings, self._captured
        check_extra(settings.road, settings.aware)
        with tempfile.TemporaryDirectory() as folder, threads(self._components.hardware.threads):
            floats = Path(folder) / "float.onnx"
            images = self._calibration()
            history: list[dict[str, float]] = []
            trained = None
            if settings.aware:
                self.notes += self.network.ineffective(settings.training, "quantize.training")
                with self._timed("training"):
                    trained, history = self._train(captured, images, checkpoint)
                self.notes.append(
                    "the backbone was trained as well, which is a part of the change; other heads "
                    "cannot use this backbone"
                )
            full_network = self.network.full_network
            with self._timed("quantising"):
                covered = quantize(captured, settings.road, images, path, trained, floats)
                quantised = load_quantized(path, self._components.hardware.threads)
            with self._timed("judging"):
                before = self.network.judge(full_network)
                after = self.network.judge(quantised)
            with self._timed("measuring latency"), threads(1):
                single_thread = load_quantized(path)
                name = "float, torch" if captured.onnx is None else "float, backbone, then head"
                measured = speed(
                    full_network, floats, single_thread, images[0][:1], self.compiling, name
                )
        size = path.stat().st_size
        return {
            "network": self.network.contender["name"],
            "repeat": self.network.repeat,
            "tap": self.network.tap,
            "file": path.name,
            "settings": settings.model_dump(mode="json"),
            "seed": self._components.experiment.seed,
            "calibration_images": sum(map(len, images)),
            "judged_on": {
                "images": len(self.network.judges),
                "split": f"{self.network.side} split",
            },
            "before": before,
            "after": after,
            "bytes": {"before": captured.size, "after": size, "ratio": captured.size / size},
            "operators": asdict(covered),
            "latency": {name: asdict(times) for name, times in measured.times.items()},
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
                *self._components.warnings(),
            ],
        }

    @cached_property
    def _captured(self) -> Captured:
        backbone, network = self._components.backbone, self.network.full_network
        if isinstance(backbone, Onnx):
            captured = captured_onnx(backbone, self.network.tap, self.network.head, network)
        else:
            captured = capture(network, backbone.input_size)
        if not captured.any_batch:
            self.notes.append("the network takes one image at a time, as its backbone does")
        return captured

    def _calibration(self) -> list[Tensor]:
        """Return training images for the activation ranges, drawn with the experiment's seed."""
        learners, wanted = self.network.learners, self.settings.images
        rng = np.random.default_rng(self._components.experiment.seed)
        chosen = np.sort(rng.permutation(learners)[:wanted])
        if not len(chosen):
            raise InputError("data: no image of the training split can be decoded")
        if len(chosen) < wanted:
            self.notes.append(
                f"activation ranges are from {len(chosen)} images, all there are, not {wanted}"
            )
        return list(torch.split(self.network.images(chosen), _BATCH))

    def _train(
        self, captured: Captured, images: list[Tensor], checkpoint: Path
    ) -> tuple[QATNetwork, list[dict[str, float]]]:
        """Return the network after quantization-aware training, and the training's history."""
        network, label = QATNetwork(captured, images), "epochs of quantisation-aware training"
        history = self.network.train(
            network,
            self.settings.training,
            lambda done, total: self.network.progress(label, done, total),
            checkpoint=checkpoint,
        )
        return network, history

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start
