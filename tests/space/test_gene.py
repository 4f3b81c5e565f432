"""The map of one gene: its bins, its inverse, its order, its errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import InputError
from evonas.space import Gene

unit = st.floats(0.0, 1.0, allow_subnormal=True)


def discrete(n: int, kind: str = "ordinal") -> Gene:
    return Gene.from_dict({"name": "g", "kind": kind, "choices": list(range(n))}, "here")


@st.composite
def genes(draw: st.DrawFn) -> Gene:
    """Any gene."""
    kind = draw(st.sampled_from(["choice", "ordinal", "integer", "log_float"]))
    spec: dict[str, Any] = {"name": draw(st.text(min_size=1, max_size=5)), "kind": kind}
    if kind == "integer":
        low = draw(st.integers(-50, 50))
        spec |= {"low": low, "high": low + draw(st.integers(0, 40))}
    elif kind == "log_float":
        low = draw(st.floats(1e-6, 1e3))
        spec |= {"low": low, "high": low * draw(st.floats(1.5, 1e6))}
    else:
        value = st.one_of(
            st.text(max_size=3),
            st.integers(-9, 9),
            st.booleans(),
            st.floats(-9, 9).filter(lambda v: v != int(v)),
        )
        spec["choices"] = draw(
            st.lists(value, min_size=1, max_size=9, unique_by=lambda v: (type(v), v))
        )
    return Gene.from_dict(spec, "here")


@given(unit, st.integers(1, 200))
def test_index_as_published(x: float, n: int) -> None:
    """index = max(ceil(x n), 1) - 1 (Matak 2020, model/representation.py)."""
    assert discrete(n).decode(x) == max(math.ceil(x * n), 1) - 1


@given(st.integers(1, 200))
def test_the_ends_of_the_interval(n: int) -> None:
    assert discrete(n).decode(0.0) == 0
    assert discrete(n).decode(1.0) == n - 1


@pytest.mark.parametrize("n", [2, 4, 8, 16])  # exact in binary
def test_a_bin_is_open_below_and_closed_above(n: int) -> None:
    for i in range(n):
        assert discrete(n).decode((i + 1) / n) == i
        assert discrete(n).decode(math.nextafter(i / n, 1.0)) == i


@given(genes(), unit)
def test_decoding_an_encoded_value_gives_it_back(gene: Gene, x: float) -> None:
    value = gene.decode(x)
    again = gene.decode(gene.encode(value))
    if gene.kind == "log_float":
        # Three digits were kept; the way back may round to the neighbour at most.
        assert again == pytest.approx(value, rel=1e-2)
    else:
        assert again == value
        assert type(again) is type(value)


@given(genes(), unit)
def test_encoding_stays_in_the_bin(gene: Gene, x: float) -> None:
    y = gene.encode(gene.decode(x))
    assert 0.0 <= y <= 1.0
    if gene.values:
        assert abs(x - y) <= 0.5 / len(gene.values) + 1e-12
    else:
        assert abs(x - y) <= 6e-3 / math.log(gene.high / gene.low) + 1e-9


@given(genes(), unit, unit)
def test_order_is_kept(gene: Gene, x: float, y: float) -> None:
    low, high = sorted((x, y))
    if gene.kind in ("integer", "log_float"):
        assert gene.decode(low) <= gene.decode(high)  # type: ignore[operator]
    elif gene.kind == "ordinal":
        first, second = gene.encode(gene.decode(low)), gene.encode(gene.decode(high))
        assert first <= second


@given(st.integers(1, 60))
def test_bins_are_equally_wide(n: int) -> None:
    gene = discrete(n)
    assert [gene.decode((i + 0.5) / n) for i in range(n)] == list(range(n))


def test_integer_includes_both_ends() -> None:
    gene = Gene.from_dict({"name": "g", "kind": "integer", "low": -1, "high": 2}, "here")
    assert gene.values == (-1, 0, 1, 2)
    assert gene.size == 4


def test_log_float_is_geometric() -> None:
    gene = Gene.from_dict({"name": "g", "kind": "log_float", "low": 1e-4, "high": 1.0}, "here")
    assert [gene.decode(x) for x in (0.0, 0.25, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2, 1.0]
    assert gene.size == math.inf
    assert gene.decode(0.123456) == float(f"{gene.decode(0.123456):.3g}")


@given(st.floats(1e-9, 1e9), st.floats(1.0 + 1e-6, 1e6), unit)
def test_log_float_stays_in_its_range(low: float, factor: float, x: float) -> None:
    gene = Gene.from_dict(
        {"name": "g", "kind": "log_float", "low": low, "high": low * factor}, "here"
    )
    assert gene.low <= gene.decode(x) <= gene.high  # type: ignore[operator]


def test_true_is_not_one() -> None:
    gene = Gene.from_dict({"name": "g", "kind": "choice", "choices": [1, True, 0, False]}, "here")
    assert [gene.encode(v) for v in (1, True, 0, False)] == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("kind", ["ordinal", "log_float"])
def test_a_value_outside_is_told(kind: str) -> None:
    spec: dict[str, Any] = {"name": "g", "kind": kind}
    spec |= {"choices": [1, 2]} if kind == "ordinal" else {"low": 1.0, "high": 2.0}
    for value in (3, "x", 0.5):
        with pytest.raises(InputError, match=r"gene 'g': expected .* got"):
            Gene.from_dict(spec, "here").encode(value)


THREE: dict[str, Any] = {"name": "g", "kind": "ordinal", "choices": [1, 3, 5]}
RATE: dict[str, Any] = {"name": "g", "kind": "log_float", "low": 0.001, "high": 0.1}


def test_rules_of_mutation_are_read_and_decide_no_decoding() -> None:
    plain, ruled = (
        Gene.from_dict(spec, "here") for spec in (THREE, THREE | {"step": 2, "mutable": [3.0, 1]})
    )
    assert (plain.step, plain.mutable) == (0, None)
    assert (ruled.step, ruled.mutable) == (2, (3, 1))
    assert ruled.mutable is not None
    assert type(ruled.mutable[0]) is int, "values are the gene's own"
    assert [ruled.decode(x) for x in (0.1, 0.5, 0.9)] == [1, 3, 5]
    assert Gene.from_dict(THREE | {"mutable": []}, "here").mutable == ()
    assert Gene.from_dict(RATE | {"mutable": [0.01]}, "here").mutable == (0.01,)
    whole = {"name": "g", "kind": "integer", "low": 1, "high": 4, "step": 1}
    assert Gene.from_dict(whole, "here").step == 1


def test_numeric_and_takes() -> None:
    kinds = ([1, 2.5], [1, "a"], [True, False])
    genes_of = [Gene.from_dict(THREE | {"choices": values}, "here") for values in kinds]
    assert [gene.numeric for gene in genes_of] == [True, False, False]
    assert Gene.from_dict(RATE, "here").numeric
    assert [genes_of[0].takes(v) for v in (1, 2.5, 2, True, "a")] == [True, True] + [False] * 3
    assert [Gene.from_dict(RATE, "here").takes(v) for v in (0.05, 1, True)] == [True, False, False]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("text", "expected a gene with a name, got 'text'"),
        ({"kind": "choice", "choices": [1]}, "expected a gene with a name"),
        ({"name": 3, "kind": "choice"}, "expected a gene with a name"),
        ({"name": "g"}, "unknown kind None"),
        ({"name": "g", "kind": "ordnal", "choices": [1]}, "did you mean 'ordinal'"),
        ({"name": "g", "kind": "choice"}, "needs the key 'choices'"),
        ({"name": "g", "kind": "choice", "choices": []}, r"at least one choice, got \[\]"),
        ({"name": "g", "kind": "choice", "choices": "abc"}, "a list with at least one choice"),
        ({"name": "g", "kind": "choice", "choices": [[1]]}, "expected choices of text, numbers"),
        ({"name": "g", "kind": "choice", "choices": [None]}, "expected choices of text, numbers"),
        ({"name": "g", "kind": "choice", "choices": [1, 1]}, "expected each choice once"),
        ({"name": "g", "kind": "choice", "choice": [1]}, "unknown key 'choice': did you mean"),
        ({"name": "g", "kind": "choice", "choices": [1], "low": 1}, "unknown key 'low'"),
        ({"name": "g", "kind": "integer", "low": 2, "high": 1}, "integers low <= high, got 2, 1"),
        ({"name": "g", "kind": "integer", "low": 1.0, "high": 2}, "expected integers"),
        ({"name": "g", "kind": "integer", "low": 1}, "needs the key 'high'"),
        ({"name": "g", "kind": "log_float", "low": 0, "high": 1}, "numbers 0 < low < high"),
        ({"name": "g", "kind": "log_float", "low": 1, "high": 1}, "numbers 0 < low < high"),
        ({"name": "g", "kind": "log_float", "low": "1", "high": 2}, "numbers 0 < low < high"),
        ({"name": "g", "kind": "log_float", "low": 1, "high": math.inf}, "0 < low < high"),
        ({"name": "g", "kind": "choice", "choices": [1], "when": [1]}, "'when' as a mapping"),
        ({"name": "g", "kind": "choice", "choices": [math.nan]}, "numbers or true/false, got nan"),
        ({"name": "g", "kind": "choice", "choices": [math.inf]}, "got inf"),
        (
            THREE | {"kind": "choice", "step": 1},
            "'step' with kind ordinal or integer only.*'choice'",
        ),
        (RATE | {"step": 1}, "'step' with kind ordinal or integer only, got kind 'log_float'"),
        (THREE | {"step": 0}, "'step': expected a whole number of at least 1, got 0"),
        (THREE | {"step": True}, "'step': expected a whole number of at least 1, got True"),
        (THREE | {"step": 1.0}, "'step': expected a whole number of at least 1, got 1.0"),
        (THREE | {"step": None}, "'step': expected a whole number of at least 1, got None"),
        (THREE | {"steps": 1}, "unknown key 'steps': did you mean 'step'"),
        (THREE | {"mutable": 3}, r"'mutable': expected a list .*\[\]: none.*, got 3"),
        (THREE | {"mutable": None}, "'mutable': expected a list .*, got None"),
        (THREE | {"mutable": [3, 7]}, r"'mutable': .* expected one of \[1, 3, 5\], got 7"),
        (THREE | {"mutable": [True]}, r"'mutable': .* expected one of \[1, 3, 5\], got True"),
        (THREE | {"mutable": [[3]]}, r"'mutable': .* got \[3\]"),
        (THREE | {"mutable": [3, 3.0]}, "'mutable': expected each choice once"),
        (RATE | {"mutable": [0.2]}, r"'mutable': .* a number in \[0.001, 0.1\], got 0.2"),
        (RATE | {"mutable": ["x"]}, r"'mutable': .* a number in \[0.001, 0.1\], got 'x'"),
        ({"name": "g", "kind": "log_float", "low": 0.5, "high": 2, "mutable": [True]}, "got True"),
    ],
)
def test_errors_are_one_line_and_name_the_place(spec: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as info:
        Gene.from_dict(spec, "spaces/x.yaml")
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("spaces/x.yaml")
