"""The lines after a search: what won, how sure that is, what else there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from evonas.core.settings import FinalsSettings
from evonas.estimation.measurement import Measurement
from evonas.report import search_summary as outcome
from evonas.runs.callbacks import TrainedBaseline
from evonas.runs.finals import Finalist, Outcome
from evonas.runs.run_store import Trial


def finalist(name: str, error: float, *errors: float, macs: int = 1_000_000) -> Finalist:
    trial = Trial(0, 0, (0.5,), name, {}, "ok", 2 * error, macs, metrics={"mae": error})
    return Finalist(
        trial,
        tuple(
            changed(trial, status="final", repeat=i, fitness=2 * e, metrics={"mae": e})
            for i, e in enumerate(errors, start=1)
        ),
    )


def winner(*finalists: Finalist) -> list[str]:
    return list(outcome.winner(finalists, "mae", "degrees"))


def test_a_winner_by_further_seeds_says_how_sure_it_is() -> None:
    assert winner(finalist("b", 4.0, 5.0, 7.0), finalist("a", 3.0, 8.0, 8.0)) == [
        "Best: mae 6.000 ±1.414 degrees at 1.00 M multiply-adds of head, fitness 12.000.",
        "That is the mean of 2 further seed(s); of 2 finalist(s) it was number 2 in the search "
        "with 4.000; seeds differ by 1.000 degrees (sd).",
    ]


def test_one_further_seed_says_nothing_of_noise() -> None:
    assert winner(finalist("b", 4.0, 5.0)) == [
        "Best: mae 5.000 degrees at 1.00 M multiply-adds of head, fitness 10.000.",
        "That is the mean of 1 further seed(s); of 1 finalist(s) it was number 1 in the search "
        "with 4.000.",
    ]


def held(winner: Finalist, *others: Finalist, cheaper: Sequence[Finalist] = ()) -> Outcome:
    """An outcome whose winner is the leader."""
    return Outcome([winner, *others], list(cheaper), winner)


def test_why_the_winner_is_named_is_said_in_a_sentence() -> None:
    leader, cheap = finalist("a", 3.0, 4.0, 4.5), finalist("b", 4.0, 4.4, 4.6, macs=500_000)
    found, race, cost = held(leader, cheap), FinalsSettings(), FinalsSettings(prefer="cost")
    fixed = FinalsSettings(method="fixed")
    lowest = "It is named for the lowest mean fitness of 2 networks."
    assert outcome.reason(found, fixed, "mae") == outcome.reason(found, None, "mae") == lowest
    won = "It is named as the winner of a race of 2 networks over seeds, 4 further trainings in all"
    assert outcome.reason(found, race, "mae") == f"{won}."
    within = "within seed noise (2 standard errors)"
    none_cheaper = f"{won}; no cheaper one with two seeds is {within}."
    assert outcome.reason(found, cost, "mae") == none_cheaper
    assert outcome.reason(Outcome([cheap, leader], [], leader), cost, "mae") == (
        f"It is named as the cheapest {within} of the lowest error: a has 4.250 at 1.00 M "
        f"multiply-adds of head."
    )


def test_without_a_choice_there_is_no_reason() -> None:
    alone, unsure = finalist("a", 3.0, 4.0, 5.0), finalist("a", 3.0)
    assert outcome.reason(held(alone), FinalsSettings(), "mae") == ""
    assert outcome.reason(held(unsure), None, "mae") == ""
    assert outcome.reason(Outcome([], [], None), None, "mae") == ""


def test_without_finals_there_is_one_line() -> None:
    assert winner(finalist("b", 4.0, macs=1234)) == [
        "Best: mae 4.000 degrees at 0.0012 M multiply-adds of head, fitness 8.000."
    ]


def test_a_winner_that_does_not_beat_a_constant_prediction_says_so_first() -> None:
    beaten = list(outcome.winner([finalist("b", 4.0, 5.0)], "mae", "degrees", constant=5.0))
    assert beaten[0] == (
        "NOTHING WAS LEARNED: the winner's mae of 5.000 degrees does not beat the 5.000 of a "
        "constant prediction: look at the labels (`evonas data check`), lower "
        "training.learning_rate, or train for more epochs."
    )
    assert beaten[1:] == winner(finalist("b", 4.0, 5.0))
    won = list(outcome.winner([finalist("b", 4.0, 5.0)], "mae", "degrees", constant=5.001))
    assert won == winner(finalist("b", 4.0, 5.0))


def test_what_is_as_good_and_cheaper_is_named_with_its_seeds() -> None:
    best = finalist("a", 3.0, 3.0, 5.0)
    some = [finalist("b", 4.0, macs=500_000), finalist("c", 9.0, 4.5, 4.5, macs=600_000)]
    named = (
        "(2 standard errors) and cheaper: b 4.000 at 0.50 M multiply-adds of head "
        "(1 seed), c 4.500 at 0.60 M multiply-adds of head (2 seeds): see best.json. To take it "
        "instead: evonas retrain runs/x --pick b"
    )
    line = outcome.statistically_tied(held(best, cheaper=some), "mae", "runs/x")
    assert line == f"Within seed noise of it {named}"
    other = finalist("z", 3.0, 3.0, 3.0, macs=700_000)
    line = outcome.statistically_tied(Outcome([other, best], some, best), "mae", "runs/x")
    assert line == f"Within seed noise of a {named}"


def test_of_many_that_are_as_good_three_are_named() -> None:
    many = [finalist(name, 4.0) for name in "bcdef"]
    line = outcome.statistically_tied(held(finalist("a", 3.0), cheaper=many), "mae", "RUN")
    assert line.count(" 4.000 at ") == 3
    assert "(1 seed) and 2 more: see best.json. To take it" in line
    few = held(finalist("a", 3.0), cheaper=many[:3])
    assert "more" not in outcome.statistically_tied(few, "mae", "RUN")


def test_nothing_as_good_is_no_line() -> None:
    assert outcome.statistically_tied(held(finalist("a", 3.0)), "mae", "RUN") == ""


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (("error", "macs"), "Front of error, macs: 2 network(s), "),
        (("error", "macs", "latency"), "Front of error, macs, latency: 2 network(s), "),
    ],
)
def test_a_front_is_told_by_its_ends(axes: tuple[str, ...], expected: str) -> None:
    trials = [finalist("b", 7.0, macs=500_000).trial, finalist("a", 3.0).trial]
    assert outcome.front(trials, "mae", "degrees", axes) == (
        f"{expected}7.000 degrees at 0.50 M multiply-adds of head to 3.000 at 1.00 M "
        "multiply-adds of head: front.json."
    )


def test_a_front_of_one_has_one_end() -> None:
    line = outcome.front([finalist("a", 3.0).trial], "mae", "degrees", ("error", "macs"))
    assert line == (
        "Front of error, macs: 1 network(s), 3.000 degrees at 1.00 M multiply-adds of head: "
        "front.json."
    )


def test_baselines_say_what_they_reached_or_what_went_wrong() -> None:
    rivals = [
        TrainedBaseline("linear on block3", "d", Measurement("ok", {"mae": 9.0}, macs=500)),
        TrainedBaseline(
            "head on block4",
            "e",
            Measurement.failure("diverged", "loss is nan", macs=1_500_000),
            over_limit=True,
        ),
        TrainedBaseline("ridge on block4", "", Measurement("ok", {"mae": 8.0}, macs=500), "of 9"),
    ]
    assert list(outcome.baselines(rivals, "mae", "degrees", "objective.max_macs=1000000")) == [
        "Trained the same way, linear on block3: mae 9.000 degrees at 0.0005 M multiply-adds "
        "of head.",
        "Trained the same way, head on block4: loss is nan at 1.50 M multiply-adds of head, beyond "
        "objective.max_macs=1000000.",
        "Fitted to the same images, ridge on block4: mae 8.000 degrees at 0.0005 M multiply-adds "
        "of head (of 9).",
    ]


def test_the_verdict_of_a_search_takes_the_noise_of_its_finals() -> None:
    finalists = [finalist("a", 3.0, 5.0, 5.2), finalist("b", 3.5, 6.0, 6.2)]  # sd 0.1414
    rivals = [
        TrainedBaseline(
            "costly", "d", Measurement("ok", {"mae": 1.0}, macs=5_000_001), over_limit=True
        ),
        TrainedBaseline("failed", "e", Measurement.failure("diverged", "loss is nan")),
        TrainedBaseline("head", "f", Measurement("ok", {"mae": 5.4}, macs=500_000)),
    ]
    # 2 x 0.1414 x sqrt(1 / 2 + 1) = 0.346 is more than the 0.3 between 5.1 and 5.4
    said = outcome.search_verdict(finalists, rivals, "mae", "degrees", "objective.max_macs=5000000")
    assert said.startswith("No better than head beyond noise: 5.1 against 5.4 degrees")
    assert "(0.35)" in said
    # a fit has no such noise: 2 x 0.1414 x sqrt(1 / 2) = 0.2
    fit = TrainedBaseline("ridge", "", rivals[2].measurement)
    assert outcome.search_verdict(finalists, [fit], "mae", "degrees").startswith(
        "The winner's error is 5.6 % lower than that of the best baseline (ridge): 5.1 against 5.4"
    )
    assert outcome.search_verdict(finalists, [], "mae", "degrees") == ""


def test_a_latency_that_was_measured_stands_beside_the_operations() -> None:
    best = finalist("a", 3.0)
    timed = replace(best, trial=changed(best.trial, latency=0.4321, latency_noise=0.034))
    assert winner(timed) == [
        "Best: mae 3.000 degrees at 1.00 M multiply-adds of head and 0.432 ms ±3 %, fitness 6.000."
    ]
