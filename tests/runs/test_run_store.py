"""The run directory: what is written is read again, what is damaged is refused by name."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from evonas.errors import InputError
from evonas.runs import run_store
from evonas.runs.run_store import RunStore, Trial, read_journal, read_json


def trial(index: int = 0, generation: int = 0, **changes: object) -> Trial:
    plain = Trial(
        generation=generation,
        index=index,
        genome=(0.1, 1 / 3, 0.9999999999999999),
        digest=f"d{generation}-{index}",
        architecture={"network": "master_module", "settings": {"stem": 8, "end": "pool"}},
        status="ok",
        fitness=1 / 7,
        macs=123456,
        params=789,
        seconds=0.25,
        metrics={"mae": 1 / 9, "epoch": 1.0},
    )
    return replace(plain, **changes)


def fill(folder: Path, *trials: Trial) -> Path:
    with RunStore(folder) as store:
        for one in trials:
            store.append(one)
    return folder / "journal.jsonl"


def test_a_fresh_start_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    """Its weights and paused trainings; never what a user keeps in folders of the same name."""
    run, digest = tmp_path / "run", "0123456789abcdef"
    for folder in ("rungs", "weights"):
        (run / folder).mkdir(parents=True)
        (run / folder / f"{digest}.safetensors").write_text("")
        (run / folder / f".{digest}.safetensors.89ab.draft").write_text("")
    (run / "weights" / "vgg_face.safetensors").write_text("mine")
    with RunStore(run):
        assert not (run / "rungs").exists()
        assert [path.name for path in (run / "weights").iterdir()] == ["vgg_face.safetensors"]


def test_a_resumed_run_keeps_its_weights_and_paused_trainings(tmp_path: Path) -> None:
    fill(tmp_path, trial())
    kept = tmp_path / "rungs" / "0123456789abcdef.safetensors"
    kept.parent.mkdir()
    kept.write_text("")
    with RunStore(tmp_path, resume=True):
        assert kept.exists()
    with pytest.raises(InputError, match="already holds a run"):  # and so does a refused start
        RunStore(tmp_path)
    assert kept.exists()


@pytest.mark.parametrize("name", ["best.json", "experiment.yaml", "report.html"])
@pytest.mark.parametrize("token", ["", ".0123456789abcdef"])
def test_a_draft_of_a_killed_write_is_removed(tmp_path: Path, name: str, token: str) -> None:
    draft = tmp_path / f".{name}{token}.draft"
    draft.write_text("{")
    with RunStore(tmp_path):
        assert not draft.exists()


def test_the_journal_gives_back_what_was_appended(tmp_path: Path) -> None:
    wrote = [
        trial(0),
        trial(1, status="failed", fitness=None, metrics={}, error="diverged: ä \n second line"),
        trial(2, status="repeat", seconds=0.0),
        trial(3, status="infeasible", fitness=None, metrics={}, params=0),
    ]
    journal = fill(tmp_path / "run", *wrote)
    assert len(journal.read_text(encoding="utf-8").splitlines()) == 4
    with RunStore(tmp_path / "run", resume=True) as store:
        assert store.trials() == wrote
        assert [t.trained for t in store.trials()] == [True, True, False, False]


def test_a_trial_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        for count in (1, 2, 3):
            store.append(trial(count))
            assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == count


def test_trials_are_sorted_by_generation_and_index(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        for generation, index in [(1, 0), (0, 2), (0, 0), (1, 1), (0, 1)]:
            store.append(trial(index, generation))
        places = [(t.generation, t.index) for t in store.trials()]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    genome=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6),
    fitness=st.floats(allow_nan=False, allow_infinity=False),
    metric=st.floats(allow_nan=False, allow_infinity=False),
)
def test_floats_survive_exactly(
    tmp_path: Path, genome: list[float], fitness: float, metric: float
) -> None:
    (tmp_path / "journal.jsonl").unlink(missing_ok=True)
    fill(tmp_path, trial(genome=tuple(genome), fitness=fitness, metrics={"mae": metric}))
    with RunStore(tmp_path, resume=True) as store:
        (read,) = store.trials()
    assert [x.hex() for x in read.genome] == [x.hex() for x in genome]
    assert read.fitness is not None
    assert read.fitness.hex() == fitness.hex()
    assert read.metrics["mae"].hex() == metric.hex()


def test_a_number_that_json_cannot_hold_is_never_written(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        with pytest.raises(ValueError):
            store.append(trial(fitness=float("nan")))
        store.append(trial(1))
        assert len(store.trials()) == 1
    with RunStore(tmp_path, resume=True) as store:
        assert [t.index for t in store.trials()] == [1]


def test_a_torn_last_line_is_trimmed_wherever_it_was_torn(tmp_path: Path) -> None:
    journal = fill(tmp_path, trial(0), trial(1), trial(2))
    whole = journal.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for end in range(start, len(whole)):  # every byte offset of the last line
        journal.write_bytes(whole[:end])
        with RunStore(tmp_path, resume=True) as store:
            assert [t.index for t in store.trials()] == [0, 1]
            assert journal.read_bytes() == whole[:start]
            store.append(trial(2))
        assert journal.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"null",
        b"[1, 2]",
        b'{"generation": 0, "index": 1',
        b"\xff\xfe not text",
        b'{"generation": 0, "index": 1, "genome": [0.5], "digest": "x", "architecture": 7, '
        b'"status": "ok", "fitness": 1.0, "macs": 1}',
    ],
)
def test_a_damaged_line_in_the_middle_is_refused_with_its_number(
    tmp_path: Path, damage: bytes
) -> None:
    journal = fill(tmp_path, trial(0), trial(1), trial(2))
    lines = journal.read_bytes().split(b"\n")
    lines[1] = damage
    journal.write_bytes(b"\n".join(lines))
    before = journal.read_bytes()
    with pytest.raises(InputError, match=re.escape(f"{journal}, line 2:")) as caught:
        RunStore(tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == before


def test_a_line_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    journal = fill(tmp_path, trial(0))
    row = json.loads(journal.read_text()) | {"colour": "red"}
    journal.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"line 1: .*colour"):
        RunStore(tmp_path, resume=True)


def test_after_a_refused_journal_the_directory_can_be_opened_again(tmp_path: Path) -> None:
    """The refused store must not keep the lock: a notebook goes on in the same process."""
    journal = fill(tmp_path, trial(0))
    good = journal.read_bytes()
    journal.write_bytes(b"damaged\n")
    with pytest.raises(InputError) as caught:  # the traceback keeps the frame alive
        RunStore(tmp_path, resume=True)
    journal.write_bytes(good)
    with RunStore(tmp_path, resume=True) as store:
        assert len(store.trials()) == 1
    assert "line 1" in str(caught.value)


def test_a_second_handle_is_refused_and_told_whose_the_directory_is(tmp_path: Path) -> None:
    with RunStore(tmp_path):
        for resume in (False, True):
            with pytest.raises(InputError, match=rf"in use by process {os.getpid()}\b"):
                RunStore(tmp_path, resume)
    with RunStore(tmp_path, resume=True) as store:
        assert store.trials() == []


def test_another_process_holds_the_directory_until_it_dies(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from evonas.runs.run_store import RunStore;"
        "store = RunStore(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=rf"in use by process {other.pid}\b"):
            RunStore(tmp_path, resume=True)
        other.kill()
        other.wait()
        with RunStore(tmp_path, resume=True) as store:  # the lock died with its owner
            assert store.trials() == []


def test_a_directory_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    journal = fill(tmp_path, trial(0))
    before = journal.read_bytes()
    with pytest.raises(InputError, match=r"already holds a run.*--resume"):
        RunStore(tmp_path)
    assert journal.read_bytes() == before


def test_nothing_can_be_resumed_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        RunStore(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "file"))):
        RunStore(tmp_path / "file" / "run")


def test_write_replaces_a_file_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore(tmp_path) as store:
        store.write("best.json", {"fitness": 1 / 3})
        assert read_json(tmp_path / "best.json") == {"fitness": 1 / 3}
        before = (tmp_path / "best.json").read_bytes()

        def killed(source: object, target: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write("best.json", {"fitness": 0.0})
        assert (tmp_path / "best.json").read_bytes() == before
        monkeypatch.undo()
        store.write("best.json", "text as it is")
        assert (tmp_path / "best.json").read_text() == "text as it is"


def test_read_is_empty_for_a_missing_file_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        assert store.read("environment.json") == {}
        for text in ("{", "[]", "[" * 100_000):
            (tmp_path / "environment.json").write_text(text)
            with pytest.raises(InputError, match=r"environment\.json"):
                store.read("environment.json")


def test_best_is_the_earliest_among_equals_and_was_trained(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        assert store.best() is None
        store.append(trial(0, 0, status="failed", fitness=None))
        assert store.best() is None
        store.append(trial(2, 1, fitness=0.5))
        store.append(trial(1, 1, fitness=0.5))
        store.append(trial(0, 2, fitness=0.5))
        store.append(trial(0, 3, fitness=0.7))
        store.append(trial(1, 0, fitness=0.1, status="repeat"))
        best = store.best()
    assert best is not None
    assert (best.generation, best.index) == (1, 1)


def test_whole_numbers_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = trial(0, metrics={"mae": 3.5, "epoch": 1}, fitness=2, curve=(4, 3.5), latency=1)
    with RunStore(tmp_path / "run") as store:
        store.append(written)
    (found,) = read_journal(tmp_path / "run")
    assert json.dumps(found.row()) == json.dumps(written.row())


def test_who_looks_whether_a_run_is_open_keeps_no_search_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunStore(tmp_path).close()
    looking = (tmp_path / "lock").open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(run_store.time, "sleep", lambda seconds: looking.close())
    RunStore(tmp_path, resume=True).close()
    assert looking.closed
