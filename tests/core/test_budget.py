"""Budgets in trainings, minutes or both: in files, on the command line and from Python."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from evonas.api import search as module
from evonas.core import experiment as config
from evonas.core.budget import UNLIMITED, statement
from evonas.core.experiment import Experiment
from evonas.errors import InputError

MINUTES = (UNLIMITED, 10.0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (32, None)),
        (["budget=5"], (5, None)),
        (["minutes=10"], MINUTES),
        (["budget.minutes=10"], MINUTES),
        (["budget={minutes: 10}"], MINUTES),
        (["budget={minutes: 10, trainings: 7}"], (7, 10.0)),
        (["budget.minutes=10", "budget.trainings=7"], (7, 10.0)),
        (["minutes=10", "budget=7"], (7, 10.0)),
        (["budget=7", "minutes=null"], (7, None)),
    ],
)
def test_words(words: list[str], expected: tuple[int, float | None]) -> None:
    for order in (words, words[::-1]):
        made = config.load("quickstart", order)
        assert (made.budget, made.minutes) == expected
        plain = made.model_dump(mode="json")
        assert plain["budget"] == (None if made.budget == UNLIMITED else made.budget)
        assert config.check(yaml.safe_load(yaml.safe_dump(plain)), "the file again") == made


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"budget": 9}, (9, None)),
        ({"budget": {"minutes": 10}}, MINUTES),
        ({"minutes": 10}, MINUTES),
        ({"budget": {"trainings": 9, "minutes": 10}}, (9, 10.0)),
        ({"budget": 9, "minutes": 10}, (9, 10.0)),
        ({}, (60, None)),
    ],
)
def test_files(
    tiny: dict[str, Any], content: dict[str, Any], expected: tuple[int, float | None]
) -> None:
    del tiny["budget"]
    made = config.check(tiny | content, "a file")
    assert (made.budget, made.minutes) == expected


def test_a_run_with_minutes_that_is_resumed_may_have_others() -> None:
    run = config.load("quickstart", ["minutes=10", "budget=7"])
    for changes, expected in (
        ({"minutes": 20}, (UNLIMITED, 20.0)),
        ({"budget": 9}, (9, 10.0)),
        ({"budget": {"minutes": 20, "trainings": 9}}, (9, 20.0)),
    ):
        again = run.changed(**changes)
        assert (again.budget, again.minutes) == expected
        assert not config.differences(run.model_dump(), again.model_dump())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["budget.minuts=3"], "unknown key 'budget.minuts': did you mean 'minutes'"),
        (["budget={trainings: 3, hours: 1}"], "unknown key 'budget.hours'"),
        (["minutes=0"], "minutes: input should be greater than 0"),
        (["minutes=-1"], "minutes: input should be greater than 0"),
        (["minutes=nan"], "minutes: input should be a finite number"),
        (["budget.minutes=soon"], "minutes: input should be a valid number"),
        (["budget={minutes: 3}", "budget.minutes=4"], "contradict each other"),
        (["budget=null"], r"expected a number of networks, \{minutes: N\} or both"),
    ],
)
def test_what_is_no_budget_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.load("quickstart", words)


def test_minutes_in_two_places_of_a_file_are_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="minutes: expected once"):
        config.check(tiny | {"budget": {"minutes": 3}, "minutes": 4}, "a file")


def test_a_budget_in_words() -> None:
    assert statement(32, None) == "32 networks"
    assert statement(32, None, "curves") == "32 whole trainings"
    assert statement(UNLIMITED, 10.0) == "as many networks as fit 10 min"
    assert statement(32, 2.5) == "32 networks or as many as fit 2.5 min"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (6, None)),
        ({"budget": 4}, (4, None)),
        ({"minutes": 10}, MINUTES),
        ({"minutes": 10, "budget": 4}, (4, 10.0)),
    ],
)
def test_arguments_of_a_search(
    tiny_experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, int],
    expected: tuple[int, float | None],
) -> None:
    chosen: list[Experiment] = []

    def begin(experiment: Experiment, *_: object) -> None:
        chosen.append(experiment)
        raise InterruptedError

    monkeypatch.setattr(module, "_Run", begin)
    with pytest.raises(InterruptedError):
        module.search(tiny_experiment, **given)
    assert [(one.budget, one.minutes) for one in chosen] == [expected]
