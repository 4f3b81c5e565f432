"""Classifies the error of a training as a kind of ``evonas.estimation.failure_kinds``."""

from __future__ import annotations

import errno
import re

import torch

from evonas.errors import EvonasError
from evonas.estimation.training.training import Diverged, NotANumber

#: Words of torch's messages where shapes of layers do not match.
_SHAPES = re.compile(r"\b(shapes?|sizes?|channels?|dimensions?)\b", re.IGNORECASE)
_MEMORY = re.compile(
    r"out of memory|(not enough|insufficient) memory|allocat.*memory|bad_alloc|unable to allocate",
    re.IGNORECASE,
)
_GPU = re.compile(r"CUDA|CUBLAS|CUDNN|HIP")
#: Errors after which a process cannot use the GPU any more.
_GPU_IN_ERROR = re.compile(r"CUDA( driver)? error|device-side assert|CUBLAS_STATUS|CUDNN_STATUS")
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


def kind_of(error: Exception) -> str:
    """Return the kind of failure of the error that a training ended with."""
    if isinstance(error, NotANumber):
        return "nan"
    if isinstance(error, Diverged):
        return "diverged"
    text = str(error)
    full = isinstance(error, MemoryError | torch.OutOfMemoryError) or _MEMORY.search(text)
    if full or "ALLOC_FAILED" in text:
        return "oom-gpu" if _GPU.search(text) else "oom-host"
    if _GPU_IN_ERROR.search(text):
        return "worker-death"
    if isinstance(error, OSError) and error.errno in _TOO_MANY_FILES:
        return "worker-death"
    fits_not = isinstance(error, RuntimeError | ValueError) and _SHAPES.search(text)
    return "invalid-shape" if fits_not or isinstance(error, EvonasError) else "exception"
