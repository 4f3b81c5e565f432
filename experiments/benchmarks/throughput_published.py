"""One candidate the published way: a process of its own, with the backbone in its training loop.

python experiments/benchmarks/throughput_published.py CANDIDATE.json

M. Matak (2020), head pose estimation by evolutionary search on a frozen recognition network,
calls the training script once a candidate, which reads the image files, runs the frozen
backbone on every batch, and trains the head behind it. The file says what to train (see
``Candidate``); the result is written beside it, as ``.result.json``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from throughput_plain import Plain, built, train
from torch import Tensor
from torch.utils.data import Dataset

from evonas.core.array_types import Array
from evonas.core.experiment import check
from evonas.core.settings import TrainingSettings
from evonas.estimation.estimator import Job, Split
from evonas.estimation.features.feature_cache import Features
from evonas.estimation.features.views import View, standard_views
from evonas.space import Architecture
from evonas.workflows.components import Components


@dataclass(frozen=True)
class Candidate:
    """What a process trains; plain data that goes into its file.

    Attributes:
        experiment: whose images, backbone, views and task.
        architecture: of the head network.
        seed: of weights, order and views.
        training: settings.
        train, validation: numbers of the images.
        threads: of torch.
        loaders: processes that decode images ahead; 0: the training decodes them itself.
        epochs: to stop after, the schedule being that of the whole; 0: none.
    """

    experiment: dict[str, Any]
    architecture: dict[str, Any]
    seed: int
    training: dict[str, Any]
    train: list[int]
    validation: list[int]
    threads: int
    loaders: int = 0
    epochs: int = 0


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Image files, decoded whenever they are asked for, view after view."""

    def __init__(self, components: Components, views: tuple[View, ...], targets: Array) -> None:
        self._data, self._size = components.dataset, components.backbone.input_size
        self._views, self._targets = views, targets

    def __len__(self) -> int:
        return len(self._views) * len(self._data)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        view, index = divmod(row, len(self._data))
        image = self._data.image(index)
        crop = self._views[view].apply(image, index, self._size, self._data.margin)
        return torch.from_numpy(np.array(crop)), torch.from_numpy(self._targets[view, index])


def run(candidate: Candidate) -> Plain:
    """Train a candidate."""
    torch.set_num_threads(candidate.threads)
    components = Components(check(candidate.experiment, "candidate"))
    architecture = Architecture.from_dict(candidate.architecture)
    split = Split(*(np.array(side, np.intp) for side in (candidate.train, candidate.validation)))
    views = standard_views(components.experiment.features.jitters)
    nothing = Features({}, views, np.arange(len(components.dataset)), 0)  # cached
    setting = components.context({"backbone": nothing}, {"search": split})
    job = Job(0, architecture, candidate.seed, TrainingSettings(**candidate.training))
    task, tap = components.task, setting.tap_of(architecture)
    head = built(job, setting, task)
    images = Images(components, views, setting.targets)

    def maps(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return components.backbone(pixels.permute(0, 3, 1, 2).float(), [tap])[tap]

    epochs, loaders = candidate.epochs, candidate.loaders
    return train(head, images, job, setting, task, maps, epochs=epochs, loaders=loaders)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    found = run(Candidate(**json.loads(file.read_text(encoding="utf-8"))))
    file.with_suffix(".result.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
