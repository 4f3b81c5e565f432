"""Fetching cached features by name: equal, whole, once; nothing damaged is ever kept."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evonas.errors import InputError, RunError
from evonas.estimation.execution.ray_cluster import feature_transfer as _fetch
from evonas.estimation.execution.ray_cluster.feature_transfer import Source, fetch, own
from evonas.estimation.features.cache_files import commit, intact


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fetch, "_BLOCK", 1000)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A cached file of several blocks, the last of them not full."""
    path = tmp_path / "here" / "0123abcd.npy"
    path.parent.mkdir()
    draft = tmp_path / "draft.npy"
    np.save(draft, np.random.default_rng(0).normal(size=(7, 3, 11, 11)).astype(np.float16))
    commit(draft, path, {2: "picture2.jpg: cannot be decoded"})
    return path


class Wire:
    """Reads from the original, counts how often, and does what a test wants to the blocks."""

    def __init__(self, original: Path) -> None:
        self.source, self.asked = Source([original]), Counter[str]()
        self.flip = self.cut = False

    def __call__(self, name: str, offset: int, size: int) -> bytes:
        self.asked[f"{name} {offset}"] += 1
        block = bytearray(self.source.read(name, offset, size))
        if self.flip and name.endswith(".npy") and offset == 2000:
            block[5] ^= 4
        if self.cut and name.endswith(".npy") and offset >= 2000:
            block.clear()
        return bytes(block)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "fetching.lock")


def test_what_is_fetched_is_equal_and_fetched_once(original: Path, tmp_path: Path) -> None:
    wire, there = Wire(original), tmp_path / "there" / original.name
    fetch(there, wire)
    assert there.read_bytes() == original.read_bytes()
    beside = original.with_suffix(".json")
    assert there.with_suffix(".json").read_bytes() == beside.read_bytes()
    size = original.stat().st_size
    assert sum(wire.asked.values()) == 1 + -(-size // 1000)
    assert set(wire.asked.values()) == {1}
    wire.asked.clear()
    fetch(there, wire)
    assert not wire.asked
    assert left(there.parent) == [beside.name, original.name], "a draft was left behind"


@pytest.mark.parametrize("what", ["cut short", "flipped", "no sidecar", "sidecar"])
def test_a_damaged_file_is_fetched_anew(original: Path, tmp_path: Path, what: str) -> None:
    there = tmp_path / "there" / original.name
    shutil.copytree(original.parent, there.parent)
    content = bytearray(original.read_bytes())
    if what == "cut short":
        del content[-100:]
    elif what == "flipped":
        content[-1] ^= 1
    there.write_bytes(bytes(content))
    if what == "no sidecar":
        there.with_suffix(".json").unlink()
    elif what == "sidecar":
        there.with_suffix(".json").write_text("{")
    fetch(there, Wire(original))
    assert intact(there)
    assert there.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("what", ["flip", "cut"])
def test_what_arrives_damaged_is_refused_and_not_kept(
    original: Path, tmp_path: Path, what: str
) -> None:
    wire, there = Wire(original), tmp_path / "there" / original.name
    setattr(wire, what, True)
    with pytest.raises(RunError, match=rf"there on .*: {original.name} did not arrive as it was"):
        fetch(there, wire)
    assert left(there.parent) == []
    setattr(wire, what, False)
    fetch(there, wire)
    assert intact(there)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = original.stat().st_size
    usage = shutil.disk_usage(tmp_path)
    wire, there = Wire(original), tmp_path / "there" / original.name
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=size - 1))
    with pytest.raises(InputError, match=r"feature cache .*there: needs 5\.21e-06 GB, .* are free"):
        fetch(there, wire)
    assert not [name for name in wire.asked if ".npy" in name]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=size))
    fetch(there, wire)


def test_a_folder_that_cannot_be_made_is_named(original: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"feature cache .*file/there .*EVONAS_CACHE"):
        fetch(tmp_path / "file" / "there" / original.name, Wire(original))


def test_workers_of_one_node_fetch_a_file_once(original: Path, tmp_path: Path) -> None:
    """The first is held inside the fetch until the others have found nothing there."""
    wire, there = Wire(original), tmp_path / "there" / original.name
    looked, last = threading.Semaphore(0), threading.Event()

    def slow(name: str, offset: int, size: int) -> bytes:
        if name.endswith(".json"):
            assert last.wait(30)
        return wire(name, offset, size)

    def look(path: Path) -> bool:
        found = intact(path)
        looked.release()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fetch, "intact", look)
        workers = [threading.Thread(target=fetch, args=(there, slow)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(4):  # each found nothing; one of them a second time, in the lock
            assert looked.acquire(timeout=30)
        last.set()
        for worker in workers:
            worker.join(30)
    assert intact(there)
    assert set(wire.asked.values()) == {1}


def test_only_files_of_the_run_are_read_out(original: Path, tmp_path: Path) -> None:
    source = Source([original])
    (original.parent / "other.npy").write_bytes(b"secret")
    for name in ("other.npy", f"../here/{original.name}", "/etc/passwd"):
        with pytest.raises(RunError, match="no file of this run"):
            source.read(name, 0, 10)
    original.unlink()
    with pytest.raises(RunError, match=r"cannot be read any more .*resume"):
        source.read(original.name, 0, 10)


def test_a_node_may_have_a_folder_of_its_own(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVONAS_CACHE", raising=False)
    assert own(original) == original
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path / "mine"))
    assert own(original) == tmp_path / "mine" / original.name
