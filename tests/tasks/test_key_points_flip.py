"""Key points of mirrored images, and a head that learns from both views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from point_targets import EYES, dots, named, rendered, rows
from torch import nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.training.training import TrainingData, predict, train
from evonas.models.networks.heatmap_head import HeatmapHead
from evonas.space import Architecture
from evonas.tasks.key_points import KeyPoints


def test_maps_of_mirrored_images_are_read_off_where_the_plain_points_lie() -> None:
    """To a twentieth of a cell: a shift by a cell or half of one would show."""
    task, rng = KeyPoints(named(*EYES)), np.random.default_rng(0)
    plain = rows(np.dstack([rng.uniform(0.1, 0.9, (40, 3, 2)), np.full((40, 3), 2.0)]))
    mirror = task.flip_targets(plain)[:, :9].reshape(-1, 3, 3)[..., :2]
    for h, w in ((16, 16), (12, 9)):
        maps = rendered(task, mirror, h, w).astype(np.float32)
        found = task.predictions(task.unflip_outputs(maps)).reshape(-1, 3, 3)
        away = (found - plain[:, :9].reshape(-1, 3, 3))[..., :2]
        assert np.abs(away * [w, h]).max() < 0.05
        np.testing.assert_array_equal(task.unflip_outputs(task.unflip_outputs(maps)), maps)


class Symmetric(nn.Module):
    """Equivariant by construction: any network, and what it makes of the mirror image."""

    def __init__(self, part: nn.Module, swap: list[int]) -> None:
        super().__init__()
        self.part, self.swap = part, swap

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.part(maps) + self.part(maps.flip(3))[:, self.swap].flip(3)


def test_a_flip_test_changes_nothing_for_a_symmetric_network() -> None:
    task = KeyPoints(named(*EYES))
    maps, _ = dots(20, 1)
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 4, 2))
    every, targets = np.arange(20), np.zeros((2, 20, 14), np.float32)
    data = TrainingData([maps, np.ascontiguousarray(maps[..., ::-1])], targets, every, every)
    for module, same in ((Symmetric(part, [0, 2, 1]), True), (part, False)):
        plain, mirrored = (predict(module, data, every, view=view) for view in (0, 1))
        assert np.abs(plain - mirrored).max() > 0.1, "the views differ"
        both = (plain + task.unflip_outputs(mirrored)) / 2
        assert (both == plain).all() == same


@pytest.mark.slow
def test_a_head_learns_where_coloured_dots_are() -> None:
    """The whole way: training, validation, decoding, against the constant."""
    maps, targets = dots(600, 0)
    task, views = KeyPoints(named("a", "b", "c")), np.arange(600)
    mirror = np.ascontiguousarray(maps[..., ::-1])
    data = TrainingData(
        [maps, mirror], np.stack([targets, task.flip_targets(targets)]), views[:500], views[500:]
    )
    torch.manual_seed(0)
    head = HeatmapHead().build(
        Architecture("heatmap_head", {"width": 16, "channels": 16, "upsamples": 1}), (4, 8, 8), 3
    )
    outcome = train(head, data, task, TrainingSettings(epochs=8), seed=0)
    guess = np.broadcast_to(task.constant_baseline(targets[:500]), targets[500:].shape)
    constant = task.metrics(guess, targets[500:])
    assert constant["error"] > 90
    assert outcome.metrics["error"] < 0.1 * constant["error"]
    assert outcome.metrics["nme"] < 0.1 * constant["nme"]
