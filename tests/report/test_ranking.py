"""Do short trainings rank as long ones? Correlations worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.report.ranking import RankCorrelation, rank_correlation
from evonas.workflows.retraining import Contender


def contender(searched: float | None, *results: float, metric: str = "mae") -> Contender:
    rows = [{metric: value} for value in results]
    return Contender("x", None, searched=searched, results=rows)


def of(*pairs: tuple[float, float]) -> RankCorrelation | None:
    return rank_correlation([contender(a, b) for a, b in pairs], "mae")


def test_equal_and_opposite_ranks() -> None:
    assert of((1, 10), (2, 20), (3, 21)) == RankCorrelation(1.0, 1.0, 3)
    found = of((1, 30), (2, 20), (3, 1))
    assert (found.spearman, found.kendall) == (-1.0, -1.0)


def test_one_swap_by_hand() -> None:
    # d^2 = 0 + 1 + 1 + 0: rho = 1 - 6 * 2 / (4 * 15); 5 pairs agree, 1 does not
    found = of((1, 1), (2, 3), (3, 2), (4, 4))
    assert found.spearman == pytest.approx(0.8)
    assert found.kendall == pytest.approx(4 / 6)
    assert found.networks == 4


def test_ties_share_a_rank() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: rho = 4.5 / sqrt(4.5 * 5)
    found = of((1, 1), (2, 2), (2, 3), (4, 4))
    assert found.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert found.kendall == pytest.approx(5 / math.sqrt(5 * 6))


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(1, 2), (2, 3)],
        [(1, 2), (1, 3), (1, 4)],  # all alike on one side: no rank to speak of
        [(1, 5), (2, 5), (3, 5)],
    ],
)
def test_what_says_nothing_is_not_said(pairs: list[tuple[float, float]]) -> None:
    assert of(*pairs) is None


def test_only_networks_with_both_errors_count() -> None:
    known = [contender(1, 3), contender(2, 2)]
    without = [contender(None, 9), contender(3), contender(4, 5, metric="other")]
    assert rank_correlation([*known, *without], "mae") is None
    found = rank_correlation([*known, *without, contender(3, 1)], "mae")
    assert (found.spearman, found.networks) == (-1.0, 3)


def test_repeats_are_averaged_and_the_test_split_judges_where_there_is_one() -> None:
    found = rank_correlation([contender(1, 0, 9), contender(2, 4, 4), contender(3, 1, 2)], "mae")
    assert found.spearman == pytest.approx(-1.0)  # means 4.5, 4, 1.5
    tested = [
        Contender("x", None, searched=i, results=[{"mae": -i, "test_mae": 2 * i}]) for i in range(3)
    ]
    assert rank_correlation(tested, "mae").spearman == pytest.approx(1.0)


def test_the_line_for_people() -> None:
    line = RankCorrelation(0.805, -0.5, 8).statement(5)
    assert line == (
        "Rank correlation of errors in the search (epochs: 5, one seed) and retrained: "
        "Spearman 0.81, Kendall -0.50, over 8 networks."
    )
    line = RankCorrelation(0.805, -0.5, 7).statement(5)
    assert line == (
        "Do short trainings rank as long ones? 7 networks are too few to say: --ranking 8 "
        "retrains enough."
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=8))
def test_both_stay_in_range_and_do_not_depend_on_the_order(pairs: list[tuple[int, int]]) -> None:
    found, back = of(*pairs), of(*pairs[::-1])
    if found is None:
        assert back is None
        return
    assert min(found.spearman, found.kendall) >= -1 - 1e-9
    assert max(found.spearman, found.kendall) <= 1 + 1e-9
    assert back.spearman == pytest.approx(found.spearman)
    assert back.kendall == pytest.approx(found.kendall)
