"""Utilisation of workers with batches of 4 and with windows of asks, simulated event by event.

python experiments/benchmarks/ask_window.py

Durations are drawn log-uniformly from 1 to 8, or are 1 or 8 with equal chance. The end, when
nothing is left to ask, counts. What windows cost in trainings: cost_prior.py --window.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from throughput_simulation import simulate, simulate_window

SPREAD, BATCH = 8.0, 4
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
LAWS: dict[str, Draw] = {
    "log-uniform": lambda rng, n: SPREAD ** rng.random(n),
    "1 or 8": lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, SPREAD),
}


def utilisations(
    draw: Draw, trainings: int, workers: int, windows: Sequence[int], repeats: int
) -> list[float]:
    """Return the mean utilisation in batches of 4, longest first, and with each window."""
    rows = []
    for seed in range(repeats):
        durations = draw(np.random.default_rng(seed), trainings).tolist()
        starts = range(0, trainings, BATCH)
        batches = [sorted(durations[n : n + BATCH], reverse=True) for n in starts]
        rows.append(
            [
                simulate(batches, workers).utilisation,
                *(simulate_window(durations, workers, size).utilisation for size in windows),
            ]
        )
    return [float(mean) for mean in np.mean(rows, axis=0)]


def main() -> None:
    """Print a table for each law of durations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--windows", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--trainings", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=200)
    args = parser.parse_args()
    titles = ["batches of 4", *(f"window {size}" for size in args.windows)]
    for law, draw in LAWS.items():
        print(f"\n| durations {law}, {args.trainings} trainings | {' | '.join(titles)} |")
        print(f"| {' | '.join(['---'] * (len(titles) + 1))} |")
        for workers in args.workers:
            means = utilisations(draw, args.trainings, workers, args.windows, args.repeats)
            cells = " | ".join(f"{100 * mean:.1f} %" for mean in means)
            print(f"| {workers} worker{'s' if workers > 1 else ''} | {cells} |")


if __name__ == "__main__":
    main()
