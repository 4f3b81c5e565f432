"""Model card of an exported network, which its file contains."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import torch

from evonas.core.version import __version__
from evonas.data.images.cropping import Framing
from evonas.deployment.export.exported_model import FORMAT
from evonas.deployment.retrained_network import RetrainedNetwork


def model_card(network: RetrainedNetwork, quantised: bool) -> dict[str, Any]:
    """Return the model card of a network as plain data.

    Args:
        network: the network to export.
        quantised: True if its weights are integers; its graph then includes the normalisation.
    """
    parts, task = network.components, network.task
    experiment = parts.experiment
    normalisation = None if quantised else parts.backbone.normalisation
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
        "normalisation": normalisation
        and {"inside": True, "mean": normalisation[0], "std": normalisation[1]},
        "answer": task.answer.to_dict(),
        "output": ", ".join(task.answer.outputs),
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
        "hashes": _hashes(network),
        "evonas": __version__,
        "commit": commit(),
        "torch": torch.__version__,
    }


def _hashes(network: RetrainedNetwork) -> dict[str, Any]:
    """Return hashes of what the network was made of, in hexadecimal.

    ``data`` and ``backbone`` are the fingerprints of a search (BLAKE2b of images and labels, and
    of class and weights). ``files`` holds the SHA-256, as ``sha256sum`` prints it, of the files
    that the experiment's backbone names, and of the head's weights.
    """
    parts = network.components
    settings = parts.experiment.backbone.model_dump(mode="json").values()
    named = {Path(value) for value in settings if isinstance(value, str)}
    weights = network.contender["weights"][network.repeat]
    named.add(network.retrained.folder / Path(weights).name)
    files = {}
    for file in sorted(file for file in named if file.is_file()):
        with file.open("rb") as stream:
            files[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return {**parts.fingerprints(), "files": files}


def commit() -> str:
    """Return the git commit of the checkout that evonas runs from; empty for a package."""
    folder = Path(__file__).parents[3]
    if not (folder / ".git").exists():
        return ""
    words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
