"""Short and older forms of an experiment's keys: multiply-adds are the unit of costs."""

from __future__ import annotations

from typing import Any

import pytest

from evonas.core import experiment as config
from evonas.errors import InputError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], 1_000_000),
        (["objective.target_macs=700000"], 700_000),
        (["objective.target_mflops=1.4"], 700_000),
        (["objective={target_mflops: 14e-1}"], 700_000),
        (["objective.target_mflops=1.4", "objective.target_macs=700000"], 700_000),
    ],
)
def test_targets_on_a_command_line(words: list[str], expected: int) -> None:
    made = config.load("quickstart", words)
    assert made.objective.target_macs == expected
    assert "target_mflops" not in made.model_dump(mode="json")["objective"]


def test_older_files_have_millions_of_operations(tiny: dict[str, Any]) -> None:
    older = config.check(tiny | {"objective": {"target_mflops": 0.2}}, "a file")
    newer = config.check(tiny | {"objective": {"target_macs": 100_000}}, "a file")
    assert older == newer
    changed = config.merge(tiny | {"objective": {"target_mflops": 2}}, ["objective.target_macs=7"])
    assert config.check(changed, "a file").objective.target_macs == 7


@pytest.mark.parametrize("nested", [False, True])
def test_both_targets_are_refused(tiny: dict[str, Any], nested: bool) -> None:
    both = {"target_mflops": 0.2, "target_macs": 100_000}
    words = [f"objective={both}"] if nested else []
    content = {} if nested else {"objective": both}
    with pytest.raises(InputError, match=r"objective: expected target_macs alone, got target_mf"):
        config.merge(tiny | content, words)


def test_targets_that_differ_contradict_each_other() -> None:
    words = ["objective.target_mflops=1", "objective.target_macs=7"]
    with pytest.raises(
        InputError, match=r"contradict each other: both set .objective\.target_macs"
    ):
        config.load("quickstart", words)


@pytest.mark.parametrize("value", ["0", "-1", ".inf", ".nan", "few", "[2]", "1e-7"])
def test_no_number_of_operations(value: str) -> None:
    with pytest.raises(InputError, match=r"^objective\.target_mflops: expected millions of fl"):
        config.load("quickstart", [f"objective.target_mflops={value}"])
