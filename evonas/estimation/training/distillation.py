"""Distillation: a network learns from the labels and from the mean outputs of an ensemble.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv 1503.02531, at
temperature 1; with teachers of the network's own architecture, Furlanello et al. 2018,
"Born-again neural networks", arXiv 1805.04770. The teachers read the same cached features, each
view of an image apart, so that their outputs are computed once a training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.errors import InputError, one_line
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.training import predict
from evonas.models.backbones.base import Shape
from evonas.models.files.safetensors_files import load_file, load_notes
from evonas.space import Architecture
from evonas.tasks.base import Task

#: A trained network, and the training images on the tap that it reads.
Teacher = tuple[nn.Module, TrainingData]


@dataclass(frozen=True)
class Distilled:
    """A task whose targets are followed by the mean outputs of the teachers.

    It has what a training reads of a task.

    Args:
        task: the task of the labels.
        n_targets: k, the number of the labels' targets.
        weight: of the teachers' outputs in the loss, in [0, 1]; the labels have the rest.
    """

    task: Task
    n_targets: int
    weight: float

    @property
    def n_outputs(self) -> int:
        """Length of the network's output."""
        return self.task.n_outputs

    @property
    def metric(self) -> str:
        """Name of the task's metric."""
        return self.task.metric

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean of the task's loss and the distance to the teachers' outputs.

        Args:
            outputs: (n, n_outputs).
            targets: (n, k + n_outputs).
        """
        labels, soft = targets[:, : self.n_targets], targets[:, self.n_targets :]
        own = self.task.loss(outputs, labels)
        return (1 - self.weight) * own + self.weight * soft_loss(self.task, outputs, soft)

    def validate(self, outputs: Array, targets: Array) -> dict[str, float]:
        """Return the task's metrics against the labels alone."""
        return self.task.validate(outputs, targets[:, : self.n_targets])


def soft_loss(task: Task, outputs: Tensor, soft: Tensor) -> Tensor:
    """Return the distance of outputs (n, n_outputs) from softened ones; see ``softened``.

    For distributions it is the Kullback-Leibler divergence, summed over them, otherwise the mean
    squared difference.
    """
    if not task.distributions:
        return functional.mse_loss(outputs, soft)
    shape = (len(outputs), task.distributions, -1)
    own, wanted = outputs.reshape(shape).log_softmax(-1), soft.reshape(shape)
    return functional.kl_div(own, wanted, reduction="none").sum((1, 2)).mean()


def softened(task: Task, outputs: Array) -> Array:
    """Return outputs (n, n_outputs) with the logits of each distribution as probabilities."""
    if not task.distributions:
        return outputs
    logits = torch.from_numpy(outputs).reshape(len(outputs), task.distributions, -1)
    probabilities: Array = logits.softmax(-1).reshape(len(outputs), -1).numpy()
    return probabilities


def distilled(
    data: TrainingData,
    task: Task,
    weight: float,
    teachers: Sequence[Teacher],
    device: str,
) -> tuple[TrainingData, Distilled]:
    """Return training data whose targets hold the teachers' mean outputs, and their task.

    Args:
        data: of the network to train.
        task: of the labels.
        weight: of the teachers' outputs in the loss.
        teachers: trained networks, each with the same images on the tap that it reads.
        device: ``cpu`` or ``cuda``.
    """
    views, images, k = data.targets.shape
    soft = np.zeros((views, images, task.n_outputs), np.float32)
    for module, own in teachers:
        for view in range(views):
            outputs = predict(module, own, data.train, device, view=view)
            soft[view, data.train] += softened(task, outputs) / len(teachers)
    targets = np.concatenate([data.targets, soft], axis=2)
    return replace(data, targets=targets), Distilled(task, k, weight)


def read_teacher(
    file: str, shapes: Mapping[str, Shape], tap: str, task: Task
) -> tuple[nn.Module, str]:
    """Return a trained network from its safetensors file, and the tap that it reads.

    Args:
        file: as a search or a retraining keeps it, with the architecture among its notes.
        shapes: tap name -> (channels, height, width).
        tap: default tap, of an architecture without one.
        task: that it was trained on.

    Raises:
        InputError: the file is missing or damaged, or names no architecture.
    """
    try:
        network = Architecture.from_dict(json.loads(load_notes(file)["architecture"]))
        state = load_file(file)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"teacher {file}: expected the weights of a trained network, cannot read the file "
            f"({one_line(error)})"
        ) from error
    tap = str(network.settings.get("tap", tap))
    module = registry.load("network", network.network)().build(network, shapes[tap], task.n_outputs)
    module.load_state_dict(state)
    return module, tap
