"""Small search spaces, functions and a driver for the optimizer tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core import registry
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture, SearchSpace

Fitness = Callable[[SearchSpace, NDArray[np.float64]], NDArray[np.float64]]


def space_of(*genes: dict[str, Any]) -> SearchSpace:
    """Return a space of genes named g0, g1, ..."""
    named = [{"name": f"g{i}", **gene} for i, gene in enumerate(genes)]
    return SearchSpace.from_dict({"name": "toy", "network": "none", "genes": named})


def ordinal(n_genes: int = 6, n_values: int = 8) -> SearchSpace:
    """Return a space of ordinal genes."""
    return space_of(*[{"kind": "ordinal", "choices": list(range(n_values))}] * n_genes)


def mixed() -> SearchSpace:
    """Return a space of one gene of each kind."""
    return space_of(
        {"kind": "choice", "choices": ["a", "b", "c", "d"]},
        {"kind": "ordinal", "choices": [1, 3, 5]},
        {"kind": "integer", "low": 1, "high": 6},
        {"kind": "log_float", "low": 0.01, "high": 1.0},
    )


def conditional() -> SearchSpace:
    """8 + 1 architectures; its size says 16."""
    return space_of(
        {"kind": "choice", "choices": ["off", "on"]},
        {"kind": "integer", "low": 1, "high": 8, "when": {"g0": ["on"]}},
    )


def bowl(space: SearchSpace, genomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separable squares of the decoded values around an optimum off the centre; min 0."""
    out = []
    for genome in genomes:
        total = 0.0
        for i, gene in enumerate(space.genes):
            n = len(gene.values)
            total += ((gene.values.index(gene.decode(genome[i])) - (3 * i + 2) % n) / n) ** 2
        out.append(total)
    return np.array(out)


def by_digest(space: SearchSpace, genomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rugged function of the architecture alone, in [0, 1)."""
    return np.array([int(space.decode(g).digest, 16) / 16.0**16 for g in genomes])


def cost(architecture: Architecture) -> int:
    """Grows with every numeric setting; at least 1."""
    return 1 + sum(v for v in architecture.settings.values() if isinstance(v, int))


def build(name: str, space: SearchSpace, **arguments: Any) -> Optimizer:
    """Return a strategy with a budget of 40 and seed 7, unless given otherwise."""
    arguments = {"budget": 40, "seed": 7, **arguments}
    optimizer: Optimizer = registry.load("optimizer", name)(space, **arguments)
    return optimizer


def best_genome(optimizer: Optimizer) -> NDArray[np.float64]:
    """Return the best genome of a search that has one, (dim,)."""
    assert optimizer.best_genome is not None
    return optimizer.best_genome


def drive(
    optimizer: Optimizer, fitness: Fitness = by_digest, asks: int = 5000
) -> list[NDArray[np.float64]]:
    """Run a search to its end, or for some asks; return what was asked."""
    asked = []
    for _ in range(asks):
        genomes = optimizer.ask()
        if len(genomes) == 0:
            break
        asked.append(genomes)
        values = fitness(optimizer.space, genomes)
        if optimizer.max_macs is not None:
            costs = [cost(optimizer.space.decode(g)) for g in genomes]
            values = np.where(np.array(costs) > optimizer.max_macs, np.inf, values)
        optimizer.tell(values)
    return asked


def trainings(name: str, preselection: int) -> float:
    """Median trainings to the optimum of a bowl of 65536 architectures, over 9 seeds."""
    found = []
    for seed in range(9):
        optimizer = build(name, ordinal(8, 4), budget=150, seed=seed, preselection=preselection)
        while optimizer.best_fitness > 0.0 and len(genomes := optimizer.ask()):
            optimizer.tell(bowl(optimizer.space, genomes))
        found.append(optimizer.trained)
    return float(np.median(found))


def distinct(optimizer: Optimizer, asked: list[NDArray[np.float64]]) -> set[str]:
    """Digests of the feasible architectures among what was asked."""
    found = [optimizer.space.decode(g) for genomes in asked for g in genomes]
    limit = optimizer.max_macs
    return {a.digest for a in found if limit is None or cost(a) <= limit}
