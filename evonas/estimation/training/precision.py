"""Precision of computations on a device: ``training.precision``, and float32 without TF32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

#: Major compute capability from which a GPU has bfloat16; older ones emulate it, slowly.
_AMPERE = 8


def lower(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return a context in which networks compute in a ``training.precision``."""
    half = precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device))
    if not half:
        return nullcontext()
    # A cast weight that outlived a capture would go stale: a GPU keeps none.
    kept = device == "cpu"
    return torch.autocast(device.split(":")[0], torch.bfloat16, cache_enabled=kept)


def computes_bfloat16(device: str) -> bool:
    """Return whether a device is a GPU that computes in bfloat16 natively.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if device == "cpu":
        return False
    if torch.version.hip:  # AMD's GPUs that torch supports have it
        return True
    return torch.cuda.get_device_capability(device)[0] >= _AMPERE


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Compute in float32 on a GPU inside a ``with`` block, not in TF32 (10 bits of mantissa).

    torch uses TF32 in convolutions by default. The settings are restored afterwards.
    """
    with ExitStack() as stack:
        if device != "cpu":
            for read, write, value in _switches():
                if (before := read()) != value:
                    stack.callback(write, before)
                    write(value)
        yield


def _switches() -> list[tuple[Callable[[], Any], Callable[[Any], None], Any]]:
    """Return (getter, setter, value that forbids TF32) of each of torch's TF32 settings."""
    cudnn: Any = torch.backends.cudnn  # a module for type checkers, which has no ``conv``
    matmul = torch.backends.cuda.matmul
    try:
        # Reading raises where the process has set the newer ones below to different values.
        assert isinstance(cudnn.allow_tf32, bool)
        torch.get_float32_matmul_precision()
    except RuntimeError:
        parts: list[Any] = [cudnn.conv, cudnn.rnn, matmul]
        name = "fp32_precision"
        return [
            (partial(getattr, part, name), partial(setattr, part, name), "ieee") for part in parts
        ]
    return [
        (partial(getattr, cudnn, "allow_tf32"), partial(setattr, cudnn, "allow_tf32"), False),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    ]
