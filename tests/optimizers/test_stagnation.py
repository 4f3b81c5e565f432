"""Populations that found nothing better for some generations begin anew."""

from __future__ import annotations

import pytest

from evonas.optimizers.common.stagnation import Stagnation
from evonas.optimizers.ga import STALE
from evonas.testing.optimizer_problems import build, space_of


def test_generations_without_improvement_are_counted_from_the_last_better_one() -> None:
    inf, counted = float("inf"), Stagnation(3)
    fitness = [5.0, 5.0, inf, 4.0, 4.0, 6.0, 4.5, 9.0, 9.0, 9.5, 9.0]
    said = [counted.after(value) for value in fitness]
    assert [i for i, stagnant in enumerate(said) if stagnant] == [6, 10]


@pytest.mark.parametrize("name", ["ga", "pso"])
def test_a_deceptive_table_of_unordered_genes_is_left(name: str) -> None:
    """Two genes have to change together: the rest of the space leads to the worse optimum."""
    space = space_of(*[{"kind": "choice", "choices": list(range(5))}] * 4)

    def value(settings: dict[str, object]) -> float:
        place = [int(str(v)) for v in settings.values()]
        if place[:2] == [4, 4]:
            return -1.0 + 0.1 * sum(v != 0 for v in place[2:])
        return float(sum(v for v in place[:2])) + 0.1 * sum(v != 0 for v in place[2:])

    restarts, reached = 0, 0
    for seed in range(6):
        optimizer = build(name, space, budget=150, seed=seed)
        while len(genomes := optimizer.ask()) and optimizer.best_fitness > -1.0 + 1e-9:
            optimizer.tell([value(dict(space.decode(g).settings)) for g in genomes])
        restarts += optimizer.restarts
        reached += optimizer.best_fitness < 0.0
    assert restarts >= 3
    assert reached >= 3
    assert STALE >= 5
