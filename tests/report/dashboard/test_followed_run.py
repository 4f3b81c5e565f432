"""A followed run: only what is new is read; damaged, half-written and older files are shown so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folder import run_folder, trials

from evonas.errors import InputError
from evonas.report.dashboard import followed_run
from evonas.report.dashboard.followed_run import FollowedRun, JournalTail, run_folders
from evonas.report.dashboard.runs_folder import RunsFolder
from evonas.runs.run_store import RunStore
from evonas.runs.stop_request import FILE
from evonas.runs.trial import Trial

#: A trial as the first version wrote it, without the keys that came later.
OLD = {
    "generation": 0,
    "index": 0,
    "genome": [0.5],
    "digest": "d" * 16,
    "architecture": {"network": "toy", "settings": {"width": 8}},
    "status": "ok",
    "fitness": 4.0,
    "macs": 1000,
    "params": 10,
    "seconds": 1.0,
    "metrics": {"mae": 4.0},
    "error": "",
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were decoded."""
    lines: list[bytes] = []
    decode = Trial.from_line

    def counted(line: bytes) -> Trial:
        lines.append(line)
        return decode(line)

    monkeypatch.setattr(followed_run.Trial, "from_line", staticmethod(counted))
    return lines


def line(**changes: Any) -> bytes:
    return json.dumps({**OLD, **changes}).encode() + b"\n"


def add(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def rows(folder: Path) -> dict[str, Any]:
    return {row["key"]: row for row in RunsFolder(folder).overview()["runs"]}


def test_a_line_is_read_once_and_when_it_is_whole(tmp_path: Path, decoded: list[bytes]) -> None:
    path = tmp_path / "journal.jsonl"
    add(path, line() + line(index=1))
    tail = JournalTail(path)
    tail.read()
    assert len(tail.trials) == len(decoded) == 2
    new = line(index=2)
    add(path, new[:30])
    tail.read()
    assert (len(tail.trials), tail.problem) == (2, "")
    add(path, new[30:])
    tail.read()
    tail.read()
    assert [trial.index for trial in tail.trials] == [0, 1, 2]
    assert len(decoded) == 3


def test_a_journal_that_was_replaced_or_cut_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    add(path, line() + line(index=1))
    tail = JournalTail(path)
    tail.read()
    path.write_bytes(line(index=7))
    tail.read()
    assert [trial.index for trial in tail.trials] == [7]
    other = tmp_path / "other"
    other.write_bytes(line(index=8) + line(index=9) + line(index=10))
    other.rename(path)
    tail.read()
    assert [trial.index for trial in tail.trials] == [8, 9, 10]


def test_a_damaged_line_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    run_folder(tmp_path / "good")
    run_folder(tmp_path / "bad")
    journal = tmp_path / "bad/journal.jsonl"
    add(journal, b"\x00\xff no line\n" + line(generation=99, macs=5))
    found = rows(tmp_path)
    assert found["good"]["state"] == "finished"
    bad = found["bad"]
    assert (bad["state"], bad["words"]) == ("damaged", "damaged files")
    number = len(journal.read_bytes().splitlines()) - 1
    assert f"journal.jsonl, line {number}: is no trial" in bad["problem"]
    assert bad["done"] == f"{int(found['good']['done'].split()[0]) + 1} of 32"


@pytest.mark.parametrize("name", ["best.json", "environment.json", "experiment.yaml"])
@pytest.mark.parametrize("content", [b"", b'{"format": 1, "metr', b"[1]", b'{"baselines": 3}'])
def test_a_damaged_file_is_named_and_other_runs_are_shown(
    tmp_path: Path, name: str, content: bytes
) -> None:
    if (name, content) in (("environment.json", b'{"baselines": 3}'),):
        pytest.skip("a file of other keys is a file of another version")
    run_folder(tmp_path / "good")
    run_folder(tmp_path / "bad")
    (tmp_path / "bad" / name).write_bytes(content)
    found = rows(tmp_path)
    assert found["good"]["state"] == "finished"
    if (name, content) == ("experiment.yaml", b'{"baselines": 3}'):
        assert found["bad"]["state"] == "finished"  # a mapping that lacks every key
        return
    assert found["bad"]["state"] == "damaged"
    assert name in found["bad"]["problem"]
    view = RunsFolder(tmp_path).view(["bad", "good"])
    assert any(name in problem for problem in view["problems"])
    assert [part["key"] for part in view["sections"]][:2] == ["outcome", "progress"]


def test_a_run_of_an_older_version_is_shown(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    add(tmp_path / "old/journal.jsonl", line() + line(index=1, digest="e" * 16, fitness=3.0))
    row = rows(tmp_path)["old"]
    assert (row["state"], row["problem"], row["done"]) == ("stopped", "", "2 of 2")
    view = RunsFolder(tmp_path).view(["old"])
    assert not view["problems"]
    keys = [chart["key"] for part in view["sections"] for chart in part["charts"]]
    assert {"progress", "trade_off"} <= set(keys)


def test_a_run_of_a_later_version_is_shown_as_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    add(tmp_path / "new/journal.jsonl", line(invented=1))
    row = rows(tmp_path)["new"]
    assert row["state"] == "damaged"
    assert "unknown field `invented`" in row["problem"]


def test_states_follow_the_lock_and_the_request_to_stop(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "best.json").unlink()
    run = FollowedRun(folder, "run")
    run.refresh()
    assert run.content is not None
    assert (run.running, run.content.state, run.version) == (False, "stopped", 1)
    run.refresh()
    assert run.version == 1, "nothing has changed"
    with RunStore(folder, resume=True):
        (folder / FILE).touch()
        run.refresh()
        assert run.content is not None
        assert (run.running, run.stopping, run.content.state) == (True, True, "running")
    run.refresh()
    assert (run.running, run.stopping) == (False, False)


def test_runs_are_found_two_folders_deep_come_and_go(tmp_path: Path) -> None:
    run_folder(tmp_path / "one")
    run_folder(tmp_path / "fit/search")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert run_folders(tmp_path) == [tmp_path / "fit/search", tmp_path / "one"]
    assert run_folders(tmp_path / "one") == [tmp_path / "one"]
    runs = RunsFolder(tmp_path)
    assert {row["key"] for row in runs.overview()["runs"]} == {"one", "fit/search"}
    shutil.rmtree(tmp_path / "one")
    run_folder(tmp_path / "two", trials(3))
    runs._read = float("-inf")
    assert {row["key"] for row in runs.overview()["runs"]} == {"two", "fit/search"}


def test_a_folder_that_is_none_is_refused_and_an_empty_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder: give the one that holds"):
        RunsFolder(tmp_path / "none")
    assert RunsFolder(tmp_path).overview()["runs"] == []
