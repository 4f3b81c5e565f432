"""Kinds of failure: each is told from the others, documented, and acted on."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from evonas.errors import InputError
from evonas.estimation.failure_classifier import kind_of
from evonas.estimation.failure_kinds import KINDS
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import Diverged, NotANumber

ROOT = Path(__file__).parents[2]


def raised(call: object) -> Exception:
    with pytest.raises(Exception) as found:  # whatever torch raises
        call()  # type: ignore[operator]
    return found.value


MAP = torch.zeros(2, 3, 4, 4)
SHAPES = {
    "channels": lambda: nn.Conv2d(5, 8, 3)(MAP),
    "kernel larger than the map": lambda: nn.Conv2d(3, 8, 7)(MAP),
    "features of a linear layer": lambda: nn.Linear(7, 2)(MAP.flatten(1)),
    "a sum of two widths": lambda: MAP + torch.zeros(2, 5, 4, 4),
    "a batch norm of one value": lambda: nn.BatchNorm1d(3)(torch.zeros(1, 3)),
    "a pooling to nothing": lambda: nn.MaxPool2d(8)(MAP),
    "a view": lambda: MAP.view(7, 7),
}


@pytest.mark.parametrize("call", SHAPES.values(), ids=SHAPES)
def test_layers_that_do_not_fit_are_known_by_what_torch_says(call: object) -> None:
    assert kind_of(raised(call)) == "invalid-shape"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotANumber("x"), "nan"),
        (Diverged("x"), "diverged"),
        (MemoryError(), "oom-host"),
        (RuntimeError("std::bad_alloc"), "oom-host"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom-host"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), "oom-gpu"),
        (RuntimeError("CUDA error: out of memory"), "oom-gpu"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "oom-gpu"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "worker-death"),
        (RuntimeError("CUDA error: device-side assert triggered"), "worker-death"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "worker-death"),
        (OSError(errno.EMFILE, "Too many open files"), "worker-death"),
        (OSError(errno.ENFILE, "Too many open files in system"), "worker-death"),
        (OSError(errno.ENOENT, "No such file"), "exception"),
        (RuntimeError("unsupported memory format option"), "exception"),
        (InputError("width: expected 1 or more, got 0"), "invalid-shape"),
        (KeyError("size"), "exception"),
        (ZeroDivisionError(), "exception"),
    ],
)
def test_an_error_has_its_kind(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_memory_that_the_machine_has_not() -> None:
    assert kind_of(raised(lambda: torch.empty(2**48))) == "oom-host"


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of nan, diverged, .*got 'oops'"):
        Measurement.failure("oops", "it did")


def test_the_documentation_has_every_kind_with_its_tries() -> None:
    text = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| (\d)", text, re.MULTILINE)
    assert [(name, int(tries)) for name, tries in rows] == [
        (name, kind.tries) for name, kind in KINDS.items()
    ]
