"""Problems whose every answer is known at once, to compare search strategies on.

``table``: NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922), 6561 trained networks of
8 layers with 3 choices each, from its CSV; or any other table with all its combinations.
``synthetic``: a rugged function of the 13 genes of ``head_pose_nas_2020`` with main effects,
interactions of two and three genes, its real multiply-adds, and noise.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.settings import TableSettings
from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture, SearchSpace
from evonas.workflows.result_table import Table

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
class Columns:
    """What the columns of a table mean; those of NAS-Bench-Macro, unless told otherwise.

    Attributes:
        digits: column of words, each character of which is a gene; or:
        genes: columns that are a gene each.
        accuracy: column in percent, the mean over trainings; or:
        error: column of what is minimised, the same.
        single: columns of single trainings, for the noisy protocol; may be empty.
        cost: column of operations.
        unordered: whether values of genes are mere names.
        target: operations that are not penalised.
    """

    digits: str = "arch"
    genes: tuple[str, ...] = ()
    accuracy: str = "mean_acc"
    error: str = ""
    single: tuple[str, ...] = ("test_acc1", "test_acc2", "test_acc3")
    cost: str = "flops"
    unordered: bool = False
    target: float = TARGET_FLOPS

    def settings(self, path: Path, single: str = "") -> TableSettings:
        """Return how to read the mean, or one column of single trainings."""
        result = {"error": single or self.error} if self.error else {}
        return TableSettings.model_validate(
            {
                "file": str(path),
                **({"genes": self.genes} if self.genes else {"digits": self.digits}),
                **(result or {"accuracy": single or self.accuracy}),
                "cost": self.cost,
                "cost_in": "macs",  # taken as they stand
                "unordered": self.unordered,
            }
        )


class TableProblem:
    """error x max(1, cost / target)^0.06, minimised, over all rows of a table.

    Args:
        path: CSV with a row for every combination of its genes' values.
        columns: what is what.

    Raises:
        InputError: the file or a column is missing, or a combination is.
    """

    def __init__(self, path: Path, columns: Columns = Columns()) -> None:
        self._columns = columns
        self._table = Table(columns.settings(path))
        self._single = [Table(columns.settings(path, name)) for name in columns.single]
        self.space = self._table.space
        if len(self._table) != self.space.size:
            raise InputError(
                f"{path}: expected all {self.space.size:.0f} combinations of its genes' values, "
                f"got {len(self._table)}"
            )
        values = np.array([self._objective(error, cost) for error, cost in self.every()])
        values.sort()
        self.threshold = float(values[max(int(BEST_SHARE * len(values)), 1) - 1])
        self.best = float(values[0])
        error, cost = self.every().max(axis=0)
        self.worst = (float(error), float(cost))

    @property
    def noisy(self) -> bool:
        """Whether single trainings are known."""
        return bool(self._single)

    def cost(self, architecture: Architecture) -> int:
        """Return the table's operations."""
        return self._table.cost(architecture)

    def value(self, architecture: Architecture) -> float:
        """Return the objective at the mean over trainings."""
        return self._objective(*self.axes(architecture))

    def axes(self, architecture: Architecture) -> tuple[float, float]:
        """Return the mean error and the table's operations."""
        found = self._table.measure(architecture)
        return found.metrics["error"], float(found.macs)

    def every(self) -> NDArray[np.float64]:
        """Return the (n, 2) axes of the whole table."""
        return np.array([(row.error, row.macs) for row in self._table.rows()])

    def told(self, architecture: Architecture, seed: int) -> float:
        """Return the objective at one training's error; ``seed`` says which."""
        table = self._single[_mix(architecture, seed) % len(self._single)]
        found = table.measure(architecture)
        return self._objective(found.metrics["error"], float(found.macs))

    def _objective(self, error: float, cost: float) -> float:
        return float(error * max(1.0, cost / self._columns.target) ** WEIGHT)


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
        """Return degrees x max(1, multiply-adds / 5 M)^0.06."""
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
    make: Callable[..., Optimizer],
    problem: Problem,
    budget: int,
    seed: int,
    noisy: bool = False,
    until: float = -np.inf,
) -> Trace:
    """Drive an ask/tell strategy of evonas on a problem; repeats cost nothing.

    With ``noisy`` the winner that is followed is the one that the search believes in. A strategy
    with a window is told as late as it may be. The search ends when a value of ``until`` is met.
    """
    optimizer = make(problem.space, budget=budget, seed=seed, macs=problem.cost)
    met: dict[str, tuple[float, float]] = {}  # digest -> what was told, and the truth
    waiting: deque[list[float]] = deque()
    while len(genomes := optimizer.ask()):
        told = []
        for genome in genomes:
            architecture = problem.space.decode(genome)
            if architecture.digest not in met:
                truth = problem.value(architecture)
                seen = problem.told(architecture, seed) if noisy else truth
                met[architecture.digest] = (seen, truth)
            told.append(met[architecture.digest][0])
        if min(truth for _, truth in met.values()) <= until:
            break
        waiting.append(told)
        if len(waiting) >= max(optimizer.window, 1):
            optimizer.tell(waiting.popleft())
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


@dataclass(frozen=True)
class Source:
    """Where a problem comes from: a table, or, where there is none, a synthetic landscape."""

    table: Path | None = None
    columns: Columns = Columns()
    landscape: int = 0

    @property
    def label(self) -> str:
        """What its lines are called; another content, or reading, is another label."""
        if self.table is None:
            return f"synthetic-{self.landscape}" if self.landscape else "synthetic"
        reading = b"" if self.columns == Columns() else repr(self.columns).encode()
        mark = hashlib.sha256(self.table.read_bytes() + reading).hexdigest()[:6]
        return f"{self.table.stem}-{mark}"


@lru_cache(maxsize=4)
def problem_of(source: Source) -> Problem:
    """Return a problem, built once a process.

    Raises:
        InputError: the table is missing, or not whole.
    """
    if source.table is None:
        return SyntheticProblem(source.landscape)
    return TableProblem(source.table, source.columns)


def add_problem_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which problems to run on, and how to read a table."""
    plain, kinds = Columns(), ["table", "synthetic"]
    parser.add_argument("--table", type=Path, help="CSV of all combinations of genes' values")
    parser.add_argument("--problems", nargs="+", choices=kinds, default=kinds)
    parser.add_argument(
        "--digits", default=plain.digits, help="column of words, a gene a character"
    )
    parser.add_argument("--genes", nargs="+", default=[], help="columns of genes, instead")
    parser.add_argument("--accuracy", default=plain.accuracy, help="column in percent, the mean")
    parser.add_argument("--error", default="", help="column of what is minimised, instead")
    parser.add_argument(
        "--single", nargs="*", default=list(plain.single), help="columns of single trainings"
    )
    parser.add_argument("--cost", default=plain.cost, help="column of operations")
    parser.add_argument("--unordered", action="store_true", help="values of genes are mere names")
    parser.add_argument("--target", type=float, default=plain.target, help="operations unpenalised")
    parser.add_argument("--landscape", type=int, default=0, help="seed of the synthetic problem")


def sources(args: argparse.Namespace) -> list[Source]:
    """Return what the arguments ask for, each problem known to be usable.

    Raises:
        InputError: a table is asked for and none is named, or it cannot be used.
    """
    found = []
    for problem in args.problems:
        source = Source(landscape=args.landscape)
        if problem == "table":
            if args.table is None:
                raise InputError("--problems table needs --table CSV")
            columns = Columns(
                digits=args.digits,
                genes=tuple(args.genes),
                accuracy=args.accuracy,
                error=args.error,
                single=tuple(args.single),
                cost=args.cost,
                unordered=args.unordered,
                target=args.target,
            )
            source = Source(args.table.expanduser().absolute(), columns)
            problem_of(source)
        found.append(source)
    return found


def _penalised(error: float, cost: float) -> float:
    return float(error * max(1.0, 2 * cost / 10e6) ** WEIGHT)


def _mix(architecture: Architecture, seed: int) -> int:
    return (int(architecture.digest[:12], 16) ^ (seed * 2654435761)) & 0x7FFFFFFF
