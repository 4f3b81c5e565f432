"""A full disk, a directory that is not ours alone, moved or read-only, and a clock set back."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest
from faults.driver import KILLED, TRIES, Toys, Whole, known, trainings
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from evonas.api.resuming import stored
from evonas.core.files import write_file
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError, RunError
from evonas.estimation import estimator
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.training import checkpoint as paused
from evonas.runs import run_store as store_module
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture

WORDS = ("optimizer={name: cma}", "inherit=true", "fidelity=racing", "training.epochs=8")
TRIAL = Trial(0, 0, (0.5,), "d", {"network": "toy", "settings": {}}, "ok", 1.0, 5)


@pytest.fixture(scope="module")
def whole(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(toys, tmp_path_factory.mktemp("whole"), *WORDS)


def complaint(output: str) -> str:
    """Return the one line that says what is wrong."""
    assert "Traceback" not in output, output
    (line,) = [line for line in output.splitlines() if line.startswith("evonas: ")]
    assert output.rstrip().endswith(line)
    return line


def test_the_disk_is_full_from_some_moment_on(whole: Whole, tmp_path: Path) -> None:
    chance, refused = random.Random(1), 0
    writes = [n for n, moment in enumerate(whole.moments, 1) if moment.startswith("write ")]
    for number in range(TRIES or 10):
        folder = tmp_path / str(number) / "run"
        fault = {"kind": "full", "at": chance.choice(writes), "part": chance.random()}
        status, output = whole.toys(folder, *WORDS, fault=fault)
        assert status in (0, 1, 2), output
        if status:
            line = complaint(output)
            assert "cannot be written (No space left on device)" in line
            refused += 1
        if (folder / "journal.jsonl").exists():
            text = (folder / "journal.jsonl").read_bytes()
            assert text == known(folder), "half a line was left behind"
        whole.go_on(folder)
    print(f"{TRIES or 10} runs, {refused} refused")
    assert refused > 0.7 * (TRIES or 10)


@pytest.mark.parametrize("limit", [1000, 3000, 5000, 7000])
def test_the_system_itself_refuses_a_longer_file(whole: Whole, limit: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, output = whole.toys(folder, *WORDS, limit=limit)
    assert status == 1
    assert "cannot be written (File too large); nothing that is done is lost" in complaint(output)
    whole.go_on(folder)


def test_a_report_that_cannot_be_written_costs_no_search(toys: Toys, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("optimizer=random", "budget=3", "finals.networks=0", "report=true")
    status, output = toys(folder, *words, limit=60_000)  # the page has some megabytes
    assert status == 0, output
    assert "report.html could not be written" in output
    assert (folder / "best.json").exists()
    assert not [*folder.glob(".*draft")]


def test_after_a_failed_append_the_journal_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunStore(tmp_path) as store:
        store.append(TRIAL)
        before = (tmp_path / "journal.jsonl").read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(RunError, match=r"journal\.jsonl: cannot be written \(No space"):
                store.append(TRIAL)
            with pytest.raises(OSError, match="No space"):
                write_file(tmp_path / "best.json", "{}")
            with pytest.raises(RunError, match=r"best\.json: cannot be written"):
                store.write("best.json", {})
        assert (tmp_path / "journal.jsonl").read_bytes() == before
        assert len(store.trials()) == 1
        assert not (tmp_path / "best.json").exists()
        assert not [*tmp_path.glob(".*draft")]
        store.append(TRIAL)
    assert (tmp_path / "journal.jsonl").read_bytes() == before * 2


@pytest.mark.parametrize("until", [0, 1])
def test_a_training_is_not_lost_because_its_weights_cannot_be_kept(
    setting: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: int
) -> None:
    """Neither for children, nor at the rung of a race."""

    def full(*args: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr(estimator, "save_file", full)
    monkeypatch.setattr(paused, "save_file", full)
    architecture = Architecture("linear_probe", {})
    files = {"weights": str(tmp_path / "w"), "paused": str(tmp_path / "p")}
    job = Job(0, architecture, 0, TrainingSettings(epochs=2), until=until, **files)
    found = Estimator(setting)(job)
    assert (found.status, found.error) == ("ok", "")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["lock", "journal.jsonl"])
def test_a_file_that_may_not_be_written_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with RunStore(tmp_path) as store:
        store.append(TRIAL)
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        if path.name == name and mode[0] == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *args, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)") as caught:
            RunStore(tmp_path, resume=True)
        assert "\n" not in str(caught.value)
    with RunStore(tmp_path, resume=True) as store:  # the refused one let the directory go
        assert store.trials() == [TRIAL]


def test_a_second_search_in_the_same_directory(whole: Whole, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert whole.toys(folder, *WORDS, fault={"kind": "kill", "at": 150})[0] == KILLED
    before, begun = (folder / "journal.jsonl").read_bytes(), len(trainings(folder))
    with RunStore(folder, resume=True):
        status, output = whole.toys(folder)
        assert status == 2
        assert f"in use by process {os.getpid()}" in complaint(output)
    assert (folder / "journal.jsonl").read_bytes().startswith(known(folder))
    assert before.startswith(known(folder))
    assert len(trainings(folder)) == begun
    whole.go_on(folder)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_run_that_was_moved_goes_on(whole: Whole, share: float, tmp_path: Path) -> None:
    folder, at = tmp_path / "here" / "run", int(share * len(whole.moments))
    assert whole.toys(folder, *WORDS, fault={"kind": "kill", "at": at})[0] == KILLED
    assert known(folder)
    there = tmp_path / "far" / "away"
    shutil.move(folder.parent, there)
    whole.go_on(there / "run")
    assert not (tmp_path / "here").exists()


def test_a_run_that_lost_its_experiment_says_how_to_start(toys: Toys, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fault = {"kind": "kill", "at": 1}
    assert toys(folder, *WORDS, fault=fault)[0] == KILLED
    assert (folder / "journal.jsonl").exists()
    with pytest.raises(InputError, match=re.escape("start it without --resume")):
        stored(folder, [])


@settings(max_examples=30)
@given(jumps=st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=8))
def test_a_clock_that_is_set_back_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, jumps: list[float]
) -> None:
    """Neither the clock of the wall counts, nor that of a machine that was started anew."""
    folder, found, now = tmp_path_factory.mktemp("run"), [], [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1.7e9 + now[0])
        patch.setattr(store_module.time, "monotonic", lambda: now[0])
        for number, jump in enumerate(jumps):
            now[0] = abs(jump)  # of a new start: smaller or larger than before
            with RunStore(folder, resume=number > 0) as store:
                now[0] += 2.0
                found.append(store.elapsed)
                store.append(Trial(**{**TRIAL.row(), "index": number, "at": store.elapsed}))
    assert found == pytest.approx([2.0 * n for n in range(1, len(jumps) + 1)], abs=0.01)
