"""What comes of a toy's training: arithmetic of digest, seed and the parent's weights."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from evonas.core.files import draft_of
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.models.files.safetensors_files import load_file, save_file
from evonas.space import Architecture

TRAININGS = "trainings.txt"  # beside the run's folder: one line a training, before it begins


def cost(architecture: Architecture) -> int:
    """The multiply-adds of a toy."""
    return 1000 * int(architecture.settings["width"]) * int(architecture.settings["depth"])


def which(job: Job) -> tuple[str, int, int]:
    """Return digest, which further seed, and rung: what makes two trainings the same."""
    repeat = int(job.label.removeprefix("final, seed ")) if "final" in job.label else 0
    return job.architecture.digest, repeat, job.until


def begun(place: Path, job: Job) -> None:
    """Note that a training begins, and in which process."""
    with place.open("a", encoding="utf-8") as stream:  # one write, so lines stay whole
        stream.write(json.dumps([*which(job), os.getpid()]) + "\n")


def measured(job: Job) -> Measurement:
    """Return what comes of a job; a training that ends keeps its weights, as a real one does."""
    number, epochs = int(job.architecture.digest, 16), job.until or job.training.epochs
    macs = cost(job.architecture)
    if number % 9 == 0 or (number % 7 == 0 and not job.until):
        return Measurement.failure("diverged", "it did", macs=macs, epochs=1)
    start = float(load_file(job.parent)["weight"]) if job.parent else 0.0
    error = 1 + number % 89 / 89 + job.seed / 2**33 + number // 7 % 97 / 97 * epochs / 9
    error += start / 50
    if job.weights and not job.until:
        with suppress(OSError), draft_of(Path(job.weights)) as draft:
            save_file({"weight": torch.tensor(error, dtype=torch.float64)}, draft)
    told: dict[str, Any] = {"inherited": 0.5 if job.parent else 0.0, "params": macs // 7}
    history = tuple({"error": error + (epochs - epoch) / 9} for epoch in range(1, epochs + 1))
    return Measurement("ok", {"error": error}, macs=macs, epochs=epochs, history=history, **told)
