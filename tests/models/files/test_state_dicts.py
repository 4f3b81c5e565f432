"""State dictionaries from files: what is read, and what is refused without running code."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refusal_of
from safetensors.torch import save_file
from small_modules import ConvNet
from torch import nn

from evonas.errors import InputError
from evonas.models.files.state_dicts import load_into, read_state

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


class Evil:
    """A pickle of it makes the folder ``ran``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def line(path: Path) -> str:
    message = refusal_of(lambda: read_state(path))
    assert str(path) in message
    return message


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_every_kind_of_file_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    found = read_state(str(path))
    assert set(found) == set(STATE)
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_nesting_and_a_prefix_are_taken_off(tmp_path: Path, key: str) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3, key: {f"module.{k}": v for k, v in STATE.items()}}, path)
    assert list(read_state(path)) == list(STATE)


def test_a_prefix_that_only_some_names_have_stays(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, path)
    assert list(read_state(path)) == ["module.a", "b"]


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path, writer: str) -> None:
    path, ran = tmp_path / "weights.pt", tmp_path / "ran"
    content = {"a": torch.ones(1), "b": Evil(ran)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    message = line(path)
    assert "would run code" in message
    assert "save model.state_dict() with safetensors" in message
    assert not ran.exists()
    with suppress(Exception):
        torch.load(path, weights_only=False)
    assert ran.exists(), "the file was not armed: the test proves nothing"


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    assert "would run code" in line(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", [b"", b"nonsense", "cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, damage: bytes | str) -> None:
    path = tmp_path / f"weights{suffix}"
    if isinstance(damage, str):
        save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
        damage = path.read_bytes()[:-60]
    path.write_bytes(damage)
    assert "cannot be read" in line(path)
    assert "would run code" not in line(path)


def test_what_is_no_file_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    assert "no such file" in line(tmp_path / "absent.pt")
    other = tmp_path / "weights.h5"
    other.write_bytes(b"x")
    assert "expected a file named .safetensors, .pt, .pth, .bin, got '.h5'" in line(other)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.ones(1)], "got list"),
        ({}, "it is empty"),
        ({"epoch": 3}, "'epoch' is no tensor"),
        ({"optimizer": {}, "weights": {}}, "'optimizer' is no tensor"),
    ],
)
def test_what_is_no_state_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert said in line(path)


def refused(net: nn.Module, state: dict[str, torch.Tensor], *ignored: str) -> str:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_into(net, state, "somewhere", ignored)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_state_that_fits_is_loaded() -> None:
    net, other = ConvNet(), ConvNet()
    load_into(net, other.state_dict(), "somewhere")
    assert torch.equal(net.stem.weight, other.stem.weight)


def test_missing_and_unexpected_names_are_told_by_the_first_three() -> None:
    state = ConvNet().state_dict()
    for name in ["stem.weight", "stem.bias", "fc.weight", "fc.bias"]:
        state[f"old.{name}"] = state.pop(name)
    message = refused(ConvNet(), state)
    assert message.startswith("somewhere: the tensors are not this network's (4 missing: ")
    assert "4 missing: stem.weight, stem.bias, fc.weight, ...;" in message
    assert "4 unexpected: old.stem.weight, old.stem.bias, old.fc.weight, ...)" in message


def test_other_shapes_are_told() -> None:
    message = refused(ConvNet(), ConvNet(classes=7).state_dict())
    assert (
        "2 of shape: fc.weight (7, 16) instead of (5, 16), fc.bias (7,) instead of (5,)" in message
    )


def test_a_classifier_may_be_missing_where_that_was_said() -> None:
    net, state = ConvNet(), ConvNet().state_dict()
    kept = net.fc.weight.clone()
    del state["fc.weight"], state["fc.bias"]
    assert "2 missing: fc.weight, fc.bias" in refused(net, state, "head.")
    load_into(net, state, "somewhere", ["fc."])
    assert torch.equal(net.fc.weight, kept)
    assert torch.equal(net.stem.weight, state["stem.weight"])
