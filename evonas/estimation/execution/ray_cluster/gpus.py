"""GPUs of this machine as described by their driver (NVML), without a CUDA context.

torch needs a context even for the name of a GPU: half a gigabyte that the search does not use,
and on a GPU in exclusive mode no worker could open another.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        name: of its model, such as ``NVIDIA H200``.
        memory: bytes.
    """

    name: str
    memory: int


def cards(everyone: bool = False) -> tuple[Card, ...]:
    """Return the GPUs that this process may use, by number.

    Args:
        everyone: include GPUs that ``CUDA_VISIBLE_DEVICES`` hides from this process.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no such library, or no driver of NVIDIA's: torch knows other makes too
        return _by_torch()
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        visible = None if everyone else os.environ.get("CUDA_VISIBLE_DEVICES")
        chosen = handles if visible is None else _chosen(pynvml, handles, visible)
        return tuple(_card(pynvml, handle) for handle in chosen)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _chosen(nvml: Any, handles: list[Any], visible: str) -> list[Any]:
    """Return the GPUs that a value of ``CUDA_VISIBLE_DEVICES`` names, by number or by UUID."""
    found = []
    for word in filter(None, map(str.strip, visible.split(","))):
        if word.isdecimal() and int(word) < len(handles):
            found.append(handles[int(word)])
        elif word.startswith("MIG-"):
            found.append(nvml.nvmlDeviceGetHandleByUUID(word))
        elif named := [h for h in handles if _text(nvml.nvmlDeviceGetUUID(h)).startswith(word)]:
            found.append(named[0])
        else:
            break  # as in CUDA, entries behind an invalid one are ignored
    return found


def _card(nvml: Any, handle: Any) -> Card:
    return Card(
        _text(nvml.nvmlDeviceGetName(handle)), int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _by_torch() -> tuple[Card, ...]:
    if not torch.cuda.is_available():
        return ()
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Card(one.name, one.total_memory) for one in found)
