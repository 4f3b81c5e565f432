"""What a hard limit leaves of a space, found without training."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from evonas.core.settings import ObjectiveSettings
from evonas.errors import InputError
from evonas.estimation.cost.limits import BackboneShare, KnownCosts
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture, SearchSpace
from evonas.workflows.cost_sample import CostSample
from evonas.workflows.feasibility import cost_statement, feasibility, limit_shares

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


def known(**limits: float) -> KnownCosts:
    """Costs that work against each other: multiply-adds grow with widths, parameters fall."""
    return KnownCosts(ObjectiveSettings(**limits), cost, lambda one: WeightCount(400 - cost(one)))


def drawn(seed: int = 0, **limits: float) -> CostSample:
    """Random networks of the space, under limits."""
    return CostSample.drawn(SPACE, known(**limits), seed)


def test_without_a_limit_all_is_feasible_and_the_cheapest_is_exact() -> None:
    """6^7 = 279 936 architectures, 2000 draws: only the descent finds the cheapest."""
    found = feasibility(drawn())
    assert (found.share, found.cheapest) == (1.0, 107)


def test_the_share_is_that_of_random_genomes() -> None:
    limit = 150
    combinations = itertools.product(WIDTHS, repeat=7)
    exact = sum(100 + sum(widths) <= limit for widths in combinations) / 6**7
    found = feasibility(drawn(seed=1, max_macs=limit))
    assert found.share == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert 0.02 < exact < 0.98
    assert feasibility(drawn(seed=1, max_macs=limit)) == found


def test_a_limit_that_only_the_cheapest_meets_is_accepted() -> None:
    assert feasibility(drawn(max_macs=107)).cheapest == 107


def test_a_limit_that_nothing_meets_is_refused_with_the_cheapest_cost() -> None:
    with pytest.raises(
        InputError, match=r"objective\.max_macs=106: .*'toy'.*has 107 multiply-adds"
    ):
        feasibility(drawn(max_macs=106))


def test_a_continuous_gene_is_searched_at_its_ends() -> None:
    space = SearchSpace.from_dict(
        {
            "name": "c",
            "network": "c",
            "genes": [{"name": "x", "kind": "log_float", "low": 10, "high": 1000}],
        }
    )

    def cheapest(macs: Callable[[Architecture], int]) -> int:
        none = KnownCosts(ObjectiveSettings(), macs, lambda _: WeightCount())
        return feasibility(CostSample.drawn(space, none)).cheapest

    assert cheapest(lambda one: int(one.settings["x"])) == 10
    assert cheapest(lambda one: 2000 - int(one.settings["x"])) == 1000


def test_shares_under_several_limits_are_those_of_all_architectures() -> None:
    costs = [100 + sum(widths) for widths in itertools.product(WIDTHS, repeat=7)]
    macs, params = 170, 260
    exact = {
        "max_macs": sum(c <= macs for c in costs) / len(costs),
        "max_params": sum(400 - c <= params for c in costs) / len(costs),
    }
    both = sum(c <= macs and 400 - c <= params for c in costs) / len(costs)
    found = limit_shares(drawn(seed=2, max_macs=macs, max_params=params))
    assert found.limits == {"max_macs": macs, "max_params": params}
    assert found.alone == {name: pytest.approx(share, abs=0.05) for name, share in exact.items()}
    assert found.together == pytest.approx(both, abs=0.05)
    assert 0.1 < both < min(exact.values()) - 0.1
    assert found.within.mean() == found.together


def test_limits_that_exclude_one_another_are_named_with_what_holds_each() -> None:
    with pytest.raises(InputError) as caught:
        limit_shares(drawn(max_macs=150, max_params=249, max_mb=1.0))
    said = str(caught.value)
    assert said.startswith(
        "objective.max_macs=150 and objective.max_params=249 exclude one another: none of 10,000 "
        "networks drawn from space 'toy' is within all of them ("
    )
    assert "max_mb" not in said
    counts = [int(word.replace(",", "")) for word in re.findall(r"([\d,]+) within", said)]
    costs = [100 + sum(widths) for widths in itertools.product(WIDTHS, repeat=7)]
    shares = [sum(c <= 150 for c in costs), sum(c >= 151 for c in costs)]
    assert counts == [pytest.approx(1e4 * one / len(costs), rel=0.1) for one in shares]


def test_a_limit_that_excludes_all_alone_is_named_alone() -> None:
    message = (
        r"^objective\.max_params=75: none of 10,000 networks .* the least has (\d+) parameters"
    )
    with pytest.raises(InputError, match=message) as caught:
        limit_shares(drawn(max_macs=1000, max_params=75))
    least = re.search(message, str(caught.value))
    assert least
    assert 76 <= int(least[1]) <= 140


def test_a_larger_sample_begins_with_the_smaller_one_and_costs_are_those_of_each_network() -> None:
    costs = KnownCosts(
        ObjectiveSettings(counts="total", max_mb=1.0, max_macs=170),
        cost,
        lambda one: WeightCount(cost(one)),
        lambda one: BackboneShare(1000, WeightCount(50)),
    )
    few = CostSample.drawn(SPACE, costs, seed=3, n=5)
    more = few.enlarged(9)
    assert len(more.points) == 9
    for name in ("points", "macs", "counted", "figures"):
        assert getattr(more, name)[:5].tolist() == getattr(few, name).tolist()
    networks = [SPACE.decode(point) for point in few.points]
    assert few.macs.tolist() == [cost(one) for one in networks]
    assert few.counted.tolist() == [costs.counted_macs(one) for one in networks]
    assert few.figures.tolist() == [[*costs.figures(one).values()] for one in networks]


def test_the_statement_of_a_search_names_each_limit() -> None:
    costs = known(max_macs=170, max_params=260, max_ms=2.0)
    found = feasibility(drawn(max_macs=170))
    said = cost_statement(found, limit_shares(CostSample.drawn(SPACE, costs)), costs.settings)
    assert re.match(
        r"Limits objective\.max_macs=170 \(\d\d\.\d %\), objective\.max_params=260", said
    )
    assert (
        "cheapest head network found has 107 multiply-adds; 2 ms are checked by measuring" in said
    )
    alone = known(max_macs=150)
    said = cost_statement(feasibility(drawn(max_macs=150)), None, alone.settings)
    assert re.match(r"Limit 150 multiply-adds: \d+\.\d % of the space is feasible;", said)
