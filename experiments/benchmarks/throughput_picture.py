"""The picture of part d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw(path: Path, workers: Sequence[int], curves: Mapping[str, Sequence[float]]) -> None:
    """Draw utilisation against workers, one line a curve, into a small PNG.

    Args:
        path: of the picture.
        workers: of the points.
        curves: label -> utilisation at each number of workers, 0..1.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, values) in enumerate(curves.items()):
        axes.plot(
            workers, [100 * v for v in values], marker="osDv^<"[number % 6], ms=4, label=label
        )
    axes.axhline(95, color="gray", lw=0.8, ls=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [f"{n:,}" for n in workers], fontsize=8)
    axes.set_ylim(0, 102)
    axes.set_xlabel("workers")
    axes.set_ylabel("utilisation, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)
