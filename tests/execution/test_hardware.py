"""What is asked of the hardware, against what is there; GPUs are made up where none is."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evonas.errors import InputError
from evonas.estimation.settings import ExecutionSettings
from evonas.execution._hardware import Hardware
from evonas.execution._own_cluster import _only
from evonas.execution.ray import crowding


def hardware(**asked: Any) -> Hardware:
    return Hardware(ExecutionSettings(**asked))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Two GPUs of 16 GB, on a machine of 8 cores."""
    there = {"count": 2, "memory": 16e9}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there["count"]))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there["count"])
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(total_memory=there["memory"]),
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    return there


def test_a_gpu_is_taken_where_there_is_one(gpus: dict[str, float]) -> None:
    assert hardware().place() == ("ray", "gpu")
    assert hardware().device == hardware(device="gpu").device == "cuda"
    assert hardware(device="gpu:1").device == "cuda:1"
    assert hardware(device="cpu", workers=1).place() == ("local", "cpu")
    gpus["count"] = 0
    assert hardware(workers=1).place() == ("local", "cpu")


@pytest.mark.parametrize(
    ("count", "asked", "message"),
    [
        (2, "gpu:2", r"there is no such GPU; this machine has 2, the last is gpu:1"),
        (1, "gpu:7", r"there is no such GPU; this machine has 1: gpu:0"),
        (0, "gpu:0", r"there is no GPU here that torch can use: use execution\.device=cpu or auto"),
        (0, "gpu", r"there is no GPU here that torch can use"),
    ],
)
def test_a_gpu_that_does_not_exist_is_refused(
    gpus: dict[str, float], count: int, asked: str, message: str
) -> None:
    gpus["count"] = count
    with pytest.raises(InputError, match=rf"^execution\.device={asked}: {message}"):
        hardware(device=asked).place()


def test_a_number_means_nothing_on_a_cluster(gpus: dict[str, float]) -> None:
    with pytest.raises(InputError, match="the nodes of a cluster have their own"):
        _ = hardware(device="gpu:0", address="host:6379").device


@pytest.mark.parametrize("value", ["gpu:", "gpu:-1", "cuda", "gpu:x", "tpu"])
def test_what_is_no_device_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="expected auto, cpu, gpu, or gpu:N"):
        ExecutionSettings(device=value)


def test_as_many_workers_as_have_room(gpus: dict[str, float]) -> None:
    # an eighth of 16 GB are 3 contexts of 0.6 GB
    assert hardware().workers == 2 * 3
    assert hardware(device="gpu:0").workers == 3
    gpus["memory"] = 140e9
    assert hardware().workers == 8, "one a core"
    gpus["memory"] = 1e9
    assert hardware().workers == 2, "one a GPU at least"
    assert hardware(device="cpu").workers == 8
    assert hardware(workers=99).workers == 99
    assert hardware(executor="local").workers == 1


def test_an_executor_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"execution\.executor=rya: no such executor: .*'ray'"):
        hardware(executor="rya").place()


@pytest.mark.parametrize(("before", "seen"), [(None, "1"), ("4,6", "6")])
def test_ray_is_shown_one_gpu_by_its_number(
    monkeypatch: pytest.MonkeyPatch, before: str | None, seen: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with _only("cuda:1"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
    with _only("cuda"):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_workers_times_threads_are_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    made = [hardware(device="cpu", **asked) for asked in ({}, {"threads": 4}, {"threads": 16})]
    assert [(h.workers, h.threads) for h in made] == [(8, 1), (2, 4), (1, 16)]
    for workers, threads in ((1, 8), (3, 2), (99, 1)):
        assert hardware(device="cpu", workers=workers, threads="auto").threads == threads
        assert hardware(device="cpu", workers=workers).threads == 1, "results depend on nothing"


def test_more_workers_than_cores_are_allowed_and_said() -> None:
    assert crowding(2, 1, 2) == crowding(1, 4, 4) == []
    assert crowding(8, 1, 2) == ["execution.workers=8 on 2 core(s): they will share them"]
    assert crowding(2, 2, 2) == [
        "execution.workers=2 of 2 threads on 2 core(s): they will share them"
    ]
