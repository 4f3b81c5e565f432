"""Folds: whole groups where that can work, and said where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.deployment.probing.folds import deal
from evonas.deployment.probing.targets import Target
from evonas.errors import InputError


def quantity(count: int) -> Target:
    return Target("yaw", np.arange(count, dtype=float)[:, None])


def classes(numbers: np.ndarray) -> Target:
    names = tuple(f"class {k}" for k in range(int(numbers.max()) + 1))
    return Target("who", numbers[:, None].astype(float), names)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=15), st.integers(2, 6), st.randoms())
def test_each_image_is_held_out_once_and_no_group_is_on_both_sides(
    sizes: list[int], folds: int, random: object
) -> None:
    groups = np.repeat([f"g{k}" for k in range(len(sizes))], sizes)
    random.shuffle(groups)  # type: ignore[attr-defined]
    if len(groups) < folds:
        return
    dealt = deal(groups, quantity(len(groups)), folds)
    held_out = [test for _, test in dealt]
    assert sorted(np.concatenate(held_out).tolist()) == list(range(len(groups)))
    assert len(held_out) == folds
    assert all(len(test) for test in held_out)
    for train, test in dealt:
        assert sorted([*train, *test]) == list(range(len(groups)))
        shared = set(groups[train]) & set(groups[test])
        assert not shared or "not groups" in dealt.note
    assert bool(dealt.note) == (len(sizes) < folds)
    if not dealt.note:
        counts = [len(test) for test in held_out]
        assert max(counts) - min(counts) <= max(sizes)


def test_the_same_groups_are_dealt_alike_and_evenly() -> None:
    groups = np.array(list("aaaabbbccd"))
    dealt = deal(groups, quantity(10), 2)
    assert dealt.owner.tolist() == [0] * 4 + [1] * 3 + [1] * 2 + [0]


def test_fewer_groups_than_folds_share_their_images() -> None:
    dealt = deal(np.array(list("aaabbb")), quantity(6), 3)
    assert dealt.owner.tolist() == [0, 1, 2, 0, 1, 2]
    assert dealt.note == "folds over images, not groups (only 2 group(s)): the error is too low"


def test_an_identity_is_dealt_by_images_and_no_other_class() -> None:
    """Somebody who is held out as a whole cannot be known; a woman among others can."""
    groups = np.repeat(list("abcdef"), 4)
    who = deal(groups, classes(np.repeat(np.arange(6), 4)), 3)
    assert "each class is in one group" in who.note
    for train, _ in who:
        assert set(groups[train]) == set(groups)
    sex = deal(groups, classes(np.repeat([0, 1, 0, 1, 0, 1], 4)), 3)
    assert sex.note == ""


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"^probe\.folds=5: 'yaw' has only 3 [^\n]+$"):
        deal(np.array(list("abc")), quantity(3), 5)
