"""Which arithmetic a GPU is asked for; GPUs are made up where none is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.cost.latency import latency
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.precision import computes_bfloat16, exact, lower
from evonas.estimation.training.training import predict
from evonas.estimation.training.training_step import Step, placed
from evonas.tasks.head_pose import HeadPose


@pytest.fixture
def turing_and_ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs; the current one, which torch asks where no device is named, is the older."""
    capabilities = {"cuda": (7, 5), "cuda:0": (7, 5), "cuda:1": (8, 6)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args: True)  # emulated


@pytest.mark.usefixtures("turing_and_ampere")
def test_auto_is_bfloat16_where_that_very_gpu_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "autocast", lambda device, kind, cache_enabled: asked.append(device))
    found = [computes_bfloat16(device) for device in ("cpu", "cuda", "cuda:0", "cuda:1")]
    assert found == [False, False, False, True]
    for device, precision in (("cuda:0", "auto"), ("cuda:1", "float32"), ("cpu", "auto")):
        with lower(device, precision):
            assert asked == []
    lower("cuda:1", "auto")
    lower("cuda:0", "bfloat16")  # asked for by name
    assert asked == ["cuda", "cuda"]


def permissions() -> list[object]:
    """What torch may do with TF32, as its kernels read it."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return [part.fp32_precision for part in (cudnn.conv, cudnn.rnn, matmul)]
    return [cudnn.allow_tf32, matmul.allow_tf32]


def older() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")


def newer() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"


@pytest.fixture
def as_before() -> Iterator[None]:
    parts = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul]
    before = [part.fp32_precision for part in parts]
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for part, value in zip(parts, before, strict=True):
        part.fp32_precision = value


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9")
@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("chosen", [older, newer, lambda: None], ids=["older", "newer", "default"])
def test_float32_is_no_tf32_and_what_the_process_chose_comes_back(
    chosen: Callable[[], None],
) -> None:
    chosen()
    before = permissions()
    assert "tf32" in before
    with exact("cpu"):
        assert permissions() == before
    inside = []
    with suppress(ZeroDivisionError), exact("cuda"):
        inside = permissions()
        raise ZeroDivisionError
    assert len(inside) == 3
    assert "tf32" not in inside
    assert permissions() == before


class Looking(nn.Linear):
    """Notes what torch may do whenever something is computed, forwards or backwards."""

    def __init__(self) -> None:
        super().__init__(8, 2)
        self.seen: list[object] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen += permissions()
        out = super().forward(x.flatten(1))
        if out.requires_grad:
            out.register_hook(lambda gradient: self.seen.extend(permissions()))
        return out


def test_training_predictions_and_latencies_are_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a device that is a GPU by name alone; tensors lie where they are."""
    settings = TrainingSettings(precision="float32")
    module = placed(Looking(), "cpu")
    step = Step(module, HeadPose(("yaw", "pitch")), settings, "cpu")
    step.device = "cuda"
    step(torch.randn(4, 8, 1, 1).half(), torch.randn(4, 2))
    assert len(module.seen) == 2 * len(permissions())
    monkeypatch.setattr(nn.Module, "to", lambda self, *args, **rest: self)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: zeros(*shape))
    latency(module, (8, 1, 1), "cuda")

    class Source:
        def batches(self, *args: object) -> list[tuple[Tensor, ...]]:
            return [(zeros(3, 8, 1, 1).half(), zeros(3, 2))]

    few = np.arange(3)
    data = TrainingData([np.zeros((3, 8, 1, 1), np.float16)], np.zeros((1, 3, 2)), few, few)
    predict(module, data, few, "cuda", Source())
    assert not {"tf32", True} & set(module.seen)
    assert "tf32" in permissions() or True in permissions()
