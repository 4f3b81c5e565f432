"""Wherever maps lie, the batches are the same; what is shared is copied once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from evonas.estimation.training import batches
from evonas.estimation.training.batches import (
    FeatureStore,
    Mapped,
    Resident,
    Source,
    Streamed,
    TrainingData,
)

IMAGES, VIEWS = 23, 3


def made() -> TrainingData:
    """Maps that tell their view and image; targets that do as well."""
    image = np.arange(IMAGES, dtype=np.float32)[:, None]
    maps = [
        (100 * view + image[:, :, None, None] + np.zeros((1, 2, 3, 3))).astype(np.float16)
        for view in range(VIEWS)
    ]
    targets = np.stack([1000.0 * view + image for view in range(VIEWS)]).astype(np.float32)
    return TrainingData(maps, targets, np.arange(20), np.arange(20, IMAGES))


DATA = made()
SOURCES: dict[str, Callable[[], Source]] = {
    "mapped": lambda: Mapped(DATA),
    "resident": lambda: Resident(DATA, "cpu"),
    "streamed": lambda: Streamed(DATA, "cpu"),
}


def drawn(source: Source, rows: list[tuple[int, int]], size: int) -> list[tuple[Tensor, ...]]:
    indices = np.array([image for image, _ in rows], np.intp)
    views = np.array([view for _, view in rows], np.int64)
    return list(source.batches(indices, views, size))


@pytest.mark.parametrize("name", SOURCES)
@given(
    rows=st.lists(st.tuples(st.integers(0, IMAGES - 1), st.integers(0, VIEWS - 1)), max_size=40),
    size=st.integers(1, 12),
)
def test_every_source_gives_the_asked_images_in_order(
    name: str, rows: list[tuple[int, int]], size: int
) -> None:
    found = drawn(SOURCES[name](), rows, size)
    assert [len(maps) for maps, _ in found[:-1]] == [size] * max(len(found) - 1, 0)
    assert len(found) == -(-len(rows) // size)
    pairs = [pair for maps, targets in found for pair in zip(maps, targets, strict=True)]
    for (image, view), (maps, target) in zip(rows, pairs, strict=True):
        assert maps.dtype == torch.float16
        assert maps.shape == (2, 3, 3)
        assert (maps == 100 * view + image).all()
        assert target.tolist() == [1000 * view + image]


def test_what_goes_wrong_while_gathering_ahead_is_not_swallowed() -> None:
    with pytest.raises(IndexError):
        drawn(Streamed(DATA, "cpu"), [(0, 0), (IMAGES, 0)], 1)


def test_a_stream_that_nobody_reads_to_its_end_leaves_no_thread() -> None:
    stream = Streamed(DATA, "cpu").batches(np.arange(20), np.zeros(20, np.int64), 1)
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_a_copy_to_a_gpu_runs_beside_the_step_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stream of its own; the training's stream waits for it, the host never does."""
    cuda = FakeCuda(monkeypatch)
    cuda.transfers(monkeypatch)
    rows = [(image, image % VIEWS) for image in range(7)]
    indices, views = (np.array(part, np.int64) for part in zip(*rows, strict=True))
    found = []
    for batch in Streamed(DATA, "cuda:1").batches(indices, views, 3):
        cuda.called("step")
        found.append(batch)
    for one, other in zip(found, drawn(Mapped(DATA), rows, 3), strict=True):
        assert all(torch.equal(*parts) for parts in zip(one, other, strict=True))
    copy = ["copy to cuda:1 | side"] * 2 + ["event | side"]
    step = ["main waits for event of side", *["kept for main"] * 2, "step | main"]
    assert cuda.log == [*copy, *copy, *step, *copy, *step, *step]


def test_what_a_shelf_gives_up_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch keeps the memory of tensors that are gone until its cache is emptied."""
    size = sum(values.nbytes for values in DATA.maps)
    shelf, cached = FeatureStore("cuda"), 0

    def copy(maps: object, device: str) -> Tensor:
        nonlocal cached
        cached += size
        return torch.zeros(size, dtype=torch.int8)

    def empty() -> None:
        nonlocal cached
        cached = shelf.kept

    # Room for three taps, of which maps may take half: one.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size - cached, 3 * size))
    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    monkeypatch.setattr(batches, "on_device", copy)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: self)
    for key in ("one", "two", "three", "one"):
        assert isinstance(shelf.source(DATA, key), Resident)
        assert len(shelf._held) == 1


def test_a_shelf_copies_the_maps_of_a_tap_once(monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(values.nbytes for values in DATA.maps)
    memory = {"free": 100 * size, "total": 8 * size}  # two taps are half of it: a worker's share
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: tuple(memory.values()))
    shelf = FeatureStore("cpu", sharers=2)
    shelf._device = "meta"  # any but the CPU, where nothing is copied
    monkeypatch.setattr(
        batches, "on_device", lambda maps, device: torch.zeros(size, dtype=torch.int8)
    )
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: self)
    found = {}
    for key in ("one", "two", "one"):
        source = shelf.source(DATA, key)
        assert isinstance(source, Resident)
        assert found.setdefault(key, source.held) is source.held
    assert len(shelf._held) == 2
    large = replace(DATA, maps=DATA.maps * 3)
    assert isinstance(shelf.source(large, "large"), Streamed)
    again = shelf.source(DATA, "one")
    assert isinstance(again, Resident)
    assert again.held is not found["one"]  # it had made room
    memory["free"] = size - 1  # others have the rest
    assert isinstance(shelf.source(DATA, "two"), Streamed)


def test_on_a_cpu_maps_stay_where_all_workers_share_them() -> None:
    assert isinstance(FeatureStore("cpu").source(DATA, "x"), Mapped)
