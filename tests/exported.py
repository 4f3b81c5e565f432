"""A retrained network of seconds that several tests export, and photos for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from evonas.api.retraining import retrain
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.estimation.features.views import View
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

HEAD = {"name": "linear head", "network": "linear_probe", "settings": {}}


def retrained(components: Components, folder: Path, **changes: Any) -> Path:
    """The baselines of the tiny experiment, changed, trained twice for two epochs."""
    plain = components.experiment.model_dump(mode="json")
    plain |= {"baselines": [HEAD], "retraining": {"epochs": 2}, **changes}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", repeats=2, out=folder / "retrained")
    return folder / "retrained"


def crops(folder: Path, indices: list[int]) -> NDArray[np.float32]:
    """Images of the data set as the network of a retraining takes them."""
    parts = Retrained(folder).components
    side, margin = parts.backbone.input_size, parts.dataset.margin
    images = [View().apply(parts.dataset.image(i), i, side, margin) for i in indices]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)


def answers(folder: Path, indices: list[int], network: str = "", repeat: int = 0) -> Any:
    """What the network says of images of the data set, through torch."""
    import torch

    deployed = RetrainedNetwork(Retrained(folder), network, repeat)
    with torch.no_grad():
        outputs = deployed.full_network(torch.from_numpy(crops(folder, indices)))
    return deployed.task.read(outputs.numpy())


def pictures(folder: Path, target: Path, indices: list[int]) -> list[Path]:
    """Images of the data set as files, without loss."""
    dataset = Retrained(folder).components.dataset
    target.mkdir(parents=True, exist_ok=True)
    files = [target / f"{index:03d}.png" for index in indices]
    for index, file in zip(indices, files, strict=True):
        Image.fromarray(dataset.image(index)).save(file)
    return files
