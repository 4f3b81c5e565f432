"""One job in, one measurement out: whatever goes wrong is a measurement with a kind."""

from __future__ import annotations

import gc
import json
import re
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.errors import RunError
from evonas.estimation import estimator as estimator_module
from evonas.estimation.estimator import Estimator, Job, Split, TrainingContext
from evonas.estimation.training.training import Training
from evonas.space import Architecture
from evonas.tasks.head_pose import HeadPose

EPOCH = TrainingSettings(epochs=1)
HEAD = Architecture("residual_head", {"width": 8, "tap": "block4"})


def job(architecture: Architecture = HEAD, **changes: object) -> Job:
    return replace(Job(0, architecture, seed=5, training=EPOCH), **changes)


@pytest.fixture
def estimator(setting: TrainingContext) -> Estimator:
    return Estimator(setting)


def test_a_job_gives_metrics_costs_and_time(estimator: Estimator, setting: TrainingContext) -> None:
    found = estimator(job())
    assert (found.status, found.error_kind, found.error) == ("ok", "", "")
    assert {"mae", "mae_yaw", "mae_pitch", "mae_roll", "geodesic", "epoch"} == set(found.metrics)
    assert 0 < found.metrics["mae"] < 90
    family = registry.load("network", "residual_head")()
    assert found.macs == family.macs(HEAD, setting.shapes["block4"], 3)
    module = family.build(HEAD, setting.shapes["block4"], 3)
    assert found.params == sum(p.numel() for p in module.parameters())
    assert found.seconds > 0
    assert found.history == ()


def test_the_result_follows_from_the_job_alone(
    estimator: Estimator, setting: TrainingContext
) -> None:
    first = estimator(job())
    torch.manual_seed(99)
    np.random.seed(99)
    estimator(job(seed=6))
    again, fresh = estimator(job()), Estimator(setting)(job(index=4, label="other"))
    assert first.metrics == again.metrics == fresh.metrics
    assert estimator(job(seed=6)).metrics != first.metrics


def test_the_tap_is_the_architectures_or_the_settings(
    estimator: Estimator, setting: TrainingContext
) -> None:
    probe = Architecture("linear_probe", {})
    assert setting.tap_of(probe) == "block3"
    assert estimator(job(probe)).macs == 64 * 3
    assert estimator(job(Architecture("linear_probe", {"tap": "block4"}))).macs == 128 * 3


def test_history_is_returned_where_it_is_asked_for(estimator: Estimator) -> None:
    found = estimator(job(training=TrainingSettings(epochs=3), history=True))
    assert [set(row) for row in found.history] == [
        {"loss", "mae", "mae_yaw", "mae_pitch", "mae_roll", "geodesic"}
    ] * 3
    assert found.metrics["mae"] == min(row["mae"] for row in found.history)


def test_a_test_split_judges_the_kept_weights(setting: TrainingContext) -> None:
    split = setting.splits["search"]
    both = Split(split.train, split.validation, split.validation)
    averaged = TrainingSettings(epochs=3, ema=0.9)  # what is kept is not what was trained last
    found = Estimator(replace(setting, splits={"search": both}))(job(training=averaged))
    for name in ("mae", "geodesic"):
        assert found.metrics[f"test_{name}"] == found.metrics[name]


def test_weights_are_kept_with_what_they_are(estimator: Estimator, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    estimator(job(weights=str(path)))
    with safe_open(path, "pt") as file:
        note = file.metadata()
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert Architecture.from_dict(json.loads(note["architecture"])) == HEAD
    assert note["tap"] == "block4"
    registry.load("network", "residual_head")().build(HEAD, (128, 4, 4), 3).load_state_dict(state)


@pytest.mark.parametrize(
    ("architecture", "kind", "said"),
    [
        (Architecture("residual_head", {"width": 0}), "invalid-shape", "'width'"),
        (Architecture("residual_haed", {}), "invalid-shape", "did you mean 'residual_head'"),
        (Architecture("linear_probe", {"tap": "block9"}), "exception", "block9"),
    ],
)
def test_an_impossible_architecture_is_a_failure_of_its_kind(
    estimator: Estimator, architecture: Architecture, kind: str, said: str
) -> None:
    found = estimator(job(architecture))
    assert (found.status, found.error_kind) == ("failed", kind)
    assert said in found.error
    assert found.metrics == {}
    assert estimator(job()).status == "ok"


@pytest.mark.parametrize(
    ("kind", "rate", "target", "said"),
    [
        ("diverged", 1e30, 1.0, "the loss became nan in epoch 1"),
        ("nan", 1e-3, np.nan, "the loss is nan before anything was learned"),
        ("nan", 1e-3, np.inf, "the loss is inf before anything was learned"),
    ],
)
def test_a_loss_that_is_no_number_is_told_by_when_it_became_so_and_the_cost_is_known(
    setting: TrainingContext, tmp_path: Path, kind: str, rate: float, target: float, said: str
) -> None:
    targets = setting.targets * np.float32(target)
    # beyond what settings allow, so that no luck can keep it finite
    training = TrainingSettings(epochs=1, batch_size=8).model_copy(update={"learning_rate": rate})
    wanted = job(weights=str(tmp_path / "w"), training=training)
    found = Estimator(replace(setting, targets=targets))(wanted)
    assert (found.status, found.error_kind, found.error) == ("failed", kind, said)
    assert found.macs > 0
    assert found.params > 0
    assert not (tmp_path / "w").exists()


def test_an_error_far_beyond_that_of_a_constant_is_a_divergence(setting: TrainingContext) -> None:
    """At a rate of 10 the losses stay finite, and the answers are thousands of degrees off."""
    training = TrainingSettings(epochs=2, batch_size=8, learning_rate=10.0)
    found = Estimator(setting)(job(training=training))
    assert (found.status, found.error_kind, found.metrics) == ("failed", "diverged", {})
    assert re.fullmatch(
        r"the training loss rose, and the error [\d.e+]+ is more than 2 times the [\d.]+ of a "
        r"constant prediction",
        found.error,
    )


def test_a_network_that_only_has_not_learned_enough_yet_did_not_diverge(
    setting: TrainingContext,
) -> None:
    """Where the targets hardly differ, the first epoch ends far beyond the constant's error."""
    near = replace(setting, targets=7.0 + 1e-3 * setting.targets)
    found = Estimator(near)(job())
    assert found.status == "ok"
    assert found.metrics["mae"] > 2 * 1e-3 * 40


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "oom-host"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "oom-gpu"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "oom-host",
        ),
        (ValueError("wrong\nsecond line"), "exception"),
        (ZeroDivisionError(), "exception"),
    ],
)
def test_what_a_training_raises_is_a_failure_of_its_kind(
    setting: TrainingContext, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def raising(self: HeadPose, *args: object) -> None:
        raise error

    monkeypatch.setattr(HeadPose, "loss", raising)
    found = Estimator(setting)(job())
    assert (found.status, found.error_kind) == ("failed", kind)
    assert found.error
    assert "\n" not in found.error
    assert found.macs > 0


def test_nothing_of_a_failed_training_lives_when_the_gpus_cache_is_emptied(
    setting: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the memory stays the process's, and the next try, alone on the GPU, fails as well."""
    parts: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def raising(self: HeadPose, outputs: Tensor, targets: Tensor) -> None:
        try:
            parts.append(weakref.ref(outputs))
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA out of memory, and a second error on the way out")

    def fits(self: Training, *args: object, **rest: object) -> None:
        parts.extend(map(weakref.ref, (self.module, self.step.parameters)))
        run(self, *args, **rest)

    run = Training.run
    monkeypatch.setattr(Training, "run", fits)
    monkeypatch.setattr(HeadPose, "loss", raising)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.extend(part() is not None for part in parts)
    )
    gc.disable()  # what it would find later is too late
    try:
        found = Estimator(setting)(job())
    finally:
        gc.enable()
    assert (found.status, found.error_kind) == ("failed", "oom-gpu")
    assert alive == [False] * 3


def test_the_memory_of_a_job_is_what_others_cannot_have(
    setting: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that torch reserved, tensors in it or not; the job before does not count."""
    memory = {"reserved": 100, "most": 10**9, "device": ""}

    def reset(device: str) -> None:
        memory.update(most=memory["reserved"], device=device)

    def grow(self: Training, *args: object, **rest: object) -> None:
        memory["most"] = 700
        run(self, *args, **rest)

    run = Training.run
    made = Estimator(setting)
    monkeypatch.setattr(Training, "run", grow)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 1)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: memory["reserved"])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: memory["most"])
    assert made(job()).memory == 0, "a CPU's is not looked at"
    made._setting = replace(setting, device="cuda:1")
    placed = partial(Training, device="cpu")  # the GPU is one by name alone
    monkeypatch.setattr(
        estimator_module, "Training", lambda *parts: placed(*parts[:5], source=parts[6])
    )
    assert made(job()).memory == 600
    assert memory["device"] == "cuda:1"


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00v\x00"])
def test_features_that_are_gone_are_no_fault_of_the_network(
    setting: TrainingContext, tmp_path: Path, content: bytes | None
) -> None:
    """All others would fail as well, and spend the budget."""
    if content is not None:
        (tmp_path / "gone.npy").write_bytes(content)
    gone = {"backbone": dict.fromkeys(setting.shapes, (tmp_path / "gone.npy",))}
    with pytest.raises(RunError, match=r"feature cache: .*made again when it goes on"):
        Estimator(replace(setting, files=gone))(job())


def test_a_split_without_unusable_images() -> None:
    split = Split(np.array([0, 2, 4]), np.array([1, 3]))
    kept = split.only(np.array([0, 1, 4]))
    assert [side.tolist() for side in (kept.train, kept.validation, kept.test)] == [[0, 4], [1], []]
