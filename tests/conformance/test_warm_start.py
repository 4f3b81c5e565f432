"""Warm start of every strategy, and observations of wrong shapes."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.core import registry
from evonas.errors import InputError
from evonas.testing import WarmStartConformance
from evonas.testing.optimizer_problems import build, drive, ordinal

WRONG = [
    ("genomes of another length", [[0.5] * 5], [1.0], None, "genomes", "(1, 5)"),
    ("as many numbers by chance", [[0.5] * 8] * 3, [1.0] * 4, None, "genomes", "(3, 8)"),
    ("one genome, not a list", [0.5] * 6, [1.0], None, "genomes", "(6,)"),
    ("genomes outside", [[1.5] * 6], [1.0], None, "genomes", "[0, 1]"),
    ("genomes of nan", [[np.nan] * 6], [1.0], None, "genomes", "[0, 1]"),
    ("no genomes", "abc", [1.0], None, "genomes", "'abc'"),
    ("ragged genomes", [[0.5] * 6, [0.5]], [1.0, 2.0], None, "genomes", ""),
    ("too much fitness", [[0.5] * 6], [1.0, 2.0], None, "fitness", "(2,)"),
    ("fitness of words", [[0.5] * 6], ["good"], None, "1 numbers", "good"),
    ("too many axes", [[0.5] * 6], [1.0], [[1.0], [2.0]], "axes", "(2, 1)"),
    ("flat axes", [[0.5] * 6], [1.0], [1.0], "axes", "(1,)"),
    ("no axes", [[0.5] * 6], [1.0], [[]], "axes", "(1, 0)"),
    ("axes of words", [[0.5] * 6], [1.0], [["low"]], "axes", "low"),
]


class TestWarmStart(WarmStartConformance):
    names = registry.names("optimizer")
    memoryless = ("random",)


@pytest.mark.parametrize("wrong", WRONG, ids=[wrong[0] for wrong in WRONG])
def test_wrong_shapes_are_one_line_that_names_what_is_wrong(wrong: tuple) -> None:
    _, genomes, fitness, axes, what, got = wrong
    optimizer = build("random", ordinal())
    with pytest.raises(InputError) as caught:
        optimizer.add_observations(genomes, fitness, axes)
    assert str(caught.value).startswith("add_observations() expected ")
    assert what in str(caught.value)
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)
    if what == "genomes":
        with pytest.raises(InputError, match=r"^enqueue\(\) expected genomes"):
            optimizer.enqueue(genomes)
    # what was refused left nothing behind
    pairs = zip(drive(optimizer, asks=3), drive(build("random", ordinal()), asks=3), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_numbers_outside_the_range_are_named_as_such() -> None:
    """The shape is right, so a message that only tells the shape helps nobody."""
    with pytest.raises(InputError, match=r"add_observations\(\) expected .*\[0, 1\], got .*1\.5"):
        build("random", ordinal()).add_observations([[0.5] * 5 + [1.5]], [1.0])
