"""The feature cache listed and cleared: what it takes, what is in use, what is not evonas's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, said

import evonas
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import FeatureCache, Features
from evonas.estimation.features.views import standard_views
from evonas.models.backbones.base import Pooled
from evonas.models.backbones.synthetic_face import SyntheticFace

TAPS = ("block3", "block4")


def filled(folder: Path) -> Features:
    """A cache of two taps in two views, held."""
    faces = SyntheticFaces(identities=10, images_per_identity=1)
    return FeatureCache(folder).ensure(SyntheticFace(), faces, TAPS, standard_views(0))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that no process uses."""
    filled(tmp_path / "cache")
    return tmp_path / "cache"


def aged(folder: Path, name: str, days: float) -> None:
    """Make the files of a tap so many days old."""
    for one in evonas.list_cache(folder).files:
        if one.tap == name:
            os.utime(one.file, (time.time() - days * 86400,) * 2)


def test_each_file_is_listed_with_its_origin_and_size(cache: Path) -> None:
    found = evonas.list_cache(cache)
    assert [(one.tap, one.view) for one in found.files] == [
        (tap, view) for tap in TAPS for view in ("flip", "plain")
    ]
    backbone, data = SyntheticFace(), SyntheticFaces(identities=10, images_per_identity=1)
    assert {one.backbone for one in found.files} == {f"synthetic_face {backbone.fingerprint[:8]}"}
    assert {one.data for one in found.files} == {f"synthetic_faces {data.fingerprint[:8]}"}
    assert found.bytes == sum(path.stat().st_size for path in cache.glob("*.npy"))
    assert not any(one.used for one in found.files)
    assert all(one.days < 0.1 for one in found.files)
    faces = SyntheticFaces(identities=10, images_per_identity=1)
    FeatureCache(cache).ensure(Pooled(backbone), faces, TAPS[:1], standard_views(0)[:1])
    assert any("means of maps" in one.backbone for one in evonas.list_cache(cache).files)


def test_clearing_leaves_nothing_and_what_is_missing_is_computed_again(cache: Path) -> None:
    before = {path.name: path.read_bytes() for path in cache.glob("*.npy")}
    cleared = evonas.clear_cache(cache)
    assert (len(cleared.removed), cleared.used) == (4, ())
    assert cleared.bytes == sum(map(len, before.values()))
    assert list(cache.iterdir()) == []
    filled(cache)
    assert {path.name: path.read_bytes() for path in cache.glob("*.npy")} == before


def test_only_what_is_old_goes(cache: Path) -> None:
    aged(cache, "block3", 10)
    assert {one.tap for one in evonas.list_cache(cache, older_than=9).files} == {"block3"}
    assert {one.tap for one in evonas.clear_cache(cache, older_than=9).removed} == {"block3"}
    assert {one.tap for one in evonas.list_cache(cache).files} == {"block4"}
    aged(cache, "block4", 10)
    held = filled(cache)  # used again: young again
    assert evonas.list_cache(cache, older_than=1).files == ()
    assert held.passes == 20  # block3 was gone, in two views of ten images


def test_what_is_in_use_stays(cache: Path) -> None:
    held = filled(cache)
    assert all(one.used for one in evonas.list_cache(cache).files)
    cleared = evonas.clear_cache(cache)
    assert (cleared.removed, len(cleared.used)) == ((), 4)
    assert held.open("block3")[0].shape == (10, 64, 8, 8)
    del held
    assert len(evonas.clear_cache(cache).removed) == 4


def test_what_another_process_uses_stays(cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from evonas.estimation.features.cache_files import Lease\n"
        "lease = Lease(sorted(Path(sys.argv[1]).glob('*.npy'))[:1])\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(cache)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        cleared = evonas.clear_cache(cache)
        assert (len(cleared.removed), len(cleared.used)) == (3, 1)
        other.communicate("")
    assert len(evonas.clear_cache(cache).removed) == 1


def test_a_folder_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        evonas.list_cache(tmp_path / "nowhere")
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "results.npy", np.zeros(3))
    for work in (evonas.list_cache, evonas.clear_cache):
        with pytest.raises(InputError, match=r"expected a folder of cached features, .* 1 other"):
            work(tmp_path / "mine")
    assert (tmp_path / "mine" / "results.npy").is_file()
    with pytest.raises(InputError, match="at least 0 days"):
        evonas.list_cache(tmp_path / "mine", older_than=-1)


def test_other_files_in_a_cache_stay(cache: Path) -> None:
    (cache / "notes.txt").write_text("mine")
    (cache / "latency").mkdir()
    evonas.clear_cache(cache)
    assert sorted(path.name for path in cache.iterdir()) == ["latency", "notes.txt"]


def test_files_without_a_note_are_listed_as_unknown(cache: Path) -> None:
    for number, note in enumerate(sorted(cache.glob("*.json"))):
        note.write_text(["{", "[]", '{"origin": 3}', '{"crc32": 1}'][number])
    assert {one.tap for one in evonas.list_cache(cache).files} == {"unknown"}
    assert len(evonas.clear_cache(cache).removed) == 4


def test_the_verb_lists_asks_and_removes(
    evonas: Cli, cache: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = evonas("cache", f"features.cache={cache}")
    assert (code, err) == (0, "")
    assert "4 files" in out
    monkeypatch.setattr("typer.confirm", lambda *words, **options: False)
    code, out, _ = evonas("cache", tiny_file, f"features.cache={cache}", "--clear")
    assert (code, len(list(cache.glob("*.npy")))) == (0, 4)
    words = ("cache", f"features.cache={cache}", "--clear", "--yes")
    assert "no cached features" in evonas(*words, "--older-than", 3)[1]
    code, out, _ = evonas(*words)
    assert (code, "removed 4 files" in out) == (0, True)
    assert not list(cache.iterdir())
    assert "no such folder" in said(evonas("cache", "features.cache=/nowhere"))
    assert "unknown experiment" in said(evonas("cache", "quikstart"))
