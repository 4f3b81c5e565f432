"""Latencies are measured once a network and machine, and by one worker at a time."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evonas.core.settings import TrainingSettings
from evonas.errors import RunError
from evonas.estimation.cost import latency_cache as timing
from evonas.estimation.cost.latency import Latency
from evonas.estimation.cost.latency_cache import LOCK, Timing
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.ray_cluster.worker import _moved
from evonas.space import Architecture

ONE, OTHER = (Architecture("toy", {"width": width}) for width in (1, 2))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of every measurement; the n-th takes n milliseconds."""
    made: list[int] = []

    def stub(module: torch.nn.Module, shape: tuple[int, int, int], device: str) -> Latency:
        made.append(torch.get_num_threads())
        return Latency(float(len(made)), 0.03125)

    monkeypatch.setattr(timing, "latency", stub)
    return made


@pytest.fixture
def at_the_lock(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when somebody asks for the lock."""
    event, lock = threading.Event(), fcntl.flock

    def noted(stream: object, how: int) -> None:
        event.set()
        lock(stream, how)  # type: ignore[arg-type]

    monkeypatch.setattr(timing.fcntl, "flock", noted)
    return event


def ask(asked: Timing, architecture: Architecture = ONE, width: int = 3, outputs: int = 2) -> float:
    return asked(architecture, torch.nn.Identity(), (width, 4, 4), outputs, "cpu").ms


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK]


def test_a_network_is_measured_once(tmp_path: Path, measured: list[int]) -> None:
    assert [ask(Timing(tmp_path / "latency")) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert len(measured) == 1
    (path,) = files(tmp_path / "latency")
    content = json.loads(path.read_text())
    assert (content["digest"], content["ms"], content["noise"]) == (ONE.digest, 1.0, 0.03125)


def test_whatever_it_follows_from_makes_it_another_one(
    tmp_path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Timing(tmp_path)
    found = [ask(first), ask(first, OTHER), ask(first, width=5), ask(first, outputs=3)]
    found.append(ask(replace(first, threads=2)))
    with monkeypatch.context() as patch:
        patch.setattr(timing, "processor", lambda: "another one")
        found.append(ask(first))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "another one")
        found.append(ask(first))
    assert found == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert ask(first) == 1.0


def test_it_is_measured_with_its_own_threads(tmp_path: Path, measured: list[int]) -> None:
    before = torch.get_num_threads()
    ask(Timing(tmp_path, threads=2))
    ask(Timing(threads=3))
    assert measured == [2, 3]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("noises", "tries", "kept"),
    [
        ((0.01,), 1, 0.01),
        ((0.9, 0.05, 0.01), 2, 0.05),
        ((0.5, 0.3, 0.2, 0.4, 0.6, 0.0), 5, 0.2),
    ],
)
def test_on_a_busy_machine_the_steadiest_measurement_counts(
    monkeypatch: pytest.MonkeyPatch, noises: tuple[float, ...], tries: int, kept: float
) -> None:
    waiting = [Latency(float(n), noise) for n, noise in enumerate(noises, start=1)]
    monkeypatch.setattr(timing, "latency", lambda *given: waiting.pop(0))
    found = Timing()(ONE, torch.nn.Identity(), (3, 4, 4), 2, "cpu")
    assert found == Latency(noises.index(kept) + 1.0, kept)
    assert len(noises) - len(waiting) == tries


def test_without_a_folder_nothing_is_kept(measured: list[int]) -> None:
    assert [ask(Timing()), ask(Timing())] == [1.0, 2.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"ms": 1.0', '"ms": NaN'),
        lambda text: text.replace('"ms": 1.0', '"ms": 0'),
        lambda text: text.replace('"ms": 1.0', '"ms": "fast"'),
        lambda text: text.replace('"noise": 0.03125', '"noise": -1'),
        lambda text: text.replace(ONE.digest, OTHER.digest),
        lambda text: "\xff\x00",
    ],
)
def test_a_damaged_file_is_measured_anew_and_mended(
    tmp_path: Path, measured: list[int], change: object
) -> None:
    ask(Timing(tmp_path))
    (path,) = files(tmp_path)
    path.write_text(change(path.read_text()), "latin-1")  # type: ignore[operator]
    assert ask(Timing(tmp_path)) == 2.0
    assert ask(Timing(tmp_path)) == 2.0
    assert files(tmp_path) == [path]


def test_nobody_measures_while_another_process_does(
    tmp_path: Path, measured: list[int], at_the_lock: threading.Event
) -> None:
    ask(Timing(tmp_path))
    with (tmp_path / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert ask(Timing(tmp_path)) == 1.0, "what is known needs no lock"
        found: list[float] = []
        at_the_lock.clear()
        waiting = threading.Thread(target=lambda: found.append(ask(Timing(tmp_path), OTHER)))
        waiting.start()
        assert at_the_lock.wait(30)
        assert waiting.is_alive()
        assert len(measured) == 1
        fcntl.flock(stream, fcntl.LOCK_UN)
    waiting.join(30)
    assert found == [2.0]


def test_who_waited_takes_what_was_measured_meanwhile(
    tmp_path: Path, measured: list[int], at_the_lock: threading.Event
) -> None:
    ask(Timing(tmp_path))
    (path,) = files(tmp_path)
    known = path.read_text()
    path.unlink()
    with (tmp_path / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        found: list[float] = []
        at_the_lock.clear()
        waiting = threading.Thread(target=lambda: found.append(ask(Timing(tmp_path))))
        waiting.start()
        assert at_the_lock.wait(30)
        path.write_text(known)
    waiting.join(30)
    assert found == [1.0]
    assert len(measured) == 1


def test_a_lock_ends_with_its_process(tmp_path: Path, measured: list[int]) -> None:
    child = os.fork()
    if not child:
        stream = (tmp_path / LOCK).open("a")
        fcntl.flock(stream, fcntl.LOCK_EX)
        os._exit(0)
    os.waitpid(child, 0)
    assert ask(Timing(tmp_path)) == 1.0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, measured: list[int]) -> None:
    (tmp_path / "latency").write_text("in the way")
    with pytest.raises(RunError, match=r"latency: latencies cannot be kept there \(.*features"):
        ask(Timing(tmp_path / "latency"))


def test_a_full_disk_costs_no_training(
    tmp_path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert [ask(Timing(tmp_path)), ask(Timing(tmp_path))] == [1.0, 2.0]


def test_a_job_is_timed_as_the_setting_says(
    setting: TrainingContext, tmp_path: Path, measured: list[int]
) -> None:
    head = Architecture("residual_head", {"width": 8, "tap": "block4"})
    job = Job(0, head, 5, TrainingSettings(epochs=2), latency=True)
    estimator = Estimator(replace(setting, timing=Timing(tmp_path, threads=2)))
    found = [estimator(replace(job, seed=seed)) for seed in (5, 6)]
    assert [(one.latency, one.latency_noise) for one in found] == [(1.0, 0.03125)] * 2
    assert measured == [2]
    # what stops at a rung is judged there, and goes on with the same number
    rung = replace(job, until=1, paused=str(tmp_path / "paused"))
    assert estimator(rung).latency == 1.0
    end = estimator(replace(rung, until=0))
    assert (end.latency, end.metrics) == (1.0, found[0].metrics)


def test_on_another_node_latencies_lie_in_its_own_cache(
    setting: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path / "own"))
    timed = Timing(tmp_path / "searching" / "latency", threads=2)
    assert _moved(replace(setting, timing=timed)).timing == Timing(tmp_path / "own" / "latency", 2)
    assert _moved(setting).timing.folder == tmp_path / "own" / "latency"
    assert _moved(replace(setting, timing=Timing())).timing == Timing()
