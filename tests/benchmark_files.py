"""What the benchmarks' tests share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BENCHMARKS = Path(__file__).parents[1] / "experiments" / "benchmarks"


def write_table(
    path: Path, accuracy: Callable[[list[int]], Any], cost: Callable[[int, list[int]], int]
) -> Path:
    """A table of all 6561 architectures of 8 digits, with the columns of NAS-Bench-Macro.

    Args:
        path: of the CSV.
        accuracy: (3,) of single trainings, given the digits.
        cost: operations, given the number of the row and the digits.
    """
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch", "test_acc1", "test_acc2", "test_acc3", "mean_acc", "flops"])
        for number in range(3**8):
            arch = np.base_repr(number, 3).zfill(8)
            digits = [int(digit) for digit in arch]
            single = np.asarray(accuracy(digits)).round(3)
            writer.writerow([arch, *single, single.mean().round(4), cost(number, digits)])
    return path
