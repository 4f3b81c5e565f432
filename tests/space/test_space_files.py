"""Files of search spaces: what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from evonas.errors import InputError
from evonas.space import SearchSpace


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"{a: 1, a", b"- 1\n- 2\n", b""])
def test_a_file_that_holds_no_space_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.yaml") as info:
        SearchSpace.from_file(path)
    assert "\n" not in str(info.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read"):
        SearchSpace.from_file(tmp_path / "nothing.yaml")


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"evil\.yaml"):
        SearchSpace.from_file(path)


def test_a_path_may_be_text_and_must_be_a_path(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("{name: s, network: n, genes: [{name: g, kind: choice, choices: [1]}]}")
    assert SearchSpace.from_file(str(file)) == SearchSpace.from_file(file)
    with pytest.raises(InputError, match="expected the path of a YAML file, got 3"):
        SearchSpace.from_file(3)
