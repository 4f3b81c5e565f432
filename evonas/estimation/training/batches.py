"""Batches of cached maps, drawn by index, from wherever the maps lie.

There is no loader with processes and queues between: maps of all views are arrays of one
shape, so a batch is one gather. Where they lie is decided once a training:

- on a CPU they stay memory-mapped, in the pages that all workers of a machine share;
- on a GPU they are copied there whole where they fit, once for all candidates of a worker;
- where they do not fit, a thread gathers the next batches in pinned memory while the
  present one trains.

All three give the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evonas.core.array_types import Array

Indices = NDArray[np.intp]
Maps = list[NDArray[np.float16]]
#: Share of a GPU's memory that maps may take, of all workers on it; the rest is for training.
SHARE = 0.5
#: Batches that wait in pinned memory.
AHEAD = 4


@dataclass(frozen=True)
class TrainingData:
    """The cached maps of one tap, with targets.

    Attributes:
        maps: one (n, c, h, w) array a view; the first view is the plain one.
        targets: (n_views, n, k): the targets of each view, in the labels' units.
        train, validation: indices into n.
    """

    maps: Maps
    targets: Array
    train: Indices
    validation: Indices


class Source(Protocol):
    """Where batches come from."""

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield maps (b, c, h, w), 16-bit floats, and targets (b, k), on the device.

        Args:
            indices: (m,) of images, in order.
            views: (m,) of each image.
            size: of a batch; the last one is smaller if m is no multiple.
        """


class Mapped:
    """Gathers from memory maps; for CPUs."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def gather(self, indices: Indices, views: Indices) -> tuple[Tensor, Tensor]:
        """Return maps (b, c, h, w), 16-bit floats, and targets (b, k)."""
        maps = self._data.maps
        out = np.empty((len(indices), *maps[0].shape[1:]), np.float16)
        for view in np.flatnonzero(np.bincount(views, minlength=len(maps))):
            rows = np.flatnonzero(views == view)
            out[rows] = maps[view][indices[rows]]
        return torch.from_numpy(out), torch.from_numpy(self._data.targets[views, indices])

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches; see ``Source``."""
        for start in range(0, len(indices), size):
            chosen = slice(start, start + size)
            yield self.gather(indices[chosen], views[chosen])


class Resident:
    """Holds all maps on the device; batches are gathered there, without a transfer.

    Args:
        data: maps and targets.
        device: where they are put.
        held: maps of the same data that are on the device already, (views * n, c, h, w).
    """

    def __init__(self, data: TrainingData, device: str, held: Tensor | None = None) -> None:
        self._images = len(data.maps[0])
        self._device = device
        self.held = on_device(data.maps, device) if held is None else held
        self._targets = torch.from_numpy(data.targets.reshape(-1, data.targets.shape[-1]))
        self._targets = self._targets.to(device)

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches; see ``Source``. One small transfer an epoch: the indices."""
        rows = torch.from_numpy(views * self._images + indices).to(self._device)
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield self.held[chosen], self._targets[chosen]


class Streamed:
    """Gathers ahead in a thread, in pinned memory; copies overlap with training, see ``copied``."""

    def __init__(self, data: TrainingData, device: str) -> None:
        self._mapped, self._device = Mapped(data), device

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches; see ``Source``."""
        with closing(self._gathered(indices, views, size)) as gathered:
            yield from gathered if self._device == "cpu" else copied(gathered, self._device)

    def _gathered(
        self, indices: Indices, views: Indices, size: int
    ) -> Generator[tuple[Tensor, ...], None, None]:
        """Yield batches that lie in memory of the host, gathered before they are asked for."""
        waiting: deque[Future[tuple[Tensor, ...]]] = deque()
        with ThreadPoolExecutor(1) as pool:
            for start in range(0, len(indices), size):
                chosen = slice(start, start + size)
                waiting.append(pool.submit(self._gather, indices[chosen], views[chosen]))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _gather(self, indices: Indices, views: Indices) -> tuple[Tensor, ...]:
        batch = self._mapped.gather(indices, views)
        return batch if self._device == "cpu" else tuple(part.pin_memory() for part in batch)


def copied(batches: Iterable[tuple[Tensor, ...]], device: str) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches on a GPU, each of which is copied there while the one before it trains.

    The copies have a stream of their own: on that of the training they would wait for the steps
    before them, and hold up those behind.

    Args:
        batches: in pinned memory.
        device: ``cuda`` or ``cuda:N``.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ready: deque[tuple[tuple[Tensor, ...], torch.cuda.Event]] = deque()
    for batch in batches:
        with torch.cuda.stream(stream):
            parts = tuple(part.to(device, non_blocking=True) for part in batch)
            ready.append((parts, stream.record_event()))
        if len(ready) > 1:
            yield _arrived(*ready.popleft(), device)
    while ready:
        yield _arrived(*ready.popleft(), device)


def _arrived(parts: tuple[Tensor, ...], done: torch.cuda.Event, device: str) -> tuple[Tensor, ...]:
    """Have the present stream, not the host, wait for a copy; return what was copied."""
    training = torch.cuda.current_stream(device)
    training.wait_event(done)
    for part in parts:
        # or the next copy could be given its memory while a step still reads it
        part.record_stream(training)
    return parts


class FeatureStore:
    """Keeps on a device what the candidates of one worker share.

    Args:
        device: ``cpu`` or a GPU.
        sharers: workers that have the device together.
    """

    def __init__(self, device: str, sharers: int = 1) -> None:
        self._device, self._sharers = device, sharers
        self._held: dict[Hashable, Tensor] = {}

    def source(self, data: TrainingData, key: Hashable) -> Source:
        """Return where batches come from.

        Args:
            data: maps and targets.
            key: the same for the same maps.
        """
        if self._device == "cpu":
            return Mapped(data)
        if key not in self._held:
            if not self._fits(data.maps):
                self._held.clear()  # other taps', which may come again or not
                torch.cuda.empty_cache()  # else their memory would not count as free
            if not self._fits(data.maps):
                return Streamed(data, self._device)
            self._held[key] = on_device(data.maps, self._device)
        return Resident(data, self._device, self._held[key])

    @property
    def kept(self) -> int:
        """Bytes of the maps that it keeps on the device."""
        return sum(tensor.nbytes for tensor in self._held.values())

    def _fits(self, maps: Maps) -> bool:
        """Whether maps may lie on the device while networks train beside them."""
        free, total = torch.cuda.mem_get_info(self._device)
        new = sum(values.nbytes for values in maps)
        return new <= free and self.kept + new <= SHARE * total / self._sharers


def on_device(maps: Maps, device: str) -> Tensor:
    """Return the maps of all views on a device, (views * n, c, h, w), 16-bit floats."""
    images, views = len(maps[0]), len(maps)
    held = torch.empty((views * images, *maps[0].shape[1:]), dtype=torch.float16, device=device)
    for view, values in enumerate(maps):
        for start in range(0, images, 1024):
            block = torch.from_numpy(np.array(values[start : start + 1024]))
            held[view * images + start :][: len(block)] = block.to(device)
    return held
