"""What an exported network says about itself: the card in its file."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import torch

from evonas.core.version import __version__
from evonas.data.images.cropping import Framing
from evonas.deployment.export.exported_model import FORMAT
from evonas.deployment.retrained_network import RetrainedNetwork


def model_card(network: RetrainedNetwork, quantised: bool) -> dict[str, Any]:
    """Return what the file of a network says about it, as plain data.

    Args:
        network: what is exported.
        quantised: its weights are integers, and normalisation is one of its operators.
    """
    parts, task = network.assembly, network.retrained.task
    experiment = parts.experiment
    told = None if quantised else parts.backbone.normalisation
    return {
        "format": FORMAT,
        "input": {
            "name": "images",
            "size": parts.backbone.input_size,
            "layout": "batch, channel, row, column",
            "channels": "RGB",
            "type": "float32",
            "range": [0, 255],
        },
        "normalisation": told and {"inside": True, "mean": told[0], "std": told[1]},
        "answer": task.answer.to_dict(),
        "output": task.answer.output,
        "crop": (parts.dataset.framing or Framing(margin=float(parts.dataset.margin))).to_dict(),
        "task": network.retrained.content["task"][0],
        "network": network.contender["name"],
        "repeat": network.repeat,
        "architecture": network.architecture.digest,
        "backbone": experiment.backbone.name,
        "tap": network.tap,
        "quantised": quantised,
        "data": experiment.data.name,
        "protocol": parts.dataset.protocol,
        "evonas": __version__,
        "commit": commit(),
        "torch": torch.__version__,
    }


def commit() -> str:
    """Return the hash of the checkout that evonas runs from; empty where it was installed."""
    folder = Path(__file__).parents[3]
    if not (folder / ".git").exists():
        return ""
    words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
