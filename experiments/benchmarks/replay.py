"""Problems whose every answer is known at once, to compare search strategies on.

``table``: NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922), 6561 trained networks of
8 layers with 3 choices each, from its CSV. ``synthetic``: a rugged function of the 13
genes of ``head_pose_nas_2020`` with main effects, interactions of two and three genes,
its real multiply-adds, and noise.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evonas import config, registry
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture, SearchSpace

TARGET_FLOPS, WEIGHT = 70e6, 0.06
BEST_SHARE = 0.001  # of all architectures: the best that a search is to reach


class Problem(Protocol):
    """A space with the truth about it.

    Attributes:
        space: what is searched.
        threshold: value that the best 0.1 % of the space reach.
        best: the lowest value there is (or was found by sampling).
        worst: the highest error and the highest cost there are (or were found by sampling).
    """

    space: SearchSpace
    threshold: float
    best: float
    worst: tuple[float, float]

    def cost(self, architecture: Architecture) -> int:
        """Return its exact cost in multiply-adds, as a strategy may know it."""

    def value(self, architecture: Architecture) -> float:
        """Return what counts: the objective at its mean over training seeds."""

    def axes(self, architecture: Architecture) -> tuple[float, float]:
        """Return what a front trades off, each smaller is better: error and cost."""

    def told(self, architecture: Architecture, seed: int) -> float:
        """Return the objective of a single training, as the noisy protocol tells it."""


@dataclass(frozen=True)
class TableProblem:
    """NAS-Bench-Macro: (100 - accuracy) x max(1, FLOPs / 70 M)^0.06, minimised.

    Args:
        path: CSV with arch (8 digits of 0..2), test_acc1, test_acc2, test_acc3,
            mean_acc, flops.
    """

    path: Path
    space: SearchSpace = field(
        default_factory=lambda: SearchSpace.from_dict(
            {
                "name": "nas_bench_macro",
                "network": "nas_bench_macro",
                "genes": [
                    {"name": f"layer{k}", "kind": "ordinal", "choices": [0, 1, 2]} for k in range(8)
                ],
            }
        )
    )

    @cached_property
    def _rows(self) -> dict[str, tuple[NDArray[np.float64], float, int]]:
        found = {}
        with self.path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                single = np.array([float(row[f"test_acc{k}"]) for k in (1, 2, 3)])
                found[row["arch"]] = (single, float(row["mean_acc"]), int(row["flops"]))
        return found

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return np.sort([_objective(mean, flops) for _, mean, flops in self._rows.values()])

    @property
    def threshold(self) -> float:
        """Value of the last of the best 0.1 % (6 of 6561)."""
        return float(self._values[max(int(BEST_SHARE * len(self._values)), 1) - 1])

    @property
    def best(self) -> float:
        """The lowest value."""
        return float(self._values[0])

    @property
    def worst(self) -> tuple[float, float]:
        """The highest error and the highest cost."""
        error, cost = self.every().max(axis=0)
        return float(error), float(cost)

    def cost(self, architecture: Architecture) -> int:
        """Return the table's operations."""
        return self._rows[_key(architecture)][2]

    def value(self, architecture: Architecture) -> float:
        """Return the objective at the mean accuracy."""
        _, mean, flops = self._rows[_key(architecture)]
        return _objective(mean, flops)

    def axes(self, architecture: Architecture) -> tuple[float, float]:
        """Return 100 - mean accuracy in percent, and the table's operations."""
        _, mean, flops = self._rows[_key(architecture)]
        return 100.0 - mean, float(flops)

    def every(self) -> NDArray[np.float64]:
        """Return the (6561, 2) axes of the whole table."""
        return np.array([(100.0 - mean, flops) for _, mean, flops in self._rows.values()])

    def told(self, architecture: Architecture, seed: int) -> float:
        """Return the objective at one training's accuracy; ``seed`` says which."""
        single, _, flops = self._rows[_key(architecture)]
        return _objective(float(single[_mix(architecture, seed) % 3]), flops)


class SyntheticProblem:
    """13 genes, 11.9 million architectures; error falls with cost, weakly or strongly.

    Args:
        seed: of the landscape.
        strength: how much of the variance follows from the cost.
        noise: standard deviation of one training around the value, degrees.
    """

    def __init__(self, seed: int = 0, strength: float = 1.0, noise: float = 0.15) -> None:
        self.space = SearchSpace.from_file(config.find("search_spaces", "head_pose_nas_2020"))
        self._family = registry.load("network", "head_pose_nas_2020")()
        self._noise, self._strength = noise, strength
        rng = np.random.default_rng([991, seed])
        sizes = [len(gene.values) for gene in self.space.genes]
        ordinal = [gene.kind == "ordinal" for gene in self.space.genes]
        self._main = [
            np.cumsum(rng.normal(0, 0.35, n)) * 0.6 if o else rng.normal(0, 0.45, n)
            for n, o in zip(sizes, ordinal, strict=True)
        ]
        pairs = [(i, i + 6) for i in range(6)] + [(i, i + 1) for i in range(5)]
        triples = [tuple(rng.choice(13, 3, replace=False).tolist()) for _ in range(4)]
        self._together = [
            (genes, rng.normal(0, 0.3 / len(genes) ** 0.5, [sizes[g] for g in genes]))
            for genes in [*pairs, *triples]
        ]
        points = np.random.default_rng([992, seed]).random((40_000, self.space.dim))
        axes = [self.axes(self.space.decode(point)) for point in points]
        values = np.sort([_penalised(error, cost) for error, cost in axes])
        self.threshold = float(values[int(BEST_SHARE * len(values)) - 1])
        self.best = float(values[0])
        self.worst = (max(error for error, _ in axes), max(cost for _, cost in axes))

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds on a 128 x 8 x 8 map."""
        macs: int = self._family.macs(architecture, (128, 8, 8), 3)
        return macs

    def value(self, architecture: Architecture) -> float:
        """Return degrees x max(1, FLOPs / 10 M)^0.06."""
        return _penalised(*self.axes(architecture))

    def axes(self, architecture: Architecture) -> tuple[float, float]:
        """Return degrees, without the penalty on cost, and multiply-adds."""
        at = [gene.values.index(architecture.settings[gene.name]) for gene in self.space.genes]
        cost = self.cost(architecture)
        error = 9.0 + sum(effect[k] for effect, k in zip(self._main, at, strict=True))
        error += sum(table[tuple(at[g] for g in genes)] for genes, table in self._together)
        error -= self._strength * (np.log10(cost) - 6.0)
        return float(max(error, 1.0)), float(cost)

    def told(self, architecture: Architecture, seed: int) -> float:
        """Return the value with a training's noise."""
        rng = np.random.default_rng([_mix(architecture, seed), 5])
        return self.value(architecture) + self._noise * float(rng.standard_normal())


@dataclass(frozen=True)
class Trace:
    """What a search met: the true value of each new architecture, in the order of training."""

    values: NDArray[np.float64]

    def trainings_to(self, threshold: float) -> float:
        """Return how many trainings it took to reach a value; inf if it never did."""
        there = np.flatnonzero(self.values <= threshold)
        return float(there[0] + 1) if len(there) else float("inf")

    def regret(self, budget: int, best: float) -> float:
        """Return how far what is believed best after ``budget`` trainings is from the best."""
        return float(self.values[:budget][-1] - best)


def run(
    make: Callable[..., Optimizer], problem: Problem, budget: int, seed: int, noisy: bool = False
) -> Trace:
    """Drive an ask/tell strategy of evonas on a problem; repeats cost nothing.

    With ``noisy`` the winner that is followed is the one that the search believes in.
    """
    optimizer = make(problem.space, budget=budget, seed=seed, macs=problem.cost)
    met: dict[str, tuple[float, float]] = {}  # digest -> what was told, and the truth
    while len(genomes := optimizer.ask()):
        told = []
        for genome in genomes:
            architecture = problem.space.decode(genome)
            if architecture.digest not in met:
                truth = problem.value(architecture)
                seen = problem.told(architecture, seed) if noisy else truth
                met[architecture.digest] = (seen, truth)
            told.append(met[architecture.digest][0])
        optimizer.tell(told)
    return trace(list(met.values()))


def run_front(
    make: Callable[..., Optimizer], problem: Problem, budget: int, seed: int
) -> NDArray[np.float64]:
    """Drive a strategy of evonas; return (n, 2) error and cost in the order of training.

    It is told the objective and the axes, and heeds what it can.
    """
    optimizer = make(problem.space, budget=budget, seed=seed, macs=problem.cost)
    met: dict[str, tuple[float, float]] = {}
    while len(genomes := optimizer.ask()):
        asked = [problem.space.decode(genome) for genome in genomes]
        for architecture in asked:
            if architecture.digest not in met:
                met[architecture.digest] = problem.axes(architecture)
        axes = [met[architecture.digest] for architecture in asked]
        optimizer.tell([problem.value(architecture) for architecture in asked], axes)
    return np.array(list(met.values()))


def trace(met: list[tuple[float, float]]) -> Trace:
    """Return the truth about whatever had been told the lowest value so far."""
    followed, lowest, kept = [], float("inf"), float("inf")
    for seen, truth in met:
        if seen < lowest:
            lowest, kept = seen, truth
        followed.append(kept)
    return Trace(np.array(followed))


def _objective(accuracy: float, flops: float) -> float:
    return float((100.0 - accuracy) * max(1.0, flops / TARGET_FLOPS) ** WEIGHT)


def _penalised(error: float, cost: float) -> float:
    return float(error * max(1.0, 2 * cost / 10e6) ** WEIGHT)


def _key(architecture: Architecture) -> str:
    return "".join(str(architecture.settings[f"layer{k}"]) for k in range(8))


def _mix(architecture: Architecture, seed: int) -> int:
    return (int(architecture.digest[:12], 16) ^ (seed * 2654435761)) & 0x7FFFFFFF
