"""In which precision networks compute: what ``training.precision`` comes to on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

#: Major compute capability from which a GPU has bfloat16; older ones emulate it, slowly.
_AMPERE = 8


def lower(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return a context in which networks compute as the settings' ``precision`` says."""
    half = precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device))
    if not half:
        return nullcontext()
    # A cast weight that outlived a capture would go stale: a GPU keeps none.
    kept = device == "cpu"
    return torch.autocast(device.split(":")[0], torch.bfloat16, cache_enabled=kept)


def computes_bfloat16(device: str) -> bool:
    """Whether a device is a GPU with arithmetic of its own for bfloat16.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; this very one is asked, not the current one.
    """
    if device == "cpu":
        return False
    if torch.version.hip:  # AMD's GPUs that torch supports have it
        return True
    return torch.cuda.get_device_capability(device)[0] >= _AMPERE


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Have float32 be float32 on a GPU, not TF32, whose fractions have 10 bits instead of 23.

    torch would take TF32 in convolutions. Afterwards the process is as it was.
    """
    with ExitStack() as stack:
        if device != "cpu":
            for read, write, value in _switches():
                if (before := read()) != value:
                    stack.callback(write, before)
                    write(value)
        yield


def _switches() -> list[tuple[Callable[[], Any], Callable[[Any], None], Any]]:
    """Return what reads and writes torch's permissions for TF32, and the value that forbids it."""
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
