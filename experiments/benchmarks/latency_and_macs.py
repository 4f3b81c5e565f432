"""Whether multiply-adds rank networks as their latency does, and how steady a latency is.

python experiments/benchmarks/latency_and_macs.py RUN

RUN is a search with objective.cost=latency, or with latency as an axis. Its networks are
measured again, in rounds and in another order each, as the search did but without what it kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from evonas.api.resuming import stored
from evonas.estimation.cost.latency_cache import Timing, machine
from evonas.runs.run_store import read_journal
from evonas.space import Architecture
from evonas.workflows.components import Components

ROUNDS = 5


def main() -> None:
    """Print the rank correlations of a run's networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    components = Components(stored(args.run, []))
    trials = [trial for trial in read_journal(args.run) if trial.status == "ok"]
    threads, outputs = components.experiment.objective.latency_threads, components.task.n_outputs
    timing, rng = Timing(threads=threads), np.random.default_rng(0)
    again = np.empty((ROUNDS, len(trials)))
    for turn in range(ROUNDS):
        for number in rng.permutation(len(trials)):
            architecture = Architecture.from_dict(trials[number].architecture)
            shape = components.shape(architecture)
            module = components.family(architecture).build(architecture, shape, outputs)
            again[turn, number] = timing(architecture, module, shape, outputs, "cpu").ms
    searched = np.array([trial.latency for trial in trials])
    noise = np.array([trial.latency_noise for trial in trials])
    macs = np.array([trial.macs for trial in trials])
    middle = np.median(again, axis=0)
    spread = np.std(again, axis=0, ddof=1) / middle
    print(f"{len(trials)} networks, {machine('cpu', threads)}")
    print(
        f"latency {searched.min():.3f} to {searched.max():.3f} ms, macs {macs.min()}-{macs.max()}"
    )
    print(f"noise of passes: median {np.median(noise):.1%}, highest {noise.max():.1%}")
    print(f"sd of {ROUNDS} rounds: median {np.median(spread):.1%}, highest {spread.max():.1%}")
    print(f"searched / median of the rounds: {_range(searched / middle)}")
    print(f"rank correlation, searched and measured again: {_rank(searched, middle):.2f}")
    between = [_rank(a, b) for n, a in enumerate(again) for b in again[:n]]
    print(f"rank correlation between rounds: {min(between):.2f} to {max(between):.2f}")
    for name, values in (("macs", macs), ("params", np.array([t.params for t in trials]))):
        print(
            f"rank correlation, {name} and latency: {_rank(values, searched):.2f} as searched, "
            f"{_rank(values, middle):.2f} measured again"
        )


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)


def _range(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, (0, 50, 100))
    return f"{low:.2f} to {high:.2f}, median {middle:.2f}"


if __name__ == "__main__":
    main()
