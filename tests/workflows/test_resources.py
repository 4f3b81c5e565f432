"""What is asked of the hardware, against what is there; GPUs are made up where none is."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_cluster import FakeRay
from fake_cuda import FakeNvml, no_context

from evonas.core.settings import ExecutionSettings
from evonas.errors import InputError, RunError
from evonas.estimation.cost.latency import processor
from evonas.estimation.execution.ray import crowding
from evonas.estimation.execution.ray_cluster.gpus import Card, cards
from evonas.estimation.execution.ray_cluster.local_cluster import _only
from evonas.workflows.resources import Hardware


def hardware(**asked: Any) -> Hardware:
    return Hardware(ExecutionSettings(**asked))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Two GPUs of 16 GB, on a machine of 8 cores."""
    there = {"count": 2, "memory": 16e9}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there["count"]))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there["count"])
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(there))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    no_context(monkeypatch)
    return there


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """A head without a GPU and two nodes of 4 GPUs; the machine that searches has none."""
    ray = FakeRay()
    ray.add("head", cpus=8, gpus=0)
    for host in ("one", "two"):
        ray.add(host, cpus=64, gpus=4, cards=(Card("NVIDIA H200", int(140e9)),) * 4)
    ray.join(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    no_context(monkeypatch)
    return ray


def far(**asked: Any) -> Hardware:
    return hardware(address="10.0.0.1:6379", **asked)


def test_a_clusters_gpus_are_taken_though_there_is_none_here(cluster: FakeRay) -> None:
    for asked in ("auto", "gpu"):
        made = far(device=asked)
        assert made.device_description() == ("ray", "gpu")
        assert made.device == "cuda"
        assert made.own_device == "cpu", "what the search computes itself"
        # an eighth of 140 GB are 29 contexts of 0.6 GB; 136 CPUs would be enough for 17
        assert made.workers == min(8 + 2 * 64, 8 * 29)
    assert far(device="cpu").device_description() == ("ray", "cpu")


def test_the_smallest_gpu_of_a_cluster_says_how_many_share_one(cluster: FakeRay) -> None:
    cluster.add("small", cpus=16, gpus=1, cards=(Card("Tesla T4", int(16e9)),))
    assert far().workers == 9 * 3
    cluster.nodes_.pop()
    cluster.add("silent", cpus=16, gpus=1, accelerator="T4")  # its driver cannot be asked
    assert far().workers == min(152, 9 * 29)


def test_a_cluster_without_gpus_is_no_gpu_whatever_is_here(
    cluster: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster.nodes_[1:]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert far().device_description() == ("ray", "cpu")
    assert far().own_device == "cuda"
    with pytest.raises(
        InputError,
        match=r"^execution\.device=gpu: the Ray cluster at 10\.0\.0\.1:6379 has no GPU on its 1 n",
    ):
        far(device="gpu").device_description()


def test_latencies_are_those_of_the_nodes(cluster: FakeRay) -> None:
    assert far().machine(1) == "NVIDIA H200"
    cluster.add("three", cpus=8, gpus=1, accelerator="A100")
    with pytest.raises(
        InputError,
        match=r"^execution\.address=10\.0\.0\.1:6379: latencies of different machines .*: "
        r"A100 \(three\), NVIDIA H200 \(two\): use nodes of one kind",
    ):
        far().machine(1)
    assert far(device="cpu").machine(2) == "CPU of any, 2 thread(s)"


def test_a_node_that_does_not_answer_is_said(cluster: FakeRay) -> None:
    cluster.silent = True
    with pytest.raises(RunError, match="nodes of the Ray cluster cannot be asked for their GPUs"):
        far().machine(1)


def test_latencies_here_are_those_of_this_machine(gpus: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"latencies of different GPUs .*: Card 0, Card 1: use"):
        hardware().machine(1)
    assert hardware(device="gpu:1").machine(1) == "Card 1"
    assert hardware(device="cpu").machine(2) == f"{processor()}, 2 thread(s)"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Card 0", "Card 1"]),
        ("1,0", ["Card 1", "Card 0"]),
        ("1", ["Card 1"]),
        ("", []),
        ("0,7,1", ["Card 0"]),
        ("GPU-1", ["Card 1"]),
        ("MIG-GPU-0/1/2", ["MIG-GPU-0/1/2"]),
    ],
)
def test_gpus_are_counted_as_cuda_shows_them(
    gpus: dict[str, float], monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.name for card in cards()] == names
    assert [card.name for card in cards(everyone=True)] == ["Card 0", "Card 1"]


def test_without_nvml_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(name="MI300X", total_memory=192),
    )
    assert cards() == (Card("MI300X", 192),)


def test_a_gpu_is_taken_where_there_is_one(gpus: dict[str, float]) -> None:
    assert hardware().device_description() == ("ray", "gpu")
    assert hardware().device == hardware(device="gpu").device == "cuda"
    assert hardware(device="gpu:1").device == "cuda:1"
    assert hardware(device="cpu", workers=1).device_description() == ("local", "cpu")
    gpus["count"] = 0
    assert hardware(workers=1).device_description() == ("local", "cpu")


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
        hardware(device=asked).device_description()


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
        hardware(executor="rya").device_description()


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
