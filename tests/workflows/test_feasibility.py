"""What a hard limit leaves of a space, found without training."""

from __future__ import annotations

import itertools

import pytest

from evonas.errors import InputError
from evonas.space import Architecture, SearchSpace
from evonas.workflows.feasibility import feasibility

WIDTHS = [1, 2, 4, 8, 16, 32]
SPACE = SearchSpace.from_dict(
    {
        "name": "toy",
        "network": "toy",
        "genes": [
            {"name": f"width{i}", "kind": "ordinal", "choices": WIDTHS[::-1] if i % 2 else WIDTHS}
            for i in range(7)
        ],
    }
)


def cost(architecture: Architecture) -> int:
    return 100 + sum(architecture.settings.values())


def test_without_a_limit_all_is_feasible_and_the_cheapest_is_exact() -> None:
    """6^7 = 279 936 architectures, 2000 draws: only the descent finds the cheapest."""
    found = feasibility(SPACE, cost, None)
    assert (found.share, found.cheapest) == (1.0, 107)


def test_the_share_is_that_of_random_genomes() -> None:
    limit = 150
    combinations = itertools.product(WIDTHS, repeat=7)
    exact = sum(100 + sum(widths) <= limit for widths in combinations) / 6**7
    found = feasibility(SPACE, cost, limit, seed=1)
    assert found.share == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert 0.02 < exact < 0.98
    assert feasibility(SPACE, cost, limit, seed=1) == found


def test_a_limit_that_only_the_cheapest_meets_is_accepted() -> None:
    assert feasibility(SPACE, cost, 107).cheapest == 107


def test_a_limit_that_nothing_meets_is_refused_with_the_cheapest_cost() -> None:
    with pytest.raises(
        InputError, match=r"objective\.max_macs=106: .*'toy'.*has 107 multiply-adds"
    ):
        feasibility(SPACE, cost, 106)


def test_a_continuous_gene_is_searched_at_its_ends() -> None:
    space = SearchSpace.from_dict(
        {
            "name": "c",
            "network": "c",
            "genes": [{"name": "x", "kind": "log_float", "low": 10, "high": 1000}],
        }
    )
    assert feasibility(space, lambda a: int(a.settings["x"]), None).cheapest == 10
    assert feasibility(space, lambda a: 2000 - int(a.settings["x"]), None).cheapest == 1000
