"""A whole space: total, many to one, reversible, and plain about what is wrong in it."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evonas.errors import InputError
from evonas.space import Architecture, SearchSpace

SPEC: dict[str, Any] = {
    "name": "toy",
    "network": "net",
    "genes": [
        {"name": "depth", "kind": "integer", "low": 0, "high": 3},
        {"name": "split", "kind": "ordinal", "choices": [0.0, 0.5, 1.0], "when": {"depth": [2, 3]}},
        {"name": "block", "kind": "choice", "choices": ["a", "b"]},
        {
            "name": "kernel",
            "kind": "ordinal",
            "choices": [1, 3, 5],
            "when": {"block": "a", "depth": [1, 2, 3]},
        },
        {"name": "rate", "kind": "log_float", "low": 0.001, "high": 0.1, "when": {"split": 1.0}},
    ],
}
TOY = SearchSpace.from_dict(SPEC)
points = arrays(np.float64, TOY.dim, elements=st.floats(0.0, 1.0))


@given(points)
def test_every_point_decodes_and_comes_back(genome: np.ndarray) -> None:
    architecture = TOY.decode(genome)
    again = TOY.decode(TOY.encode(architecture))
    if "rate" in architecture.settings:
        assert again.settings["rate"] == pytest.approx(architecture.settings["rate"], rel=1e-2)
    else:
        assert again == architecture
        assert again.digest == architecture.digest


@given(points)
def test_a_gene_that_does_not_count_leaves_no_trace(genome: np.ndarray) -> None:
    settings = TOY.decode(genome).settings
    assert ("split" in settings) == (settings["depth"] >= 2)
    assert ("kernel" in settings) == (settings["block"] == "a" and settings["depth"] >= 1)
    assert ("rate" in settings) == (settings.get("split") == 1.0)
    for i, gene in enumerate(TOY.genes):
        if gene.name not in settings:
            other = genome.copy()
            other[i] = 1.0 - other[i]
            assert TOY.decode(other).digest == TOY.decode(genome).digest


@given(points)
def test_architectures_survive_json(genome: np.ndarray) -> None:
    architecture = TOY.decode(genome)
    again = Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
    assert again == architecture
    assert again.digest == architecture.digest
    assert hash(again) == hash(architecture)


def test_digests_differ_exactly_where_architectures_do() -> None:
    rng = np.random.default_rng(0)
    space = TOY.narrowed({"rate": [0.01, 0.02]})
    found = [space.decode(genome) for genome in rng.random((500, space.dim))]
    assert len({a.digest for a in found}) == len(set(found)) > 10
    reordered = Architecture("net", dict(reversed(list(found[0].settings.items()))))
    assert reordered.digest == found[0].digest
    assert Architecture("net", {"a": 1}).digest != Architecture("net", {"a": True}).digest
    assert Architecture("one", {}).digest != Architecture("two", {}).digest


def test_a_digest_is_for_ever() -> None:
    """Journals and published results name architectures by it."""
    architecture = Architecture("net", {"block": "a", "kernel": 3, "rate": 0.01})
    assert architecture.digest == "0315f84c0f07d256"


def test_an_architecture_is_frozen() -> None:
    settings = {"a": 1}
    architecture = Architecture("net", settings)
    settings["a"] = 2
    assert architecture.settings["a"] == 1
    with pytest.raises(TypeError):
        architecture.settings["a"] = 3  # type: ignore[index]
    with pytest.raises(AttributeError):
        architecture.network = "other"  # type: ignore[misc]


@pytest.mark.parametrize("data", [None, [], {"network": "n"}, {"network": 1, "settings": {}}])
def test_an_architecture_of_wrong_form_is_told(data: Any) -> None:
    with pytest.raises(InputError, match="expected an architecture"):
        Architecture.from_dict(data)


def test_size_dim_bins_order() -> None:
    assert TOY.dim == 5
    assert TOY.size == math.inf
    assert TOY.narrowed({"rate": 0.01}).size == 4 * 3 * 2 * 3
    assert TOY.bins.tolist() == [1 / 4, 1 / 3, 1 / 2, 1 / 3, 0.0]
    assert TOY.ordered.tolist() == [True, True, False, True, True]


def test_spaces_survive_json_and_yaml(tmp_path: Path) -> None:
    text = json.dumps(TOY.to_dict())
    assert SearchSpace.from_dict(json.loads(text)) == TOY
    path = tmp_path / "toy.yaml"
    path.write_text(text, encoding="utf-8")  # JSON is YAML
    assert SearchSpace.from_file(path) == TOY


def test_narrowing_leaves_out_genes_that_cannot_count() -> None:
    assert [g.name for g in TOY.narrowed({"depth": 1}).genes] == ["depth", "block", "kernel"]
    assert [g.name for g in TOY.narrowed({"block": "b"}).genes] == [
        "depth",
        "split",
        "block",
        "rate",
    ]
    assert [g.name for g in TOY.narrowed({"split": [0.0, 0.5]}).genes][-1] == "kernel"


@given(points, st.sampled_from([{"depth": 1}, {"depth": [0, 2]}, {"block": "b"}, {"split": 1.0}]))
def test_a_narrowed_space_holds_architectures_of_the_old(genome: np.ndarray, ranges: Any) -> None:
    narrow = TOY.narrowed(ranges)
    architecture = narrow.decode(genome[: narrow.dim])
    TOY.encode(architecture)
    assert SearchSpace.from_dict(narrow.to_dict()) == narrow


def test_narrowing() -> None:
    narrow = TOY.narrowed({"depth": [1, 3], "block": "a"})
    assert narrow.genes[0].values == (1, 3)
    assert narrow.ordered.tolist() == [True, True, False, True, True]
    assert narrow.genes[1].when == (("depth", (3,)),), "what cannot hold is not asked for"
    assert narrow.genes[3].when == (("block", ("a",)), ("depth", (1, 3)))
    assert narrow.decode(np.full(5, 0.9)).settings["depth"] == 3
    assert SearchSpace.from_dict(narrow.to_dict()) == narrow
    assert TOY.genes[0].values == (0, 1, 2, 3), "the old space is untouched"
    for ranges, words in (
        ({"deph": 1}, "no gene 'deph': did you mean 'depth'"),
        ({"depth": []}, "at least one choice"),
        ({"depth": [1, 1]}, "expected each choice once"),
    ):
        with pytest.raises(InputError, match=words):
            TOY.narrowed(ranges)


@pytest.mark.parametrize(
    ("genome", "words"),
    [
        (np.zeros(4), r"expected a genome of shape \(5,\), got \(4,\)"),
        (np.zeros((5, 1)), "expected a genome of shape"),
        (np.full(5, 1.5), r"numbers in \[0, 1\]"),
        (np.full(5, -0.1), r"numbers in \[0, 1\]"),
        (np.full(5, np.nan), r"numbers in \[0, 1\]"),
    ],
)
def test_a_wrong_genome_is_told(genome: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TOY.decode(genome)


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        ("other", {}, "expected a network 'net', got 'other'"),
        ("net", {"width": 3}, "has no gene 'width'"),
        ("net", {"depth": 7, "block": "b"}, r"gene 'depth': expected one of \[0, 1, 2, 3\], got 7"),
        ("net", {"depth": 0}, "a setting is missing"),
        ("net", {"depth": 0, "block": "b", "kernel": 3}, "a setting"),
    ],
)
def test_encoding_a_stranger_is_told(network: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TOY.encode(Architecture(network, settings))


def changed(**changes: Any) -> dict[str, Any]:
    return SPEC | changes


ONE = {"name": "a", "kind": "choice", "choices": [1, 2]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "expected a mapping with name, network, genes, got None"),
        ({"name": "x", "network": "n"}, "the key 'genes' is missing"),
        (changed(gene=[]), "unknown key 'gene': did you mean 'genes'"),
        (changed(genes=[]), "expected at least one gene"),
        (changed(genes={"a": 1}), "expected at least one gene"),
        (changed(genes=[ONE, ONE]), "expected each gene name once, got 'a' twice"),
        (changed(genes=[ONE | {"choices": []}]), "gene 'a': expected a list with at least one"),
        (changed(genes=[ONE | {"kind": "chioce"}]), "did you mean 'choice'"),
        (changed(genes=[ONE | {"when": {"b": 1}}]), "expected earlier genes in 'when', got 'b'"),
        (changed(genes=[ONE | {"when": {"a": 1}}]), "expected earlier genes in 'when', got 'a'"),
        (changed(genes=[ONE, ONE | {"name": "b", "when": {"a": 3}}]), "got 3"),
        (changed(genes=[ONE, ONE | {"name": "b", "when": "a"}]), "gene 'b'.*when"),
        (changed(genes=[ONE, ONE | {"name": "b", "when": {"a": []}}]), "gene 'b'.*when"),
        (changed(genes=[ONE, ONE | {"name": "b", "when": {"a": [[1]]}}]), "gene 'b'.*when"),
    ],
)
def test_a_wrong_space_is_told_in_one_line(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as info:
        SearchSpace.from_dict(data, "spaces/toy.yaml")
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("spaces/toy.yaml")


RULED: dict[str, Any] = SPEC | {
    "genes": [
        SPEC["genes"][0] | {"step": 1},
        SPEC["genes"][1] | {"mutable": [0.0, 1.0]},
        SPEC["genes"][2] | {"mutable": []},
        SPEC["genes"][3] | {"step": 2, "mutable": [3, 5]},
        SPEC["genes"][4],
    ],
    "limits": [{"genes": ["depth", "kernel"], "at_most": 6}, {"genes": ["rate"], "at_most": 0.05}],
    "ancestors": [
        {"depth": 0, "block": "a"},
        {"depth": 3, "block": "b", "split": 1.0, "rate": 0.05},
        {"depth": 1, "block": "a", "kernel": 5},
    ],
}


def test_rules_survive_json_and_a_space_without_is_written_as_ever() -> None:
    space = SearchSpace.from_dict(RULED)
    written = json.loads(json.dumps(space.to_dict()))
    assert SearchSpace.from_dict(written) == space
    assert written["genes"][0]["step"] == 1
    assert written["genes"][2]["mutable"] == []
    assert written["limits"] == RULED["limits"]
    assert written["ancestors"] == RULED["ancestors"]
    assert space.ancestors[0] == Architecture("net", {"depth": 0, "block": "a"})
    assert space != TOY
    assert list(TOY.to_dict()) == ["name", "network", "genes"]
    assert [set(gene) for gene in TOY.to_dict()["genes"]] == [
        {"name", "kind", "low", "high"},
        {"name", "kind", "choices", "when"},
        {"name", "kind", "choices"},
        {"name", "kind", "choices", "when"},
        {"name", "kind", "low", "high", "when"},
    ]
    assert TOY.limits == TOY.ancestors == ()


@given(points)
def test_rules_decide_no_decoding(genome: np.ndarray) -> None:
    assert SearchSpace.from_dict(RULED).decode(genome) == TOY.decode(genome)


def test_an_ancestor_is_written_as_the_genes_write_it() -> None:
    """Else it would have another digest than the genome that it is encoded to."""
    ancestor = {"depth": 2.0, "split": 1, "block": "b", "rate": 0.0123456}
    space = SearchSpace.from_dict(SPEC | {"ancestors": [ancestor]})
    found = space.ancestors[0]
    assert found.settings["rate"] == 0.0123
    assert found.digest == space.decode(space.encode(found)).digest
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_narrowing_keeps_rules_as_far_as_they_mean_something() -> None:
    space = SearchSpace.from_dict(RULED)
    narrow = space.narrowed({"kernel": [1, 3], "depth": [0, 1]})
    genes = {gene.name: gene for gene in narrow.genes}
    assert list(genes) == ["depth", "block", "kernel"]
    assert genes["depth"].step == 1
    assert genes["block"].mutable == ()
    assert (genes["kernel"].step, genes["kernel"].mutable) == (2, (3,))
    assert [limit.to_dict() for limit in narrow.limits] == [
        {"genes": ["depth", "kernel"], "at_most": 6}
    ], "the limit on a gene that is gone"
    assert [dict(a.settings) for a in narrow.ancestors] == [{"depth": 0, "block": "a"}]
    without = space.narrowed({"block": "b", "depth": [2, 3]})
    assert [limit.genes for limit in without.limits] == [("depth",), ("rate",)]
    assert [a.settings["depth"] for a in without.ancestors] == [3]
    rated = space.narrowed({"rate": [0.01, 0.05], "split": [1.0, 0.5]})
    assert rated.genes[1].mutable == (1.0,)
    assert len(rated.ancestors) == 3
    assert space.narrowed({"kernel": ["x", 3]}).limits[0].genes == ("depth",)
    assert space.narrowed({}) == space
    assert space.narrowed({"split": 0.5}).genes[1].mutable == ()


@given(
    st.sampled_from([{"depth": 1}, {"depth": [0, 2]}, {"block": "b"}, {"split": 1}, {"rate": 0.01}])
)
def test_a_narrowed_space_with_rules_survives_its_writing(ranges: Any) -> None:
    narrow = SearchSpace.from_dict(RULED).narrowed(ranges)
    assert SearchSpace.from_dict(json.loads(json.dumps(narrow.to_dict()))) == narrow


def limited(**limit: Any) -> dict[str, Any]:
    return SPEC | {"limits": [limit]}


def begun(**settings: Any) -> dict[str, Any]:
    return RULED | {"ancestors": [settings]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SPEC | {"limit": []}, "unknown key 'limit': did you mean 'limits'"),
        (SPEC | {"limits": {}}, r"'limits': expected a list, got \{\}"),
        (SPEC | {"limits": None}, "'limits': expected a list, got None"),
        (SPEC | {"limits": [3]}, "limit 1: expected a mapping with genes, at_most, got 3"),
        (limited(genes=["depth"]), "limit 1: the key 'at_most' is missing"),
        (limited(at_most=3), "limit 1: the key 'genes' is missing"),
        (limited(genes=["depth"], at_least=3), "limit 1: unknown key 'at_least': did you mean"),
        (
            limited(genes=[], at_most=3),
            r"limit 1: expected a list with at least one gene, got \[\]",
        ),
        (limited(genes="depth", at_most=3), "limit 1: expected a list .* got 'depth'"),
        (limited(genes=["deph"], at_most=3), "limit 1: no gene 'deph': did you mean 'depth'"),
        (limited(genes=[["depth"]], at_most=3), r"limit 1: no gene \['depth'\]"),
        (
            limited(genes=["depth", "depth"], at_most=3),
            "limit 1: expected each gene once, got 'depth' twice",
        ),
        (
            limited(genes=["block"], at_most=3),
            r"limit 1: .* numbers, got 'block' with the values \['a', 'b'\]",
        ),
        (limited(genes=["depth"], at_most="3"), "limit 1, 'at_most': expected a number, got '3'"),
        (limited(genes=["depth"], at_most=True), "'at_most': expected a number, got True"),
        (limited(genes=["depth"], at_most=math.inf), "'at_most': expected a number, got inf"),
        (limited(genes=["depth"], at_most=math.nan), "'at_most': expected a number, got nan"),
        (SPEC | {"ancestors": {"depth": 0}}, "'ancestors': expected a list, got"),
        (SPEC | {"ancestors": ["b0"]}, "ancestor 1: expected a mapping of genes to values, got"),
        (begun(deph=0, block="a"), "ancestor 1: no gene 'deph': did you mean 'depth'"),
        (begun(depth=0), "ancestor 1: expected a value for each gene, got none for 'block'"),
        (begun(depth=9, block="a"), "ancestor 1: gene 'depth': expected one of .*, got 9"),
        (begun(depth=0, block="b", kernel=3), "ancestor 1: expected no value for 'kernel'.*got 3"),
        (
            begun(depth=2, split=0, block="a", kernel=5),
            r"of depth, kernel of at most 6, got \[2, 5",
        ),
        (RULED | {"ancestors": RULED["ancestors"][:2] * 2}, "ancestor 3: .*got ancestor 1 again"),
        (changed(genes=[ONE | {"step": 1}]), "gene 'a': expected 'step' with kind"),
    ],
)
def test_a_wrong_rule_is_told_in_one_line(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as info:
        SearchSpace.from_dict(data, "spaces/toy.yaml")
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("spaces/toy.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", ""), *product(["name", "network"], [None, ["s"], {}, True, 3])],
)
def test_names_that_are_no_text_are_refused(key: str, value: object) -> None:
    data = {"name": "s", "network": "n", "genes": [{"name": "g", "kind": "choice", "choices": [1]}]}
    assert SearchSpace.from_dict(data).name == "s"
    with pytest.raises(InputError, match=rf"^search space, '{key}': expected text, got "):
        SearchSpace.from_dict({**data, key: value})
