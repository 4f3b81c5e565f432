"""A training that is written down and goes on elsewhere gives the bits of one in one go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evonas.estimation.batches import TrainingData
from evonas.estimation.paused import pause, resume
from evonas.estimation.settings import TrainingSettings
from evonas.estimation.training import Outcome, Training
from evonas.tasks.head_pose import HeadPose

TASK = HeadPose(("yaw", "pitch"))
SHORT = TrainingSettings(epochs=5, batch_size=16, learning_rate=1e-2, ema=0.9)


def data() -> TrainingData:
    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(80, 6, 3, 3)).astype(np.float16) for _ in range(2)]
    targets = rng.normal(size=(2, 80, 2)).astype(np.float32)
    return TrainingData(maps, targets, np.arange(60), np.arange(60, 80))


def training(settings: TrainingSettings = SHORT, width: int = 8) -> Training:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(6, width, 3, padding=1),  # the order of its weights depends on the layout
        nn.Conv2d(width, width, 3, padding=1, groups=width),  # so the layout is channels last
        nn.BatchNorm2d(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(width, 2),
    )
    return Training(module, data(), TASK, settings, 3)


def same(one: Outcome, other: Outcome) -> bool:
    assert one.state.keys() == other.state.keys()
    weights = all(torch.equal(one.state[key], other.state[key]) for key in one.state)
    return weights and one.metrics == other.metrics and one.history == other.history


@pytest.mark.parametrize("after", [1, 3, 4])
@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.0}, {"keep": "last"}, {"patience": 1}], ids=lambda c: str(c)
)
def test_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, after: int, changes: dict[str, object]
) -> None:
    settings = SHORT.model_copy(update=changes)
    whole = training(settings)
    whole.run()
    first = training(settings)
    first.run(until=after)
    assert first.epoch <= after
    pause(first, tmp_path / "p.safetensors")
    torch.rand(7)  # others draw as well
    second = training(settings)
    assert resume(second, tmp_path / "p.safetensors")
    assert second.epoch == first.epoch
    second.run()
    assert same(second.outcome, whole.outcome)


def test_what_cannot_go_on_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    whole = training()
    whole.run()

    def outcome() -> Outcome:
        late = training()
        assert not resume(late, path)
        assert late.epoch == 0
        late.run()
        return late.outcome

    assert same(outcome(), whole.outcome)  # no such file
    other = training(width=4)
    other.run(until=2)
    pause(other, path)
    assert same(outcome(), whole.outcome)  # another network
    first = training()
    first.run(until=2)
    pause(first, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert same(outcome(), whole.outcome)  # cut short
    path.write_bytes(b"")
    assert same(outcome(), whole.outcome)


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    first = training()
    first.run(until=1)
    pause(first, tmp_path / "a" / "p.safetensors")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["p.safetensors"]
