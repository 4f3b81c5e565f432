"""A step that is captured and replayed gives what the step gives; where it cannot be, one hears."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda
from op_tape import OpTape
from torch import Tensor, nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.training.batches import Indices, Mapped, TrainingData
from evonas.estimation.training.checkpoint import pause, resume
from evonas.estimation.training.cuda_graphs import LEAST, PATIENCE, CudaRecorder, Graphs, unchanged
from evonas.estimation.training.training import Outcome, Training
from evonas.tasks.base import Task
from evonas.tasks.classification import Classification
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.regression import Regression

TASK = HeadPose(("yaw", "pitch"))
STEPS = 6  # an epoch
LONG = TrainingSettings(epochs=10, batch_size=16, learning_rate=1e-2, ema=0.9)


def data() -> TrainingData:
    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(116, 6, 3, 3)).astype(np.float16) for _ in range(2)]
    targets = (30 * rng.normal(size=(2, 116, 2))).astype(np.float32)
    return TrainingData(maps, targets, np.arange(96), np.arange(96, 116))


def network(last: type[nn.Linear] = nn.Linear) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(6, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # so the layout is channels last
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        last(8, 2),
    )


def training(
    settings: TrainingSettings = LONG, last: type[nn.Linear] = nn.Linear, device: str = "cpu"
) -> Training:
    made = Training(network(last), data(), TASK, settings, 3, device)
    if device == "cpu":
        # As on a GPU; of 64 bits, so that it is the very number that a CPU is given.
        rate = torch.full((), settings.learning_rate, dtype=torch.float64)
        for group in made.step.optimizer.param_groups:
            group["lr"] = rate
    return made


def plain(settings: TrainingSettings = LONG, last: type[nn.Linear] = nn.Linear) -> Training:
    """The same training as on any CPU: rates are numbers, nothing is replayed."""
    made = Training(network(last), data(), TASK, settings, 3)
    made.run()
    return made


def assert_same(one: Training, other: Training) -> None:
    """Everything that a training has, to the bit."""
    same(one.outcome, other.outcome)
    first, second = whole(one), whole(other)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def whole(one: Training) -> dict[str, Tensor]:
    """Weights, average and moments by name."""
    found = {f"module.{k}": v for k, v in one.module.state_dict().items()}
    found |= {f"average.{k}": v for k, v in one.average.module.state_dict().items()}
    for number, moments in one.step.optimizer.state_dict()["state"].items():
        found |= {f"{number}.{k}": v for k, v in moments.items()}
    return found


def same(one: Outcome, other: Outcome) -> None:
    assert one.history == other.history
    assert one.metrics == other.metrics
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": 0.0}, {"schedule": "step", "milestones": (3,), "warmup": 0.3}],
    ids=lambda c: "-".join(c) or "plain",
)
def test_replayed_steps_give_the_same_bits(changes: dict[str, object]) -> None:
    """Weights, norms, moments, average, rates and dropout: as if nothing had been captured."""
    settings = LONG.model_copy(update=changes)
    tape, replayed = OpTape(), training(settings)
    replayed.run(graphs=Graphs("cpu", tape))
    eager = plain(settings)
    after = torch.rand(3)
    assert (tape.captures, tape.replays) == (1, STEPS * settings.epochs)
    assert_same(replayed, eager)
    replayed = training(settings)
    replayed.run(graphs=Graphs("cpu", OpTape()))
    assert torch.equal(torch.rand(3), after), "a capture drew random numbers"


def test_all_that_steps_change_is_put_back() -> None:
    made = training()
    maps, targets = next(made._source.batches(np.arange(16), np.zeros(16, np.intp), 16))
    for warm in (False, True):  # without moments, and with
        if warm:
            made.step(maps, targets)
        before = [tensor.detach().clone() for tensor in made.step.tensors()]
        generator = torch.get_rng_state()
        with suppress(ZeroDivisionError), unchanged(made.step):
            made.step(maps, targets)
            changed = made.step.tensors()
            assert not torch.equal(changed[0], before[0])
            raise ZeroDivisionError
        after = made.step.tensors()
        assert all(torch.equal(old, new) for old, new in zip(before, after, strict=False))
        assert not any(new.any() for new in after[len(before) :])
        assert (len(after) > len(before)) is not warm
        assert all(one is other for one, other in zip(after, changed, strict=True))
        assert torch.equal(torch.get_rng_state(), generator)


POSE = {"yaw": (), "pitch": ()}
CLASSES = {"kind": ("a", "b")}


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (HeadPose(POSE), torch.ones(4, 2)),
        (HeadPose(POSE, output="bins"), torch.ones(4, 2)),
        (HeadPose(POSE, output="rotation6d"), torch.ones(4, 2)),
        (Regression({"x": (), "y": ()}, centre=[1.0, 2.0], scale=[3.0, 0.1]), torch.ones(4, 2)),
        (Classification(CLASSES, balanced=True, weights=[1.0, 3.0]), torch.ones(4, 1)),
    ],
    ids=["angles", "bins", "rotation6d", "regression", "classification"],
)
def test_losses_can_be_captured(task: Task, targets: Tensor) -> None:
    """None looks at its numbers, or brings numbers of the host along."""
    outputs = torch.randn(4, task.n_outputs, requires_grad=True)
    eager = task.loss(outputs, targets)
    replay = OpTape().record(lambda: task.loss(outputs, targets).detach())
    assert torch.equal(replay(), eager)


class Waiting(nn.Linear):
    """Looks at its result in the middle of a step, as no capture can."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out + 1.0 if self.training and out.sum().item() > 1e9 else out


def test_what_cannot_be_captured_is_trained_step_by_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "evonas")
    tape = OpTape()
    stepwise = training(last=Waiting)
    stepwise.run(graphs=Graphs("cpu", tape))
    assert tape.captures == tape.replays == 0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.startswith("trained step by step, not as a CUDA graph: RuntimeError: operation not")
    assert "\n" not in text
    assert_same(stepwise, plain(last=Waiting))


class Broken:
    """Fails late, and once more on the way out, as the end of a broken capture does."""

    def __init__(self) -> None:
        self.tries = 0

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.tries += 1
        try:
            run()
            raise MemoryError("no room for the graph")
        finally:
            raise RuntimeError("operation failed due to a previous error")


def test_the_first_cause_is_named_and_a_worker_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evonas")
    broken = Broken()
    graphs = Graphs("cpu", broken)
    for _ in range(PATIENCE + 2):
        candidate = training()
        candidate.run(graphs=graphs)
    assert_same(candidate, plain())
    assert broken.tries == PATIENCE
    assert [record.getMessage() for record in caplog.records] == [
        "trained step by step, not as a CUDA graph: MemoryError: no room for the graph"
    ] * PATIENCE


def test_a_failed_capture_is_dead_when_the_cache_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the error nor the one before it keeps the tensors of the frames it came through."""
    parts: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    class Late(Broken):
        def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
            pool = torch.zeros(3)
            parts.append(weakref.ref(pool))
            return super().record(run)

    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.extend(part() is not None for part in parts)
    )
    gc.disable()
    try:
        training().run(graphs=Graphs("cpu", Late()))
    finally:
        gc.enable()
    assert alive == [False]


class Ragged(Mapped):
    """Batches of which every third lacks an image."""

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        for number, (maps, targets) in enumerate(super().batches(indices, views, size)):
            cut = slice(number % 3 == 1, None)
            yield maps[cut], targets[cut]


def test_a_batch_of_another_shape_is_a_step_of_its_own() -> None:
    results = []
    tape = OpTape()
    for graphs in (Graphs("cpu", tape), None):
        made = training()
        made._source = Ragged(data())
        made.run(graphs=graphs)
        results.append(made)
    assert_same(*results)
    assert tape.replays == STEPS * LONG.epochs * 2 // 3


def test_few_steps_are_not_worth_a_capture() -> None:
    tape = OpTape()
    epochs = LEAST // STEPS
    training(LONG.model_copy(update={"epochs": epochs})).run(graphs=Graphs("cpu", tape))
    training().run(until=epochs, graphs=Graphs("cpu", tape))
    assert tape.captures == 0
    training(LONG.model_copy(update={"epochs": epochs + 1})).run(graphs=Graphs("cpu", tape))
    assert tape.captures == 1


def test_a_cpu_captures_nothing_of_itself() -> None:
    made = training()
    assert Graphs("cpu").replayed(made.step, 10**6) is made.step


def test_a_training_that_paused_goes_on_replayed(tmp_path: Path) -> None:
    settings = LONG.model_copy(update={"epochs": 20})
    eager = plain(settings)
    first = training(settings)
    first.run(until=10, graphs=Graphs("cpu", OpTape()))
    pause(first, tmp_path / "p.safetensors")
    torch.rand(5)
    second, tape = training(settings), OpTape()
    assert resume(second, tmp_path / "p.safetensors")
    second.run(graphs=Graphs("cpu", tape))
    assert tape.replays == 10 * STEPS
    assert_same(second, eager)


WARM = ["wait | main", "run | side", *["run | side | no waiting"] * 2]
CAPTURE = ["wait | side", "begin thread_local | side", "run | side", "end | side"]


def test_the_calls_of_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a side stream throughout; waiting is forbidden before the capture, never around it."""
    cuda = FakeCuda(monkeypatch)

    def run() -> Tensor:
        cuda.called("run")
        return result

    result = torch.zeros(())
    recorder = CudaRecorder("cuda")
    for _ in range(2):
        cuda.log.clear()
        replay = recorder.record(run)
        assert cuda.log == [*WARM, *CAPTURE, "wait | main"]
        cuda.log.clear()
        assert replay() is result
        assert cuda.log == ["replay | main"]
    assert cuda.generator.name == "own"


@pytest.mark.parametrize("when", [1, 3, 4])
def test_a_broken_capture_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    cuda, calls = FakeCuda(monkeypatch, broken=True), 0

    def run() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == when:
            raise ValueError("first cause")
        return torch.zeros(())

    with pytest.raises((ValueError, RuntimeError)) as caught:
        CudaRecorder("cuda").record(run)
    assert "first cause" in str(caught.value.__context__ or caught.value)
    assert cuda.generator.name == "spare"
    assert cuda.streams == ["main"]
    assert cuda.mode == 0
    assert cuda.log[-1] == "wait | main"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_replayed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evonas")
    settings = LONG.model_copy(update={"precision": "float32"})
    eager, replayed = training(settings, device="cuda"), training(settings, device="cuda")
    eager.run(graphs=Graphs("cpu"))  # captures nothing
    eager_next = torch.rand(3, device="cuda")
    torch.manual_seed(3)  # dropout, as when it was made
    replayed.run()
    assert not caplog.records, "it was not captured"
    assert torch.equal(torch.rand(3, device="cuda"), eager_next)
    losses = [[epoch["loss"] for epoch in made.outcome.history] for made in (eager, replayed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for one, other in zip(eager.step.tensors(), replayed.step.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_goes_on_where_a_capture_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """Dropout draws on, also behind a capture that broke between its begin and its end."""

    class Late(Waiting):
        def forward(self, x: Tensor) -> Tensor:
            if torch.cuda.is_current_stream_capturing():
                torch.cuda.synchronize()
            return nn.Linear.forward(self, x)

    caplog.set_level(logging.INFO, "evonas")
    settings = LONG.model_copy(update={"precision": "float32"})
    for last, reason in ((Waiting, "synchroniz"), (Late, "captur")):
        caplog.clear()
        made = training(settings, last, "cuda")
        made.run()
        assert made.epoch == settings.epochs
        (record,) = caplog.records
        assert reason in record.getMessage()
