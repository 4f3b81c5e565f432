"""Addresses of clusters: what is no address, what does not answer, what answers but is not Ray."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli, said

from evonas.core import experiment as config
from evonas.errors import InputError
from evonas.estimation.execution.ray_cluster import join_cluster as _cluster


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def mute() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("here", r"execution\.address: expected auto or host:port"),
        ("host:", r"execution\.address: expected auto or host:port"),
        ("host:port", r"execution\.address: expected auto or host:port"),
        ("a b:6379", r"execution\.address: expected auto or host:port"),
        ("http://host:8265", r"execution\.address: expected auto or host:port"),
        ("ray://host:10001", r"execution\.address: .* no ray://: run evonas on a machine of the"),
    ],
)
def test_what_is_no_address_is_refused(
    evonas: Cli, tiny_file: Path, address: str, message: str
) -> None:
    for line in (
        said(evonas("search", tiny_file, "--address", address)),
        said(evonas("compare", tiny_file, "--address", address)),
        said(evonas("retrain", tiny_file, "--address", address)),
    ):
        assert re.search(message, line), line


def test_an_executor_that_joins_nothing_has_no_address(evonas: Cli, tiny_file: Path) -> None:
    line = said(evonas("search", tiny_file, "execution.address=host:6379"))
    assert "execution.address: expected none with executor=local" in line
    words = ("search", tiny_file, "--address", "host:6379", "--executor", "local")
    assert "expected none with executor=local" in said(evonas(*words))


def test_an_address_may_be_taken_back_and_changes_no_run(tiny: dict[str, Any]) -> None:
    plain = config.check({**tiny, "execution": {}}, "tests")
    joined = config.changed(plain, ["execution.address=auto"])
    assert joined.execution.address == "auto"
    assert config.changed(joined, ["execution.address="]) == plain
    dumps = [one.model_dump(mode="json") for one in (plain, joined)]
    assert config.differences(*dumps) == []
    more = config.changed(plain, ["execution.threads=2"]).model_dump(mode="json")
    assert config.differences(dumps[0], more) == ["execution.threads: 1 -> 2"]
    six = config.changed(plain, ["execution.address='[fe80::1]:6379'"])
    assert six.execution.address == "[fe80::1]:6379"


def search(tiny: dict[str, Any], place: Path, *words: str) -> tuple[int, str]:
    """Search in a process of its own, since others of this one may have started Ray."""
    (place / "tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "evonas", "search", str(place / "tiny.yaml"), *words],
        env=env | {"PYTHONPATH": str(Path(__file__).parents[4]), "TMPDIR": str(place)},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_search_says_at_once_that_nobody_answers(
    tiny: dict[str, Any], tmp_path: Path, port: int
) -> None:
    code, told = search(tiny, tmp_path, "--address", f"127.0.0.1:{port}")
    assert code == 2, told
    assert told.count("\n") == 1, told
    expected = f"evonas: execution.address=127.0.0.1:{port}: no Ray cluster answers there after 0 s"
    assert told.startswith(expected)
    assert not (tmp_path / "runs").exists()


def test_no_cluster_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def search_in_vain(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(_cluster, "canonicalize_bootstrap_address", search_in_vain)
    with pytest.raises(InputError, match=r"^execution\.address=auto: no Ray cluster runs on this"):
        _cluster.join("auto")


def test_a_host_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hang(where: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((where, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", hang)
    with pytest.raises(InputError, match=r"=far:6379: no Ray cluster answers there .*timed out"):
        _cluster._knock("far:6379", "far:6379")
    assert asked == [(("far", 6379), 10.0)]


def test_what_answers_but_is_not_ray_is_given_up(
    monkeypatch: pytest.MonkeyPatch, mute: str
) -> None:
    monkeypatch.setattr(_cluster, "_PATIENCE", 0.5)
    with pytest.raises(InputError, match=r"no Ray cluster answers there .*port of `ray start"):
        _cluster._knock(mute, mute)


def test_tokens_are_found_where_ray_finds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cluster._token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    assert _cluster._token() == "home"
    (tmp_path / "token").write_text("file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert _cluster._token() == "file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "word")
    assert _cluster._token() == "word"
    # As in Ray, a machine's own token goes to its own cluster alone, unless that is wanted.
    assert _cluster._implied("auto") == "token"
    assert _cluster._implied("host:6379") == ""
