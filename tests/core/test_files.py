"""Files replaced in one step: two writers of one file never share a draft."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evonas.core.files import draft_of, write_file
from evonas.core.settings import TrainingSettings
from evonas.data.images.image_io import remembered
from evonas.deployment.export.exporter import _draft
from evonas.estimation.cost import latency_cache as timing
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.checkpoint import pause
from evonas.estimation.training.training import Training
from evonas.models.files.safetensors_files import load_file, load_notes
from evonas.space import Architecture
from evonas.tasks.head_pose import HeadPose

Write = Callable[[int], None]
Read = Callable[[], int]


def _text(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    return lambda n: write_file(path, str(n)), lambda: int(path.read_text())


def _latency(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    return lambda n: timing._write(path, {"n": n}), lambda: json.loads(path.read_text())["n"]


def _exported(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    def write(n: int) -> None:
        with _draft(path) as draft:
            assert draft.suffix == path.suffix  # what writes ONNX or .pt2 looks at it
            draft.write_text(str(n))

    return write, lambda: int(path.read_text())


def _labels(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    source = path.parent / "labels.txt"
    source.write_text("1")

    def write(n: int) -> None:
        remembered("reader 1", [source], lambda: {"n": np.array([n])})

    def nothing() -> dict[str, Any]:
        raise AssertionError("no note was kept")

    return write, lambda: int(remembered("reader 1", [source], nothing)["n"][0])


def _paused(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    data = TrainingData(
        [np.ones((8, 3), np.float16)], np.ones((1, 8, 2), np.float32), np.arange(4), np.arange(4, 8)
    )

    def write(n: int) -> None:
        settings = TrainingSettings(epochs=3, batch_size=4)
        made = Training(nn.Linear(3, 2), data, HeadPose(("yaw", "pitch")), settings, n)
        made.run(1)
        pause(made, path)

    return write, lambda: json.loads(load_notes(path)["identity"])["seed"]


def _weights(path: Path, setting: TrainingContext) -> tuple[Write, Read]:
    estimator = Estimator(setting)
    head, once = Architecture("linear_probe", {}), TrainingSettings(epochs=1)
    known: dict[int, float] = {}

    def write(n: int) -> None:
        assert estimator(Job(0, head, n, once, weights=str(path))).status == "ok"

    def total() -> float:
        return float(sum(value.double().sum() for value in load_file(path).values()))

    for n in (1, 2):
        write(n)
        known[n] = total()
    return write, lambda: next(n for n, value in known.items() if value == total())


@pytest.mark.parametrize("writer", [_text, _latency, _exported, _labels, _paused, _weights])
def test_a_second_writer_does_not_take_the_first_ones_draft(
    writer: Callable[[Path, TrainingContext], tuple[Write, Read]],
    setting: TrainingContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second writes the whole file while the first is about to move its draft."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write, read = writer(tmp_path / "file.onnx", setting)
    replace, begun = os.replace, False

    def interrupted(source: Any, target: Any) -> None:
        nonlocal begun
        if not begun:
            begun = True
            write(2)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        write(1)
    assert begun
    assert read() == 1  # which came last
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not {name for name in left if name.startswith(".") or str(os.getpid()) in name}


def test_after_an_error_the_old_file_stays_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)  # a draft's name is no longer than the system allows
    write_file(path, "old")

    def stopped() -> None:
        with draft_of(path) as draft:
            draft.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_torch_is_not_seeded_by_a_draft(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    write_file(tmp_path / "a", "1")
    assert torch.equal(torch.rand(3), expected)
