"""Strategies where the cost says nothing of the error, and on rugged tables of unordered genes.

python experiments/benchmarks/cost_prior.py nas_bench_macro_cifar10.csv --problems unrelated
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from replay import BEST_SHARE, TableProblem, run

from evonas.core import registry
from evonas.space import Architecture, Choice, Ordinal, SearchSpace

Array = NDArray[np.float64]


@dataclass
class MadeUp:
    """A table in memory: a value and a cost for each combination of the genes' values."""

    space: SearchSpace
    values: Array
    costs: Array

    def __post_init__(self) -> None:
        ranked = np.sort(self.values)
        self.threshold = float(ranked[max(int(BEST_SHARE * len(ranked)), 1) - 1])
        self.best, self.worst = float(ranked[0]), (float(ranked[-1]), float(self.costs.max()))
        self._shape = [len(gene.values) for gene in self.space.genes]

    def _at(self, architecture: Architecture) -> int:
        settings = architecture.settings
        place = [gene.values.index(settings[gene.name]) for gene in self.space.genes]
        return int(np.ravel_multi_index(place, self._shape))

    def cost(self, architecture: Architecture) -> int:
        """Return its cost."""
        return int(self.costs[self._at(architecture)])

    def value(self, architecture: Architecture) -> float:
        """Return its error."""
        return float(self.values[self._at(architecture)])

    def axes(self, architecture: Architecture) -> tuple[float, float]:
        """Return error and cost."""
        return self.value(architecture), float(self.cost(architecture))

    def told(self, architecture: Architecture, seed: int) -> float:
        """Return the error: there is no noise."""
        return self.value(architecture)


def unrelated(seed: int) -> MadeUp:
    """Six ordered genes of four values; the logarithm of the cost is a sum of its own."""
    rng, grid = np.random.default_rng([7, seed]), _grid(4, 6)
    main, weights = [rng.normal(0, 1, 4) for _ in range(6)], rng.uniform(0.5, 1.5, 6)
    pairs = [
        (i, j, rng.normal(0, 0.7, (4, 4)))
        for i, j in itertools.combinations(range(6), 2)
        if rng.random() < 0.5
    ]
    error = sum(weights[i] * main[i][grid[:, i]] for i in range(6))
    error = error + sum(table[grid[:, i], grid[:, j]] for i, j, table in pairs)
    error = error - error.mean()
    own = np.random.default_rng([5, seed]).uniform(0.2, 0.9, 6)
    return MadeUp(_space(Ordinal, 4, 6), np.log1p(np.exp(error)) + 0.1 * error, _costs(grid @ own))


def rugged(seed: int) -> MadeUp:
    """Six unordered genes of five values with strong interactions of every pair; equal costs."""
    rng, grid = np.random.default_rng([17, seed]), _grid(5, 6)
    error = sum(rng.normal(0, 1, 5)[grid[:, i]] for i in range(6))
    strength, further = ((0.7, 0.0), (1.0, 0.5), (1.0, 0.5))[seed % 3]
    for i, j in itertools.combinations(range(6), 2):
        error = error + rng.normal(0, strength, (5, 5))[grid[:, i], grid[:, j]]
    for _ in range(10):
        a, b, c = rng.choice(6, 3, replace=False)
        error = error + rng.normal(0, further, (5, 5, 5))[grid[:, a], grid[:, b], grid[:, c]]
    return MadeUp(_space(Choice, 5, 6), np.asarray(error), np.full(len(grid), 1e6))


def shuffled(path: Path) -> MadeUp:
    """The errors of a table, with its costs dealt out at random."""
    table = TableProblem(path)
    rows = [table.space.decode((np.array(at) + 0.5) / 3) for at in np.ndindex(*[3] * 8)]
    axes = np.array([table.axes(row) for row in rows])
    order = np.random.default_rng(0).permutation(len(axes))
    return MadeUp(table.space, axes[:, 0], axes[order, 1])


def main() -> None:
    """Print the median and mean number of trainings to the best 0.1 %."""
    made: dict[str, Callable[[Path], Sequence[Any]]] = {
        "table": lambda path: [TableProblem(path)],
        "shuffled": lambda path: [shuffled(path)],
        "unrelated": lambda path: [unrelated(40), unrelated(41)],
        "rugged": lambda path: [rugged(seed) for seed in range(3)],
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="CSV of NAS-Bench-Macro")
    parser.add_argument("--problems", nargs="+", choices=list(made), default=list(made))
    parser.add_argument("--strategy", default="surrogate")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--window", type=int, nargs="*", default=[], help="asks that wait, too")
    parser.add_argument("--designs", type=int, default=0, help="random networks that come first")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--budget", type=int, default=80)
    args = parser.parse_args()
    make = registry.load("optimizer", args.strategy)
    ways = [(f"batches of {size}", {"population_size": size}) for size in args.batch]
    ways += [(f"a window of {size}", {"window": size}) for size in args.window]
    for name, (way, own) in itertools.product(args.problems, ways):
        for number, problem in enumerate(made[name](args.table)):
            counts = []
            for seed in range(args.first_seed, args.first_seed + args.seeds):

                def sized(*words: Any, own: dict[str, int] = own, **options: Any) -> Any:
                    made = make(*words, **own, **options)
                    drawn = np.random.default_rng([23, options["seed"]])
                    made.enqueue(drawn.random((args.designs, made.space.dim)))
                    return made

                found = run(sized, problem, args.budget, seed, until=problem.threshold)
                counts.append(found.trainings_to(problem.threshold))
            mean = float(np.minimum(counts, args.budget).mean())
            print(
                f"{args.strategy} in {way}, {name} {number}: median {np.median(counts):g}, mean "
                f"{mean:.1f}, reached {np.isfinite(counts).mean():.0%}",
                flush=True,
            )


def _grid(values: int, genes: int) -> NDArray[np.intp]:
    return np.array(list(itertools.product(range(values), repeat=genes)), dtype=np.intp)


def _costs(logs: Array) -> Array:
    return np.asarray(np.maximum(np.exp(logs) * 1e6, 1.0))


def _space(kind: Any, values: int, genes: int) -> SearchSpace:
    return SearchSpace([kind(f"g{i}", list(range(values))) for i in range(genes)])


if __name__ == "__main__":
    main()
