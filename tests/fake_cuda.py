"""A device that is not there, under torch's own ``cuda.graph``: who calls what, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor


class FakeGenerator:
    """Of random numbers; a broken capture leaves it capturing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def clone_state(self) -> FakeGenerator:
        return FakeGenerator("spare")

    def graphsafe_set_state(self, other: FakeGenerator) -> None:
        self.name = other.name


class FakeGraph:
    """A ``torch.cuda.CUDAGraph`` that holds nothing."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def capture_begin(self, *, capture_error_mode: str, **rest: object) -> None:
        self.cuda.called("begin " + capture_error_mode)

    def capture_end(self) -> None:
        self.cuda.called("end")
        if self.cuda.broken:
            raise RuntimeError("operation failed due to a previous error during capture")

    def replay(self) -> None:
        self.cuda.called("replay")


class FakeStream(str):
    """A stream by its name; one that is waited for is an event."""

    cuda: FakeCuda

    def record_event(self) -> str:
        self.cuda.called("event")
        return f"event of {self}"

    def wait_event(self, event: str) -> None:
        self.cuda.log.append(f"{self} waits for {event}")


class FakeCuda:
    """Puts itself in the place of what ``torch.cuda`` offers for captures.

    Args:
        patch: undoes that.
        broken: whether captures end with an error.

    Attributes:
        log: calls, each with the stream and whether waiting was forbidden.
        streams: the current one is the last.
    """

    def __init__(self, patch: pytest.MonkeyPatch, broken: bool = False) -> None:
        self.broken, self.log, self.streams = broken, [], ["main"]
        self.pinned: list[Tensor] = []
        self.generator = FakeGenerator("own")
        self.mode: int | str = 0
        stand_ins = {
            "CUDAGraph": lambda: FakeGraph(self),
            "Stream": lambda *device: self.named("side"),
            "current_stream": lambda *device: self.named(self.streams[-1]),
            "current_device": lambda: 0,
            "default_generators": (self.generator,),
            "device": lambda device: nullcontext(),
            "empty_cache": lambda: None,
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": lambda mode: setattr(self, "mode", mode),
            "stream": self.stream,
            "synchronize": lambda: self.called("wait"),
        }
        for name, stand_in in stand_ins.items():
            patch.setattr(torch.cuda, name, stand_in)
        patch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)

    def named(self, name: str) -> FakeStream:
        stream = FakeStream(name)
        stream.cuda = self
        return stream

    def transfers(self, patch: pytest.MonkeyPatch) -> None:
        """Note the copies of tensors, which stay where they are, as well."""

        def copy(tensor: Tensor, device: str, non_blocking: bool = False) -> Tensor:
            assert any(tensor is one for one in self.pinned)
            self.called(f"copy to {device}" + " | at once" * (not non_blocking))
            return tensor.clone()

        def pin(tensor: Tensor) -> Tensor:
            self.pinned.append(tensor)
            return tensor

        def keep(tensor: Tensor, stream: str) -> None:
            self.log.append(f"kept for {stream}")

        for name, stand_in in {"to": copy, "pin_memory": pin, "record_stream": keep}.items():
            patch.setattr(Tensor, name, stand_in)

    def called(self, what: str) -> None:
        self.log.append(f"{what} | {self.streams[-1]}" + " | no waiting" * (self.mode == "error"))

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        before = list(self.streams)
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams[:] = before


class FakeNvml:
    """The module ``pynvml`` of a machine with some GPUs of one size.

    Args:
        there: ``count`` and ``memory`` of them; read at every call.
    """

    NVMLError = RuntimeError

    def __init__(self, there: Mapping[str, float]) -> None:
        self._there = there

    def nvmlInit(self) -> None:
        if not self._there["count"]:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return int(self._there["count"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"Card {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle.replace("Card ", "GPU-") + "000-of-many"

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return handle.encode()  # as older versions answer

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=self._there["memory"])


def no_context(patch: pytest.MonkeyPatch) -> None:
    """Forbid what opens a CUDA context in this process."""

    def opens(*args: object, **rest: object) -> None:
        raise AssertionError("opens a CUDA context")

    for name in (
        *("init", "_lazy_init", "mem_get_info", "get_device_properties", "get_device_name"),
        *("get_device_capability", "current_device", "synchronize", "is_bf16_supported"),
    ):
        patch.setattr(torch.cuda, name, opens)
