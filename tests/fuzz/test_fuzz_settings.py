"""Experiments and search spaces, as a person may have written or damaged them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mutations import command, damaged, edited, fuzz, owed, refused_or_read

from evonas.core import experiment as config
from evonas.core.files import parse_yaml, read_json, read_yaml
from evonas.errors import InputError
from evonas.space import SearchSpace

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


def plain(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_changed_experiment_is_read_or_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    changed = edited(plain(source)).map(lambda data: yaml.safe_dump(data).encode())

    @fuzz(60)
    @given(st.one_of(changed, changed, damaged(source.read_bytes())))
    def try_it(content: bytes) -> None:
        path.write_bytes(content)
        refused_or_read(lambda: config.load(path, ["seed=1"]))

    try_it()


@pytest.mark.parametrize("source", SPACES, ids=lambda path: path.stem)
def test_a_changed_space_is_whole_or_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"

    def used() -> None:
        space = SearchSpace.from_file(path)
        made = space.decode([0.3] * space.dim)
        assert space.decode(space.encode(made)) == made
        assert SearchSpace.from_dict(space.to_dict()) == space
        assert space.size > 0
        assert len(space.bins) == space.dim

    @fuzz(80)
    @given(edited(plain(source)))
    def try_it(data: Any) -> None:
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        refused_or_read(used)

    try_it()


def test_any_bytes_are_yaml_and_json_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "one"
    words = st.sampled_from(
        [
            *(b"a: ", b"&x ", b"*x", b"[", b"]", b"{", b"}", b"\n", b"- ", b"|", b"<<: ", b"? "),
            *(b"!!binary ", b"!!set ", b"!!timestamp 2001-99-99", b"!!bool ", b"!!omap "),
            *(b"0o9", b"1_0", b"\xff", b"\x00", b"'", b'"'),
        ]
    )

    @fuzz(150)
    @given(st.one_of(st.binary(max_size=40), st.lists(words, max_size=14).map(b"".join)))
    def try_it(content: bytes) -> None:
        path.write_bytes(content)
        refused_or_read(lambda: read_yaml(path))
        refused_or_read(lambda: read_json(path))
        refused_or_read(lambda: config.load(path))

    try_it()


def test_overrides_of_any_text_are_taken_or_refused() -> None:
    keys = st.sampled_from(["space", "space.tap", "seed", "a.b", "", ".", "training", "optimizer"])
    values = st.one_of(
        st.text(max_size=20), st.sampled_from(["[", "{a: [", "&a [*a]", "@x", "!!x"])
    )

    @fuzz(150)
    @given(keys, values)
    def try_it(key: str, value: str) -> None:
        refused_or_read(lambda: config.load(EXPERIMENTS[0], [f"{key}={value}"]))

    try_it()


def test_validate_says_in_one_line_what_is_wrong(tiny: dict[str, Any], tmp_path: Path) -> None:
    # values of a person's size: a data set of 1e30 faces is a wish, not a mistake
    odd = st.sampled_from(
        [None, True, -1, 0, 3, 0.5, "", "nan", "\x1b[31m", "a\nb", [], {}, [None], {"name": None}]
    )

    @fuzz(25)
    @given(edited(tiny, odd))
    def try_it(data: Any) -> None:
        (tmp_path / "one.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        owed(command(tmp_path, "validate", "one.yaml"))

    try_it()


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": [], "choices": [1]},
        {"kind": "integer", "low": 0, "high": 10**30},
        {"kind": "integer", "low": 10**400, "high": 10**400},
        {"kind": "log_float", "low": 1, "high": 10**400},
        {"kind": "choice", "choices": [10**400]},
    ],
)
def test_a_gene_that_once_ended_in_a_traceback_or_never(spec: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="gene 'a'"):
        SearchSpace.from_dict({"name": "s", "network": "n", "genes": [{"name": "a", **spec}]})


def test_an_unknown_key_in_a_section_that_may_be_none_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown key 'table\.unheard_of'"):
        config.load(ROOT / "experiments" / "nas_bench_macro.yaml", ["table.unheard_of=1"])


@pytest.mark.parametrize("text", ["!!timestamp", "!!bool x", "!!int", "!!float x", "? {a: 1}"])
def test_a_tag_before_what_it_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"somewhere: cannot be read as YAML: ."):
        parse_yaml(text, "somewhere")
