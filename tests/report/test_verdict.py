"""The sentence on what a search was worth."""

from __future__ import annotations

import pytest

from evonas.report.verdict import Rated, fine_tuning_verdict, verdict

COSTS = "at 1.00 against 0.50 M multiply-adds"


def said(*errors: float, rivals: list[Rated], unit: str = "degrees", **options: object) -> str:
    winner = Rated("winner", errors, 1_000_000)
    return verdict(winner, rivals, unit, **{"limited": True, **options})


def rival(*errors: float, name: str = "head on block3", **options: bool) -> Rated:
    return Rated(name, errors, 500_000, **options)


def test_a_winner_that_is_better_says_by_how_much() -> None:
    assert said(9.6, 9.7, rivals=[rival(10.9, 11.04), rival(12.0, name="other")]) == (
        "The winner's error is 12 % lower than that of the best baseline within the limit (head on "
        f"block3): 9.65 against 10.97 degrees, {COSTS}."
    )


def test_single_trainings_say_nothing_of_noise() -> None:
    assert said(9.0, rivals=[rival(10.0)], limited=False) == (
        "The winner's error is 10 % lower than that of the best baseline (head on block3): 9 "
        f"against 10 degrees, {COSTS}; single trainings, so their noise is unknown."
    )


def test_a_winner_that_lost_names_the_better_baseline() -> None:
    rivals = [rival(27.1, name="logistic regression"), rival(28.0)]
    assert said(30.7, rivals=rivals, unit="percent") == (
        f"No better than logistic regression: 30.7 against 27.1 percent, {COSTS}."
    )
    assert said(5.0, rivals=[rival(5.0)]).startswith("No better than head on block3: 5 against 5")


@pytest.mark.parametrize(
    ("errors", "options", "doubt"),
    [
        # sd 0.7071 of each, two trainings: 2 x sqrt(0.25 + 0.25)
        (((9.5, 10.5), (10.0, 11.0)), {}, "1.4"),
        # of a linear model no noise: 2 x sqrt(0.25)
        (((9.5, 10.5), (10.5, 10.5)), {"fixed": True}, "1"),
    ],
)
def test_a_difference_within_two_standard_errors_is_none(
    errors: tuple[tuple[float, ...], ...], options: dict[str, bool], doubt: str
) -> None:
    assert said(*errors[0], rivals=[rival(*errors[1], **options)]) == (
        "No better than head on block3 beyond noise: 10 against 10.5 degrees, which is less than 2 "
        f"standard errors ({doubt}) apart, {COSTS}."
    )


def test_folds_are_compared_one_by_one() -> None:
    folds = {"rivals": [rival(11.0, 21.1, 31.0)]}  # 1 worse in each fold, which differ by 10
    assert "beyond noise" in said(10.0, 20.0, 30.0, **folds)
    assert said(10.0, 20.0, 30.0, **folds, paired=True).startswith("The winner's error is 4.9 %")


def test_noise_that_is_known_otherwise_counts_for_single_trainings() -> None:
    assert "beyond noise" in said(9.0, rivals=[rival(9.3)], noise=0.2)  # 2 x 0.2 x sqrt(2)
    assert "beyond noise" not in said(9.0, rivals=[rival(9.6)], noise=0.2)


def test_baselines_beyond_the_limit_or_without_result_do_not_count() -> None:
    rivals = [rival(1.0, name="costly", over_limit=True), rival(name="failed")]
    assert said(9.0, rivals=[*rivals, rival(10.0)]).startswith("The winner's error is 10 % lower")
    assert said(9.0, rivals=rivals) == (
        "No baseline within the limit has an error, so nothing says what the search was worth."
    )


def test_there_is_no_verdict_without_baselines_or_a_winner() -> None:
    assert said(9.0, rivals=[]) == said(rivals=[rival(1.0)]) == ""


def test_a_loss_has_no_unit_and_may_be_negative() -> None:
    assert said(-2.0, rivals=[rival(-1.5)], unit="") == (
        "The winner's error is lower than that of the best baseline within the limit (head on "
        f"block3): -2 against -1.5, {COSTS}; single trainings, so their noise is unknown."
    )


def test_fine_tuning_is_held_against_the_frozen_backbone() -> None:
    assert fine_tuning_verdict([6.2, 6.3], [5.3, 5.5], "degrees") == (
        "The error is 14 % lower than on the frozen backbone: 5.4 against 6.25 degrees."
    )
    assert fine_tuning_verdict([6.0], [5.7], "degrees") == (
        "The error is 5 % lower than on the frozen backbone: 5.7 against 6 degrees; a single "
        "training, so its noise is unknown."
    )
    assert fine_tuning_verdict([6.0, 6.2], [6.3, 6.1], "") == (
        "No better than the frozen backbone: 6.2 against 6.1."
    )


def test_the_noise_of_fine_tuning_is_that_of_the_pairs() -> None:
    # both differ by 0.3 between trainings, but each gains the same
    said = fine_tuning_verdict([6.0, 6.6], [5.8, 6.39], "degrees")
    assert said.startswith("The error is 3.3 % lower")
    said = fine_tuning_verdict([6.0, 6.6], [6.2, 5.9], "degrees")
    assert said == (
        "No better than the frozen backbone beyond noise: 6.05 against 6.3 degrees, which is less "
        "than 2 standard errors (0.9) apart."
    )


def test_nothing_is_claimed_on_images_that_were_trained_on() -> None:
    said = fine_tuning_verdict([6.2, 6.3], [1.3, 1.5], "degrees", ["all were trained on"])
    assert said == "No claim of an improvement (1.4 against 6.25 degrees): all were trained on."
