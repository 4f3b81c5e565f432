"""One gene changes, by the rules of the space: exact frequencies, walls, limits."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.space import Genome, Mutation, SearchSpace
from evonas.testing.optimizer_problems import space_of

EVOPOSE = SearchSpace.from_file(Path(__file__).parents[2] / "search_spaces" / "evopose2d.yaml")
B0 = EVOPOSE.ancestors[0]
#: Of EfficientNet-B0 (Tan and Le 2019): kernel, repeats, filters, stride of each stage.
TABLE = [
    *((3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 3, 80, 2)),
    *((5, 3, 112, 1), (5, 4, 192, 2), (3, 1, 320, 1)),
]


class Fork(Exception):
    """A draw was made that the script does not answer; it is one of so many."""


class Script:
    """A generator that answers draws of whole numbers from a list."""

    def __init__(self, answers: tuple[int, ...]) -> None:
        self._answers = iter(answers)

    def integers(self, n: int) -> int:
        for answer in self._answers:
            return answer
        raise Fork(n)


def chances(space: SearchSpace, genome: Genome, answers: tuple[int, ...] = ()) -> Counter[Any]:
    """Return the exact probability of every child, by its decoded values."""
    try:
        child = Mutation(space).child(genome, Script(answers))  # type: ignore[arg-type]
    except Fork as fork:
        n = fork.args[0]
        found: Counter[Any] = Counter()
        for answer in range(n):
            for key, chance in chances(space, genome, (*answers, answer)).items():
                found[key] += chance / n  # type: ignore[assignment]
        return found
    values = tuple(gene.decode(x) for gene, x in zip(space.genes, child, strict=True))
    return Counter({values: Fraction(1)})  # type: ignore[dict-item]


def at(space: SearchSpace, *values: Any) -> Genome:
    return np.array([gene.encode(v) for gene, v in zip(space.genes, values, strict=True)])


def five(**rules: Any) -> SearchSpace:
    return space_of({"kind": "ordinal", "choices": [1, 2, 3, 4, 5], **rules})


def alike(*values: int) -> dict[tuple[int], Fraction]:
    return {(value,): Fraction(1, len(values)) for value in values}


def test_a_gene_is_drawn_and_then_any_of_its_values() -> None:
    space = space_of(
        {"kind": "choice", "choices": ["a", "b", "c"]}, {"kind": "integer", "low": 1, "high": 2}
    )
    assert chances(space, at(space, "a", 1)) == {
        ("a", 1): Fraction(1, 2) * Fraction(1, 3) + Fraction(1, 2) * Fraction(1, 2),
        ("b", 1): Fraction(1, 6),
        ("c", 1): Fraction(1, 6),
        ("a", 2): Fraction(1, 4),
    }


@pytest.mark.parametrize(
    ("rules", "start", "expected"),
    [
        ({}, 2, (1, 2, 3, 4, 5)),
        ({"step": 1}, 3, (2, 4)),
        ({"step": 1}, 1, (2,)),
        ({"step": 1}, 5, (4,)),
        ({"step": 2}, 3, (1, 2, 4, 5)),
        ({"step": 2}, 2, (1, 3, 4)),
        ({"step": 9}, 2, (1, 3, 4, 5)),
        ({"mutable": [5, 1]}, 2, (5, 1)),
        ({"mutable": [4]}, 2, (4,)),
        ({"mutable": [1, 4], "step": 1}, 3, (4,)),
        ({"mutable": [1, 4], "step": 1}, 1, (1,)),
        ({"mutable": []}, 2, (2,)),
    ],
)
def test_where_a_gene_may_go(rules: Any, start: int, expected: tuple[int, ...]) -> None:
    """All within reach alike; at a wall only inwards; with no way, nowhere."""
    space = five(**rules)
    assert chances(space, at(space, start)) == alike(*expected)


def test_genes_that_cannot_move_take_no_part_in_the_draw() -> None:
    space = space_of(
        {"kind": "choice", "choices": ["only"]},
        {"kind": "integer", "low": 1, "high": 9, "mutable": []},
        {"kind": "ordinal", "choices": [1, 2], "step": 1},
    )
    assert Mutation(space).movable == [2]
    assert chances(space, at(space, "only", 4, 1)) == {("only", 4, 2): 1}


def test_where_nothing_can_move_a_child_is_an_equal_copy() -> None:
    space = five(mutable=[])
    genome = at(space, 4)
    child = Mutation(space).child(genome, np.random.default_rng(0))
    assert np.array_equal(child, genome)
    assert child is not genome


def test_other_coordinates_stay_and_the_moved_one_stands_in_the_middle() -> None:
    rng = np.random.default_rng(1)
    mutation = Mutation(EVOPOSE)
    for _ in range(300):
        genome = rng.random(EVOPOSE.dim)
        before = genome.copy()
        child = mutation.child(genome, rng)
        assert np.array_equal(genome, before)
        (moved,) = np.flatnonzero(child != genome)
        gene = EVOPOSE.genes[moved]
        assert child[moved] == gene.encode(gene.decode(child[moved]))


def test_a_gene_without_bins_moves_by_a_fifth_of_its_range_and_is_clipped() -> None:
    space = space_of({"kind": "log_float", "low": 1e-4, "high": 1.0})
    mutation, rng = Mutation(space), np.random.default_rng(2)
    moved = np.array([mutation.child(np.array([0.5]), rng)[0] for _ in range(20000)])
    assert moved.mean() == pytest.approx(0.5, abs=0.01)
    # half a width is 2.5 standard deviations: what is clipped there hardly narrows it
    assert moved.std() == pytest.approx(0.2, rel=0.03)
    walled = np.array([mutation.child(np.array([1.0]), rng)[0] for _ in range(2000)])
    assert walled.max() == 1.0
    assert np.mean(walled == 1.0) == pytest.approx(0.5, abs=0.04)


def test_a_gene_without_bins_may_be_given_some_values_alone() -> None:
    space = space_of({"kind": "log_float", "low": 0.001, "high": 1.0, "mutable": [0.01, 0.1]})
    assert chances(space, np.array([0.9])) == {(0.01,): Fraction(1, 2), (0.1,): Fraction(1, 2)}


def test_the_ancestor_is_efficientnet_b0() -> None:
    own, given_strides = B0.settings, (1, 2, 2, 2)
    stages = [(own[f"kernel{i}"], own[f"repeats{i}"], 8 * own[f"filters{i}"]) for i in range(1, 8)]
    strides = (*given_strides, own["stride5"], own["stride6"], own["stride7"])
    assert [(*stage, n) for stage, n in zip(stages, strides, strict=True)] == TABLE
    assert len(EVOPOSE.ancestors) == 1
    assert Mutation(EVOPOSE).fits(EVOPOSE.encode(B0))


def test_children_of_the_ancestor_have_the_published_chances() -> None:
    """Each gene alike; kernel and filters to any value, repeats and strides by one."""
    found = chances(EVOPOSE, EVOPOSE.encode(B0))
    names = [gene.name for gene in EVOPOSE.genes]
    start = tuple(B0.settings[name] for name in names)

    def chance(name: str, value: int) -> Fraction:
        changed = list(start)
        changed[names.index(name)] = value
        return found[tuple(changed)]  # type: ignore[return-value]

    gene = Fraction(1, 24)
    assert sum(found.values()) == 1
    assert chance("repeats1", 2) == chance("repeats6", 3) == gene
    assert chance("repeats2", 1) == chance("repeats2", 3) == gene / 2
    assert chance("repeats2", 4) == chance("repeats1", 3) == 0
    assert chance("kernel3", 3) == chance("kernel1", 5) == gene / 2
    assert [chance("filters7", n) for n in range(1, 40)] == [gene / 40] * 39
    assert chance("stride6", 1) == chance("stride5", 2) == gene


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_what_descends_from_the_ancestor_keeps_the_published_rules(seed: int) -> None:
    rng, mutation = np.random.default_rng(seed), Mutation(EVOPOSE)
    genome = EVOPOSE.encode(B0)
    for _ in range(60):
        child = mutation.child(genome, rng)
        before, after = EVOPOSE.decode(genome).settings, EVOPOSE.decode(child).settings
        changed = [name for name in before if before[name] != after[name]]
        assert len(changed) <= 1
        for name in changed:
            if name.startswith("repeats"):
                assert abs(before[name] - after[name]) == 1
        # the stem and stages 2 to 4 halve four times: one more makes 32
        whole = 16 * np.prod([after[f"stride{i}"] for i in (5, 6, 7)])
        assert mutation.fits(child) == (whole <= 32)
        if mutation.fits(child):
            genome = child


def test_limits_count_what_counts() -> None:
    genes = [
        {"name": "split", "kind": "choice", "choices": [False, True]},
        {"name": "a", "kind": "ordinal", "choices": [0.1, 0.2, 0.3]},
        {"name": "b", "kind": "ordinal", "choices": [0.1, 0.2, 5], "when": {"split": True}},
    ]
    data = {"name": "toy", "network": "none", "genes": genes}
    free = Mutation(SearchSpace.from_dict(data))
    space = SearchSpace.from_dict(data | {"limits": [{"genes": ["a", "b"], "at_most": 0.3}]})
    bound = Mutation(space)
    cases = [(True, 0.1, 5), (True, 0.2, 0.2), (True, 0.1, 0.2), (False, 0.3, 5)]
    assert [bound.fits(at(space, *case)) for case in cases] == [False, False, True, True]
    assert all(free.fits(at(space, *case)) for case in cases)


def test_every_limit_binds() -> None:
    genes = [{"name": name, "kind": "integer", "low": 0, "high": 3} for name in "ab"]
    limits = [{"genes": ["a"], "at_most": 2}, {"genes": ["a", "b"], "at_most": 4}]
    space = SearchSpace.from_dict(
        {"name": "toy", "network": "none", "genes": genes, "limits": limits}
    )
    mutation = Mutation(space)
    assert [mutation.fits(at(space, *case)) for case in ((2, 2), (3, 0), (2, 3))] == [
        True,
        False,
        False,
    ]
