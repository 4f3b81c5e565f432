"""Batches of cached feature maps, gathered by index without loader processes.

The feature maps of all views have one shape, so a batch is one gather, in one of three ways that
give the same batches:

- on a CPU from memory maps, whose pages all workers of a machine share;
- on a GPU from maps that were copied there once for all candidates of a worker, if they fit;
- otherwise by a thread that gathers the next batches in pinned memory during training.
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
#: Fraction of a GPU's memory for the maps of all its workers; the rest is for training.
SHARE = 0.5
#: Batches gathered ahead in pinned memory.
AHEAD = 4


@dataclass(frozen=True)
class TrainingData:
    """Cached feature maps of one tap, with targets.

    Attributes:
        maps: an (n, c, h, w) array per view; the first view is the plain one.
        targets: (n_views, n, k): the targets of each view, in the labels' units.
        train, validation: indices into n.
    """

    maps: Maps
    targets: Array
    train: Indices
    validation: Indices


class Source(Protocol):
    """Protocol of a source of batches."""

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield maps (b, c, h, w), 16-bit floats, and targets (b, k), on the device.

        Args:
            indices: (m,) images, in order.
            views: (m,) view of each image.
            size: of a batch; the last one may be smaller.
        """


class Mapped:
    """Gathers batches from memory maps, on a CPU."""

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
    """Gathers batches on the device, from maps that it holds there.

    Args:
        data: maps and targets.
        device: ``cuda`` or ``cuda:N``.
        held: the maps on the device, (views * n, c, h, w); None: copy them.
    """

    def __init__(self, data: TrainingData, device: str, held: Tensor | None = None) -> None:
        self._images = len(data.maps[0])
        self._device = device
        self.held = on_device(data.maps, device) if held is None else held
        self._targets = torch.from_numpy(data.targets.reshape(-1, data.targets.shape[-1]))
        self._targets = self._targets.to(device)

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches; see ``Source``. Only the indices are transferred, once an epoch."""
        rows = torch.from_numpy(views * self._images + indices).to(self._device)
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield self.held[chosen], self._targets[chosen]


class Streamed:
    """Gathers batches ahead in a thread, in pinned memory; see ``copied`` for the transfer."""

    def __init__(self, data: TrainingData, device: str) -> None:
        self._mapped, self._device = Mapped(data), device

    def batches(self, indices: Indices, views: Indices, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches; see ``Source``."""
        with closing(self._gathered(indices, views, size)) as gathered:
            yield from gathered if self._device == "cpu" else copied(gathered, self._device)

    def _gathered(
        self, indices: Indices, views: Indices, size: int
    ) -> Generator[tuple[Tensor, ...], None, None]:
        """Yield batches in host memory, gathered ahead."""
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
    """Yield batches on a GPU; each is copied while the previous one trains.

    Copies use a stream of their own, since on that of the training they would wait for its steps.

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
    """Make the current stream (not the host) wait for a copy; return the copied tensors."""
    training = torch.cuda.current_stream(device)
    training.wait_event(done)
    for part in parts:
        # else its memory could be reused while a step still reads it
        part.record_stream(training)
    return parts


class FeatureStore:
    """Keeps feature maps on a GPU for all candidates of one worker.

    Args:
        device: ``cpu`` or a GPU.
        sharers: number of workers on the device.
    """

    def __init__(self, device: str, sharers: int = 1) -> None:
        self._device, self._sharers = device, sharers
        self._held: dict[Hashable, Tensor] = {}

    def source(self, data: TrainingData, key: Hashable) -> Source:
        """Return the source of batches that suits the device and its free memory.

        Args:
            data: maps and targets.
            key: identifies the maps.
        """
        if self._device == "cpu":
            return Mapped(data)
        if key not in self._held:
            if not self._fits(data.maps):
                self._held.clear()  # maps of other taps
                torch.cuda.empty_cache()  # counts their memory as free
            if not self._fits(data.maps):
                return Streamed(data, self._device)
            self._held[key] = on_device(data.maps, self._device)
        return Resident(data, self._device, self._held[key])

    @property
    def kept(self) -> int:
        """Bytes of the maps on the device."""
        return sum(tensor.nbytes for tensor in self._held.values())

    def _fits(self, maps: Maps) -> bool:
        """Return whether maps fit on the device beside the memory for training."""
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
