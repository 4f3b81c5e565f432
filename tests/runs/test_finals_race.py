"""Races of finals: who goes on, who is dropped, when they end, who is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import t

from evonas.core.experiment import Experiment
from evonas.core.settings import FinalsSettings
from evonas.errors import InputError
from evonas.runs.clock_decisions import ClockDecision
from evonas.runs.finals import (
    Outcome,
    decided,
    due,
    limited,
    planned,
    rank_finalists,
    rounds,
    settings_of,
)
from evonas.runs.finals_race import ALPHA, after_round, deviation, replay, round_sizes
from evonas.runs.run_store import Trial

RACE = FinalsSettings(networks=6, seeds=4)


def search(errors: Mapping[str, float], **changes: object) -> list[Trial]:
    """The search's training of each network; one that comes later costs less."""
    return [
        replace(
            Trial(0, n, (0.5,), name, {}, "ok", error, 100 - n, metrics={"error": error}),
            **changes,
        )
        for n, (name, error) in enumerate(errors.items())
    ]


def again(trials: Sequence[Trial], name: str, *errors: float | None) -> list[Trial]:
    """Further seeds of a network; None is one that failed."""
    own = next(trial for trial in trials if trial.digest == name)
    made = replace(own, status="final")
    return [
        replace(made, repeat=n, fitness=e, metrics={} if e is None else {"error": e})
        for n, e in enumerate(errors, start=1)
    ]


def held(
    trials: list[Trial], settings: FinalsSettings, errors: Mapping[str, Sequence[float | None]]
) -> list[Trial]:
    """The finals of a search to their end, in the order of their trainings."""
    found: list[Trial] = []
    while waiting := due([*trials, *found], settings)[0]:
        for one in waiting:
            error = errors[one.digest][one.repeat - 1]
            found += again(trials, one.digest, *[error] * one.repeat)[-1:]
    return found


def names(trials: Sequence[Trial], settings: FinalsSettings) -> list[str]:
    return [one.trial.digest for one in rank_finalists(trials, settings)]


def trained(finals: Sequence[Trial]) -> str:
    """Names of the networks of each round, rounds parted by a space."""
    rounds = sorted({one.repeat for one in finals})
    return " ".join("".join(f.digest for f in finals if f.repeat == n) for n in rounds)


FLAT = {name: float(n) for n, name in enumerate("abcdef")}


@pytest.mark.parametrize(
    ("networks", "seeds", "budget", "sizes"),
    [
        (6, 4, None, [6, 3, 2, 2]),
        (8, 4, None, [8, 4, 2, 2]),
        (5, 3, None, [5, 3, 2]),
        (2, 2, None, [2, 2]),
        (1, 3, None, [1, 1, 1]),
        (0, 3, None, []),
        (6, 4, 11, [6, 3, 2]),
        (6, 4, 10, [6, 3]),  # one alone would be held against nobody
        (6, 4, 8, [6, 2]),
        (6, 4, 4, [4]),
        (6, 4, 1, [1]),
        (1, 4, 3, [1, 1, 1]),
    ],
)
def test_rounds_halve_down_to_two_within_the_budget(
    networks: int, seeds: int, budget: int | None, sizes: list[int]
) -> None:
    assert round_sizes(networks, seeds, budget) == sizes
    settings = FinalsSettings(networks=networks, seeds=seeds, budget=budget)
    trials = search(dict.fromkeys("abcdefgh"[:networks], 0.0))
    noisy = np.random.default_rng(0).normal(0.0, 1.0, (8, 4)).round(3)
    errors = dict(zip("abcdefgh", noisy.tolist(), strict=True))
    finals = held(trials, settings, errors) if networks else []
    assert [*map(len, trained(finals).split())] == sizes[: len(trained(finals).split())]
    assert due(trials, settings)[1] == sum(sizes)
    assert sum(planned(settings, 60).values()) == sum(sizes)


def test_the_better_half_goes_on_by_all_its_trainings() -> None:
    further = {"a": {1: 5.0}, "b": {1: 4.0}, "c": {1: 3.0}, "d": {1: 1.0}}
    assert after_round("abcd", further, {}) == (["d", "c"], ["b", "a"])
    searched = {"a": 0.0, "b": 0.1, "c": 2.0, "d": 6.0}  # means 2.5, 2.05, 2.5, 3.5
    assert after_round("abcd", further, searched) == (["b", "a"], ["c", "d"])


@pytest.mark.parametrize(("beyond", "kept"), [(-1e-9, ["a", "b"]), (1e-9, ["a"])])
def test_one_that_is_worse_beyond_noise_is_dropped_before_its_half(
    beyond: float, kept: list[str]
) -> None:
    rows = {"a": [10.0, 12.0], "c": [20.0, 21.0, 25.0], "d": [30.0]}
    # sums of squares 2, 14 and that of b, 2; degrees of freedom 1 + 2 + 1
    spread = math.sqrt((2 + 14 + 2) / 4)
    assert ALPHA == 0.05
    gap = float(t.ppf(0.95, 4)) * spread * math.sqrt(1 / 2 + 1 / 2) + beyond
    rows["b"] = [10.0 + gap, 12.0 + gap]
    further = {name: dict(enumerate(row, 1)) for name, row in rows.items()}
    assert deviation(further) == (pytest.approx(spread), 4)
    assert after_round("ab", further, {})[0] == kept


tables = st.integers(2, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.floats(-9.0, 9.0), min_size=n, max_size=n), min_size=2, max_size=5
    )
)


@given(tables)
def test_the_deviation_on_folds_is_that_of_a_two_way_analysis_of_variance(
    table: list[list[float]],
) -> None:
    """Of a complete table, by the textbook: residuals from the means of rows and columns."""
    values = np.array(table)
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (len(values) - 1) * (values.shape[1] - 1)
    expected = math.sqrt(float((residuals**2).sum()) / freedom)
    results = {str(n): dict(enumerate(row, 1)) for n, row in enumerate(table)}
    found, free = deviation(results, paired=True)
    assert (found, free) == (pytest.approx(expected, rel=1e-6, abs=1e-6), freedom)


def test_hard_folds_are_no_noise() -> None:
    """The second fold is ten degrees harder than the first, for every network."""
    further = {
        "a": {1: 5.0, 2: 15.1},
        "b": {1: 6.0, 2: 16.0},
        "c": {1: 7.1, 2: 17.0},
        "d": {1: 8.0},
    }
    assert deviation(further, paired=True)[0] < 0.2 < 5.0 < deviation(further)[0]
    assert after_round("abc", further, {}, paired=True) == (["a"], ["b", "c"])
    assert after_round("abc", further, {}) == (["a", "b"], ["c"])
    assert math.isnan(deviation({"a": {1: 5.0}, "b": {1: 6.0}}, paired=True)[0])
    assert math.isnan(deviation({}, paired=True)[0])


def test_a_race_ends_early_where_seeds_hardly_differ() -> None:
    trials = search(FLAT)
    finals = held(trials, RACE, {name: [error] * 4 for name, error in FLAT.items()})
    assert trained(finals) == "abcdef abc"  # after two rounds a alone is left
    assert names([*trials, *finals], RACE) == [*"abcdef"]


def test_a_race_over_folds_takes_no_fold_for_noise() -> None:
    errors = {name: [e, e + 30.0, e + 10.0, e + 20.0] for name, e in FLAT.items()}
    trials = search(FLAT)
    finals = [replace(one, fold=one.repeat) for one in held(trials, RACE, errors)]
    assert trained(finals) == "abcdef abc ab ab", "these were taken for seeds of one split"
    kept = [one for one in finals if one.repeat < 3]
    assert due([*trials, *kept], RACE) == ((), 0), "a is better by the same on each fold"
    assert names([*trials, *kept], RACE) == [*"abcdef"]


def test_one_that_was_dropped_cannot_win_whatever_else_the_journal_holds() -> None:
    trials = search(FLAT)
    noisy = {"a": [5.0, 1.0, 4.0, 3.0], "b": [5.0, 2.0, 1.0, 2.0], "c": [3.0, 9.0, 0.0, 0.0]}
    noisy |= {"d": [9.0], "e": [9.0], "f": [9.0]}
    finals = held(trials, RACE, noisy)
    assert trained(finals) == "abcdef acb ab ba"  # the best first by their means so far
    before = rank_finalists([*trials, *finals], RACE)
    # of finals before a search was continued: never asked for now, and lower than all others
    more = again(trials, "d", 9.0, 0.0, 0.0, 0.0)[1:] + again(trials, "c", 3.0, 9.0, 0.0, 0.0)[2:]
    assert rank_finalists([*trials, *finals, *more], RACE) == before
    assert due([*trials, *more, *finals], RACE) == ((), 0)
    assert [len(one.further) for one in before] == [4, 4, 2, 1, 1, 1]


def test_one_that_fails_is_dropped_and_no_result_of_it_counts() -> None:
    trials = search(FLAT)
    errors: dict[str, Sequence[float | None]] = {name: [9.0, 9.5, 9.2, 9.1] for name in "bcdef"}
    finals = held(trials, RACE, {**errors, "a": [0.0, None]})
    assert trained(finals) == "abcdef abc bc bc"
    assert names([*trials, *finals], RACE)[:3] == [*"bca"]
    finals = held(trials, RACE, {**errors, "a": [None]})
    assert "a" not in names([*trials, *finals], RACE)


def test_where_a_whole_round_fails_it_says_nothing() -> None:
    two = FinalsSettings(networks=2, seeds=3)
    trials = search({"a": 1.0, "b": 2.0, "c": 0.5, "d": 9.0})[:2]
    finals = held(trials, two, {"a": [None, 3.0, 3.1], "b": [None, 2.0, 2.1]})
    assert trained(finals) == "ab ab ab"
    assert names([*trials, *finals], two) == ["b", "a"]  # by the other rounds
    nothing = held(trials, two, {"a": [None] * 3, "b": [None] * 3})
    (kept,) = rank_finalists([*trials, *nothing], two)
    assert (kept.trial.digest, kept.further) == ("a", ())


def test_the_only_network_is_trained_with_all_seeds() -> None:
    one, trials = FinalsSettings(networks=1, seeds=3), search(FLAT)
    assert trained(held(trials, one, {"a": [1.0, 1.0, 1.0]})) == "a a a"


def test_a_training_that_inherited_weights_does_not_count() -> None:
    two, errors = FinalsSettings(networks=2, seeds=1), {"a": [6.0], "b": [5.0]}
    fresh = search({"a": 1.0, "b": 3.0})
    heirs = search({"a": 1.0, "b": 3.0}, inherited=0.5)
    assert names([*fresh, *held(fresh, two, errors)], two) == ["a", "b"]
    assert names([*heirs, *held(heirs, two, errors)], two) == ["b", "a"]


def test_a_standing_knows_what_is_to_come_at_most() -> None:
    trials = search(FLAT)
    finals = held(
        trials, RACE, {name: [error, error + 9, 0.0, 0.0] for name, error in FLAT.items()}
    )
    assert len(finals) == 13
    left = [due([*trials, *finals[:n]], RACE)[1] for n in range(14)]
    assert left == [13 - n for n in range(13)] + [0]
    waiting = replay([*trials, *finals[:7]], RACE).waiting
    assert [(one.digest, one.repeat, one.status) for one in waiting] == [
        ("b", 2, "final"),
        ("c", 2, "final"),
    ]


values = st.one_of(st.none(), st.floats(0.0, 100.0))


@given(
    st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=7),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 20)),
    st.data(),
)
def test_a_race_goes_on_the_same_from_any_part_of_its_trainings(
    errors: list[list[float | None]], seeds: int, budget: int | None, data: st.DataObject
) -> None:
    by_name = dict(zip("abcdefg", errors, strict=False))
    trials = search({name: float(n) for n, name in enumerate(by_name)})
    settings = FinalsSettings(networks=6, seeds=seeds, budget=budget)
    finals = held(trials, settings, by_name)
    assert len(finals) <= sum(round_sizes(min(6, len(trials)), seeds, budget))
    cut = data.draw(st.integers(0, len(finals)))
    begun = data.draw(st.permutations(finals[:cut]))
    rest = held([*trials, *begun], settings, by_name)
    assert sorted(one.place for one in (*begun, *rest)) == sorted(one.place for one in finals)
    found = rank_finalists([*rest, *trials, *begun], settings)
    assert found == rank_finalists([*trials, *finals], settings)
    assert len(found[0].further) == max(len(one.further) for one in found)


def test_failures_do_not_lengthen_a_race() -> None:
    trials = search({"a": 1.0, "b": 2.0})
    settings = FinalsSettings(networks=2, seeds=2, budget=3)
    assert trained(held(trials, settings, {"a": [None], "b": [1.0, 1.0]})) == "ab"


# ------------------------------------------------------------------------- who is named

TWO = {"a": [4.0, 6.0, 5.0], "b": [5.0, 6.0, 5.5], "c": [9.0, 9.0, 9.0]}


def outcome(errors: Mapping[str, Sequence[float]], **settings: object) -> Outcome:
    """Of finals with all seeds of all networks, of which the last costs least."""
    trials = search({name: float(np.mean(row)) for name, row in errors.items()})
    finals = [one for name, row in errors.items() for one in again(trials, name, *row)]
    chosen = FinalsSettings(method="fixed", networks=9, **settings)  # type: ignore[arg-type]
    return Outcome.of([*trials, *finals], chosen, "error", "macs")


def digests(found: Outcome) -> tuple[str, str]:
    return (
        "".join(one.trial.digest for one in found.finalists),
        "".join(one.trial.digest for one in found.cheaper),
    )


def test_the_lowest_mean_is_named_unless_cost_is_preferred() -> None:
    found = outcome(TWO)
    assert digests(found) == ("abc", "b")
    assert found.leader is found.finalists[0]
    cheap = outcome(TWO, prefer="cost")
    assert digests(cheap) == ("bac", "")
    assert cheap.leader is cheap.finalists[1]


def test_the_cheapest_within_noise_needs_two_seeds() -> None:
    found = outcome({**TWO, "d": [5.0]}, prefer="cost")
    assert digests(found) == ("bacd", "d")  # d is cheaper still, and a hint


def test_what_is_worse_beyond_noise_is_not_named_for_its_cost() -> None:
    found = outcome({"a": [4.0, 4.1], "b": [5.0, 5.1]}, prefer="cost")
    assert digests(found) == ("ab", "")
    assert digests(outcome({"a": [4.0]}, prefer="cost")) == ("a", "")


# ------------------------------------------------------------- settings, and older runs


def test_a_run_without_a_method_ranks_as_it_did() -> None:
    trials = search({"a": 1.0, "b": 2.0, "c": 3.0, "d": 9.0})
    finals = again(trials, "a", 4.0, 6.0, 5.0) + again(trials, "b", 3.0, 3.5, 4.0)
    finals += again(trials, "c", 0.1, None, 0.1) + again(trials, "d", 0.0, 0.0, 0.0)
    old = settings_of({"networks": 3, "seeds": 3})
    assert old == FinalsSettings(method="fixed", networks=3, seeds=3, validation="search")
    assert names([*trials, *finals], old) == ["b", "a", "c"]
    assert due([*trials, *finals], old)[0] == []
    assert rank_finalists([*trials, *finals])[0].trial.digest == "d"  # of all that there are
    assert settings_of({}) is None
    before = FinalsSettings(seeds=2, validation="search")
    assert settings_of({"method": "race", "seeds": 2}) == before
    assert planned(old, 60) == {"in the finals (3 best, 3 more seeds each)": 9}


def test_settings_are_checked() -> None:
    quick = Experiment.load("quickstart")
    assert quick.finals == FinalsSettings(method="race", networks=6, seeds=4, prefer="error")
    both = quick.changed(**{"finals.networks": 3, "finals.seeds": 3}).finals
    assert (both.method, both.networks, both.seeds) == ("race", 3, 3)
    with pytest.raises(InputError, match=r"finals\.budget: expected none beside finals\.method=fi"):
        quick.changed(finals={"method": "fixed", "budget": 9})
    with pytest.raises(InputError, match=r"finals\.prefer.*'error' or 'cost'"):
        quick.changed(finals={"prefer": "size"})


@pytest.mark.parametrize(
    ("settings", "fits", "networks", "seeds", "most"),
    [
        (FinalsSettings(), 13, 6, 4, 13),
        (FinalsSettings(), 9, 6, 4, 9),
        (FinalsSettings(), 4, 6, 4, 4),
        (FinalsSettings(budget=8), 12, 6, 4, 8),
        (FinalsSettings(method="fixed", networks=3, seeds=3), 9, 3, 3, 9),
        (FinalsSettings(method="fixed", networks=3, seeds=3), 8, 2, 3, 6),
        (FinalsSettings(method="fixed", networks=3, seeds=3), 5, 2, 2, 4),
        (FinalsSettings(method="fixed", networks=3, seeds=3), 2, 2, 1, 2),
        (FinalsSettings(method="fixed", networks=3, seeds=3), 1, 1, 1, 1),
        (FinalsSettings(), 0, 0, 4, 0),
        (FinalsSettings(method="fixed"), 0, 0, 4, 0),
    ],
)
def test_finals_within_a_number_of_trainings(
    settings: FinalsSettings, fits: int, networks: int, seeds: int, most: int
) -> None:
    found = limited(settings, fits)
    assert (found.networks, found.seeds) == (networks, seeds)
    assert sum(rounds(found)) == most <= fits


def test_a_race_that_the_clock_cut_is_ranked_as_it_was_trained() -> None:
    """Four of six finalists had their first further seed; without the decision none had a round."""
    rows = search({name: 1.0 + n / 10 for n, name in enumerate("abcdef")})
    finals = [row for n, name in enumerate("abcd") for row in again(rows, name, 3.0 - n)]
    trials, settings = [*rows, *finals], FinalsSettings()
    decision = ClockDecision("finals", 10.0, 0, 6, 4, 500.0)
    found = decided(settings, trials, [decision], 10.0)
    assert found == limited(settings, 4)
    assert names(trials, found)[0] == "d"
    assert names(trials, settings) == ["a"]
    assert not due(trials, found)[0]
    assert len(due(trials, settings)[0]) == 2
    for other, minutes in (([], 10.0), ([decision], None), ([decision], 12.0)):
        assert decided(settings, trials, other, minutes) == settings
    more = [*trials, replace(rows[0], digest="g")]
    assert decided(settings, more, [decision], 10.0) == settings, "another search was finished"
    assert decided(settings, trials, [decision], 8.0) == found, "fewer minutes void nothing"
