"""A training that is written down and goes on elsewhere gives the bits of one in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.features.cache_files import commit
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.checkpoint import pause, resume
from evonas.estimation.training.training import Outcome, Training
from evonas.models.files.safetensors_files import load_file, load_notes, save_file
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.regression import Regression

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
    return (
        weights
        and one.metrics == other.metrics
        and (one.history, one.first_loss)
        == (
            other.history,
            other.first_loss,
        )
    )


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


def _net(width: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(54, width), activation(), nn.Linear(width, 2))


def _changed(name: str) -> Training:
    """A training of which one thing differs from that of ``nothing``."""
    made, net, task, seed, facts = data(), _net(4), TASK, 3, {"architecture": "a"}
    settings = SHORT
    if name == "training.learning_rate":
        settings = SHORT.model_copy(update={"learning_rate": 2e-3})
    elif name == "training.epochs":
        settings = SHORT.model_copy(update={"epochs": 6})
    elif name == "seed":
        seed = 4
    elif name == "features":
        made.maps[1][79, 5, 2, 2] += 1
    elif name == "targets":
        made.targets[1, 79, 1] += 1
    elif name == "split.train":
        made = replace(made, train=np.arange(59))
    elif name == "split.validation":
        made = replace(made, validation=np.arange(61, 80))
    elif name == "loss":
        task = Regression({"yaw": (), "pitch": ()}, centre=(0.0, 0.0), scale=(1.0, 1.0))
    elif name == "layers":
        net = _net(4, nn.SELU)
    elif name == "architecture":
        facts = {"architecture": "b"}
    found = Training(net, made, task, settings, seed)
    found.facts = facts
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("training.learning_rate", "training.epochs", "seed", "features", "targets"),
        *("split.train", "split.validation", "loss", "layers", "architecture"),
    ],
)
def test_a_training_of_another_identity_is_not_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = tmp_path / "p.safetensors"
    other = _changed("nothing")
    other.run(until=2)
    pause(other, path)
    assert resume(_changed("nothing"), path)
    whole = _changed(name)
    whole.run()
    assert not caplog.messages
    late = _changed(name)
    assert not resume(late, path)
    (line,) = caplog.messages
    assert f"{path}: a paused training of another run: it starts anew (what differs: {name}" in line
    late.run()
    assert same(late.outcome, whole.outcome)


def test_what_differs_is_shown_with_both_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = training()
    first.run(until=1)
    pause(first, tmp_path / "p")
    assert not resume(training(SHORT.model_copy(update={"learning_rate": 0.5})), tmp_path / "p")
    assert caplog.messages[0].endswith("(what differs: training.learning_rate (0.01, here 0.5))")


def test_a_file_without_an_identity_is_not_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As an earlier version wrote it."""
    path, first = tmp_path / "p.safetensors", training()
    first.run(until=1)
    pause(first, path)
    notes = load_notes(path)
    save_file(load_file(path), path, {"training": notes["training"]})
    assert not resume(training(), path)
    assert "it has no identity" in caplog.text


def test_a_training_that_is_further_than_the_rung_is_not_taken_over(tmp_path: Path) -> None:
    first = training()
    first.run(until=3)
    pause(first, tmp_path / "p")
    assert not resume(training(), tmp_path / "p", 2)
    assert resume(training(), tmp_path / "p", 3)


@pytest.mark.parametrize("committed", [True, False])
def test_features_may_move_but_not_change(tmp_path: Path, committed: bool) -> None:
    """Files of the cache are known by name and checksum, others by their content."""

    def mapped(folder: str, change: float = 0.0) -> Training:
        torch.manual_seed(2)
        (tmp_path / folder).mkdir(exist_ok=True)
        maps = data().maps[0].copy()
        maps[79, 0, 0, 0] += np.float16(change)
        path = tmp_path / folder / "0123.npy"
        np.save(tmp_path / "draft.npy", maps)
        if committed:
            commit(tmp_path / "draft.npy", path, {})
        else:
            (tmp_path / "draft.npy").replace(path)
        whole = replace(data(), maps=[np.load(path, mmap_mode="r")], targets=data().targets[:1])
        return Training(nn.Sequential(nn.Flatten(), nn.Linear(54, 2)), whole, TASK, SHORT, 3)

    first = mapped("a")
    first.run(until=1)
    pause(first, tmp_path / "p")
    assert resume(mapped("b"), tmp_path / "p")
    assert not resume(mapped("c", 1.0), tmp_path / "p")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_of_one_number_a_channel_go_on_to_the_same_bits(tmp_path: Path, ema: float) -> None:
    """Tensors of shape (O, 1, 1, 1) have the strides of both layouts at once."""

    def made() -> Training:
        torch.manual_seed(2)
        module = nn.Sequential(
            nn.Conv2d(6, 6, 1, groups=6),
            nn.Conv2d(6, 1, 3, padding=1),
            nn.Conv2d(1, 5, 1),
            nn.Conv2d(5, 5, 1, groups=5),
            nn.Flatten(),
            nn.Linear(45, 2),
        )
        return Training(module, data(), TASK, SHORT.model_copy(update={"ema": ema}), 3)

    whole = made()
    whole.run()
    first = made()
    first.run(until=2)
    pause(first, tmp_path / "p")
    second = made()
    assert resume(second, tmp_path / "p")
    second.run()
    assert same(second.outcome, whole.outcome)


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    first = training()
    first.run(until=1)
    pause(first, tmp_path / "a" / "p.safetensors")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["p.safetensors"]
