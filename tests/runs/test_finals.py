"""Who wins by further seeds, how noisy seeds are, and what is as good: numbers made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evonas.runs.finals import (
    DOUBT,
    Finalist,
    difference,
    noise,
    rank_finalists,
    statistically_tied,
)
from evonas.runs.run_store import Trial


def own(name: str, error: float | None, macs: int = 100, **changes: object) -> Trial:
    """The search's training of a network; names sort as the search met them."""
    trial = Trial(
        0,
        ord(name) - ord("a"),
        (0.5,),
        name,
        {"network": "none", "settings": {"name": name}},
        "ok" if error is not None else "failed",
        error,
        macs,
        metrics={} if error is None else {"error": error},
    )
    return replace(trial, **changes)


def again(trial: Trial, *errors: float | None) -> list[Trial]:
    """Its further seeds; None is one that failed."""
    return [
        replace(
            trial,
            status="final",
            repeat=seed,
            fitness=error,
            metrics={} if error is None else {"error": error},
        )
        for seed, error in enumerate(errors, start=1)
    ]


def finalist(name: str, error: float, *errors: float, macs: int = 100) -> Finalist:
    trial = own(name, error, macs)
    return Finalist(trial, tuple(again(trial, *errors)))


def names(finalists: list[Finalist]) -> list[str]:
    return [one.trial.digest for one in finalists]


def test_further_seeds_name_the_winner_not_the_search() -> None:
    lucky, solid = own("a", 1.0), own("b", 2.0)
    trials = [lucky, solid, own("c", 1.5), *again(lucky, 4.0, 6.0), *again(solid, 3.0, 3.5)]
    found = rank_finalists(trials)
    assert names(found) == ["b", "a"]  # what was not trained again is no finalist
    assert [one.fitness for one in found] == [3.25, 5.0]
    assert found[1].trial is lucky


def test_one_with_fewer_further_seeds_stands_behind_all_others() -> None:
    a, b, c = own("a", 1.0), own("b", 2.0), own("c", 3.0)
    trials = [a, b, c, *again(a, 0.1, None, None), *again(b, 5.0, 5.0, 5.0), *again(c, 0.2, 0.4)]
    found = rank_finalists(trials)
    assert names(found) == ["b", "a", "c"]
    assert [len(one.further) for one in found] == [3, 1, 2]


def test_failures_are_no_results() -> None:
    a, b = own("a", 1.0), own("b", 2.0)
    (kept,) = rank_finalists([a, b, *again(a, None, None), *again(b, 7.0, None)])
    assert (kept.trial.digest, kept.fitness, len(kept.further)) == ("b", 7.0, 1)


def test_where_all_further_trainings_failed_the_search_decides() -> None:
    a, b = own("a", 2.0), own("b", 1.0)
    (kept,) = rank_finalists([a, b, *again(b, None, None)])
    assert (kept.trial.digest, kept.further, kept.fitness) == ("b", (), 1.0)


def test_without_further_trainings_the_best_stands_alone_the_first_among_equals() -> None:
    trials = [own("a", 2.0), own("b", None), own("c", 1.0), own("d", 1.0)]
    assert rank_finalists(trials) == [Finalist(trials[2])]
    assert rank_finalists([*trials, own("e", 0.5, status="earlier")])[0].trial.digest == "e"


@pytest.mark.parametrize(
    "trials", [[], [own("a", None)], [own("a", 1.0, status="repeat")], again(own("a", 1.0), 1.0)]
)
def test_where_nothing_succeeded_nobody_stands(trials: list[Trial]) -> None:
    assert rank_finalists(trials) == []


def test_the_order_of_the_journal_does_not_matter() -> None:
    a, b = own("a", 1.0), own("b", 2.0)
    trials = [a, b, *again(a, 3.0, 5.0), *again(b, 6.0, 1.0)]
    found = rank_finalists(trials[::-1])
    assert found == rank_finalists(trials)
    assert [trial.repeat for trial in found[0].further] == [1, 2]


def test_a_finalists_numbers_are_those_of_its_further_seeds() -> None:
    one = finalist("a", 9.0, 1.0, 2.0, 6.0)
    assert one.fitness == 3.0
    assert one.metrics() == {"error": 3.0}
    assert one.spread() == {"fitness": pytest.approx(7**0.5), "error": pytest.approx(7**0.5)}


def test_without_further_seeds_they_are_the_searchs_own() -> None:
    one = finalist("a", 9.0)
    assert (one.fitness, one.metrics(), one.spread()) == (9.0, {"error": 9.0}, {})
    single = finalist("a", 9.0, 4.0)
    assert (single.fitness, single.metrics(), single.spread()) == (4.0, {"error": 4.0}, {})


def test_fitness_and_metrics_are_told_apart() -> None:
    trial = own("a", 1.0)
    rows = [replace(one, fitness=2 * one.value) for one in again(trial, 1.0, 3.0)]
    one = Finalist(trial, tuple(rows))
    assert (one.fitness, one.metrics()["error"]) == (4.0, 2.0)
    assert one.spread() == {"fitness": pytest.approx(8**0.5), "error": pytest.approx(2**0.5)}


def test_noise_is_pooled_over_the_finalists() -> None:
    # squares 2 + 8 + 0, degrees of freedom 2 + 1 + 0; the search's own results do not count
    finalists = [
        finalist("a", 50.0, 4.0, 5.0, 6.0),
        finalist("b", 60.0, 10.0, 14.0),
        finalist("c", 70.0, 99.0),
        finalist("d", 80.0),
    ]
    assert noise(finalists, "error") == pytest.approx(math.sqrt(10 / 3))


@pytest.mark.parametrize("finalists", [[], [finalist("a", 1.0)], [finalist("a", 1.0, 2.0)]])
def test_noise_is_unknown_without_two_seeds_of_one_network(finalists: list[Finalist]) -> None:
    assert math.isnan(noise(finalists, "error"))
    assert statistically_tied(finalists, [own("b", 0.1, macs=1)], "error") == []


@given(st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=4), min_size=1, max_size=4))
def test_noise_of_equally_many_seeds_is_the_mean_variance(errors: list[list[float]]) -> None:
    size = min(map(len, errors))
    rows = np.array([row[:size] for row in errors])
    finalists = [finalist(chr(97 + i), 0.0, *row) for i, row in enumerate(rows.tolist())]
    expected = math.sqrt(float(rows.var(axis=1, ddof=1).mean()))
    assert noise(finalists, "error") == pytest.approx(expected, rel=1e-9, abs=1e-9)


def close(gap: float, macs: int = 50, *further: float) -> list[str]:
    """Who is as good as a winner of error 10, sd 1 and 2 seeds, beside it, its error + gap."""
    half = math.sqrt(0.5)
    winner = finalist("a", 1.0, 10 - half, 10 + half)
    assert noise([winner], "error") == pytest.approx(1.0)
    other = Finalist(own("b", 10 + gap, macs), tuple(again(own("b", 0.0, macs), *further)))
    known = [winner, other] if further else [winner]
    return names(statistically_tied(known, [winner.trial, other.trial], "error"))


def test_one_training_is_as_good_within_two_standard_errors_of_the_difference() -> None:
    limit = DOUBT * math.sqrt(1 / 2 + 1 / 1)
    assert DOUBT == 2.0
    assert close(limit - 1e-6) == ["b"]
    assert close(limit + 1e-6) == []
    assert close(-5.0) == ["b"]


def on_folds(one: Finalist) -> Finalist:
    return Finalist(one.trial, tuple(replace(row, fold=row.repeat) for row in one.further))


def test_a_finalist_on_folds_compares_with_others_by_the_search() -> None:
    one = finalist("a", 9.0, 4.0, 6.0)
    assert (one.folds, one.compared()) == (False, {"error": 5.0})
    assert (on_folds(one).folds, on_folds(one).compared()) == (True, {"error": 9.0})
    assert on_folds(one).metrics() == {"error": 5.0}
    assert not finalist("a", 9.0).folds


def test_ties_after_folds_are_of_errors_on_the_same_images() -> None:
    # fold 2 is 20 harder than fold 1; residuals of a and b on folds 1 and 2: +-0.5, sd 1
    a, b = (
        on_folds(finalist("a", 7.0, 10.0, 31.0)),
        on_folds(finalist("b", 7.5, 12.0, 31.0, macs=50)),
    )
    assert noise([a, b], "error") == pytest.approx(1.0)
    c = on_folds(finalist("c", 7.0, 12.7, macs=40))  # on fold 1 alone, 2.7 worse: limit 2.83
    d = on_folds(finalist("d", 7.0, 12.9, macs=30))
    known = [a, b, c, d]
    trials = [*(one.trial for one in known), own("e", 9.8, macs=20), own("f", 9.9, macs=10)]
    found = statistically_tied(known, trials, "error")
    assert names(found) == ["e", "c", "b"], "in the search e is 2.8 worse than a, f 2.9"
    gaps = [difference(one, a, "error") for one in (b, c, found[0])]
    assert gaps == [(pytest.approx(gap), 2 / n) for gap, n in ((1.0, 2), (2.7, 1), (2.8, 1))]


def test_only_cheaper_networks_are_told() -> None:
    assert close(0.0, 99) == ["b"]
    assert close(0.0, 100) == close(-9.0, 101) == []


def test_a_finalist_counts_with_its_further_seeds() -> None:
    # means 10 and 11.9; pooled sd 1 over two networks with two seeds each: limit 2
    half = math.sqrt(0.5)
    assert close(500.0, 50, 11.9 - half, 11.9 + half) == ["b"]
    assert close(-500.0, 50, 12.1 - half, 12.1 + half) == []


def test_one_that_began_with_weights_of_a_parent_is_no_measure() -> None:
    winner = finalist("a", 1.0, 9.0, 11.0)
    fresh, heir = own("b", 10.0, macs=70), replace(own("c", 10.0, macs=30), inherited=0.9)
    assert names(statistically_tied([winner], [winner.trial, fresh, heir], "error")) == ["b"]


def test_the_cheapest_comes_first_each_once_and_only_what_succeeded() -> None:
    winner = finalist("a", 1.0, 9.0, 11.0)
    trials = [
        winner.trial,
        own("b", 10.0, macs=70),
        own("c", 10.5, macs=30),
        own("d", None, macs=1),
        own("e", 10.0, macs=2, status="repeat"),
        own("f", 10.0, macs=60, status="earlier"),
        own("g", 10.0, macs=3, metrics={"other": 1.0}),
        *again(own("b", 10.0, macs=70), 10.0),
    ]
    assert names(statistically_tied([winner], trials, "error")) == ["c", "f", "b"]


def test_what_is_cheaper_is_a_matter_of_what_costs() -> None:
    winner = Finalist(own("a", 4.0, 100, latency=2.0), tuple(again(own("a", 4.0), 3.0, 5.0)))
    trials = [own("b", 4.0, 50, latency=3.0), own("c", 4.0, 200, latency=1.0)]
    assert names(statistically_tied([winner], trials, "error")) == ["b"]
    assert names(statistically_tied([winner], trials, "error", "latency")) == ["c"]
