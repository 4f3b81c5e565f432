"""Long runs: nothing is done again that is known, nothing grows that need not; counts, no clock."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import long_run
import numpy as np
import pytest
from benchmark_files import BENCHMARKS
from msgspec.structs import replace

from evonas.api import search as library
from evonas.api.resuming import stored
from evonas.api.search import search
from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.runs import run_store as store
from evonas.runs.callbacks import SearchStart
from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.space import Architecture, SearchSpace, search_space
from evonas.workflows.loop import Search, SearchComponents
from evonas.workflows.result_writer import ResultWriter

SPACE = long_run.SPACE


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What the benchmark puts in place for a process of its own is as before afterwards."""
    for owner, name in (
        *((Optimizer, "ask"), (Optimizer, "tell"), (os, "fsync")),
        *((library, "components_of"), (library, "RunStore")),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    return monkeypatch


def searched(folder: Path, budget: int, resume: bool = False, name: str = "random") -> None:
    words = [f"budget={budget}", f"optimizer={{name: {name}}}", *long_run.WORDS]
    experiment = config.load("quickstart", words)
    search(experiment, run_dir=folder, resume=resume)


@pytest.fixture
def run(tmp_path: Path, undone: pytest.MonkeyPatch) -> Path:
    """The folder of a search of 40 networks."""
    undone.setattr(library, "components_of", long_run.Plan)
    searched(tmp_path / "run", 40)
    return tmp_path / "run"


def test_known_networks_are_neither_decoded_nor_counted_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace.from_dict(SPACE.to_dict())  # remembers nothing yet
    seen: Counter[str] = Counter()
    decoded = SearchSpace._decoded

    def counted(self: SearchSpace, point: list[float]) -> Architecture:
        seen["decoded"] += 1
        return decoded(self, point)

    def cost(architecture: Architecture) -> int:
        seen["cost"] += 1
        return 1

    monkeypatch.setattr(SearchSpace, "_decoded", counted)
    limit = config.load("quickstart", []).objective.max_macs
    told: dict[str, Any] = {"macs": cost, "max_macs": limit, "population_size": 10}
    optimizer = registry.create("optimizer", "random", {}, space, budget=40, seed=0, **told)
    executor, objective = long_run.Arithmetic(), Objective("error", ObjectiveSettings())
    with RunStore(run, resume=True) as journal:
        components = SearchComponents(
            space, optimizer, executor, objective, TrainingSettings(), cost
        )
        work = Search(components, journal)
        work.run(0)
        assert journal.count == journal.trained == 40
    # a draw tells whether the limit can be kept (twice), and the first trial is looked at
    assert seen == {"decoded": 1 + 1, "cost": 2}
    assert not work._rows, "what was replayed is let go"
    assert not work._expected


def test_a_genome_that_means_another_network_by_now_is_noticed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = SearchSpace._decoded

    def other(self: SearchSpace, point: list[float]) -> Architecture:
        return decoded(self, [1.0 - x for x in point])

    monkeypatch.setattr(SearchSpace, "_decoded", other)
    with pytest.raises(store.InputError, match=r"journal does not fit: generation 0, trial 0 is"):
        searched(run, 40, resume=True)


def test_a_genome_of_another_length_is_refused_in_one_line(run: Path) -> None:
    journal = run / "journal.jsonl"
    first, *others = journal.read_text().splitlines()
    row = json.loads(first)
    journal.write_text("\n".join([json.dumps({**row, "genome": row["genome"][1:]}), *others, ""]))
    with pytest.raises(store.InputError, match=rf"{row['digest']}, but .* asks another genome of"):
        searched(run, 40, resume=True)


def test_a_resumed_run_writes_its_files_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (run / "log.txt").read_text().splitlines()
    assert sum("is the best so far" in line for line in lines) > 1
    before = {name: (run / name).read_bytes() for name in ("journal.jsonl", "front.json")}
    written: list[str] = []
    write = RunStore.write

    def noted(self: RunStore, name: str, content: Any) -> Path:
        written.append(name)
        return write(self, name, content)

    monkeypatch.setattr(RunStore, "write", noted)
    searched(run, 40, resume=True)
    # at the end of the replay, and at that of the search
    assert [name for name in written if name != "progress.json"] == [
        *("experiment.yaml", *2 * ["best.json", "front.json"])
    ]
    assert {name: (run / name).read_bytes() for name in before} == before
    added = (run / "log.txt").read_text().splitlines()[len(lines) :]
    assert [line.split(" ", 1)[1][:7] for line in added] == [
        *("resumed", lines[-2].split()[1][:7], "finishe")
    ]


def test_files_catch_up_in_one_step_and_go_on(run: Path) -> None:
    experiment = stored(run, [])
    before = {name: (run / name).read_bytes() for name in ("best.json", "front.json")}
    with RunStore(run, resume=True) as journal:
        files = ResultWriter(journal, experiment, long_run.Plan(experiment), print)
        best = journal.best()
        assert best is not None
        for name in before:
            (run / name).unlink()
        files.on_start(SearchStart(run, experiment, "error", "", (), 0))
        assert not (run / "best.json").exists()
        files.on_start(SearchStart(run, experiment, "error", "", tuple(journal.trials()), 0))
        assert {name: (run / name).read_bytes() for name in before} != before  # of finals, rivals
        assert json.loads((run / "best.json").read_text())["digest"] == best.digest
        files.on_trial(replace(best, generation=9, digest="new", fitness=best.value / 2))
        assert json.loads((run / "best.json").read_text())["fitness"] == best.value / 2


def test_a_run_that_was_broken_off_and_resumed_has_the_files_of_a_whole_one(run: Path) -> None:
    whole = {name: (run / name).read_bytes() for name in ("best.json", "front.json")}
    rows = [replace(trial, at=0.0) for trial in read_journal(run)]
    journal = run / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:23]))
    for name in whole:
        (run / name).unlink()
    searched(run, 40, resume=True)
    assert {name: (run / name).read_bytes() for name in whole} == whole
    assert [replace(trial, at=0.0) for trial in read_journal(run)] == rows


def test_trials_are_sorted_once_and_belong_to_who_asks(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Trial] = []
    place = Trial.place.fget
    looked = property(lambda trial: looks.append(trial) or place(trial))
    monkeypatch.setattr(Trial, "place", looked)
    with RunStore(run, resume=True) as journal:
        found = journal.trials()
        assert len(looks) == 40
        found.clear()
        assert len(journal.trials()) == 40
        assert len(looks) == 40
        early = replace(journal.trials()[-1], generation=-1)
        journal.append(early)
        assert journal.trials()[0] == early


def test_a_known_trial_takes_little_memory(run: Path) -> None:
    journal = run / "journal.jsonl"
    journal.write_bytes(10 * journal.read_bytes())
    read_journal(run)  # what is made once for all lines
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        trials = read_journal(run)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / len(trials) < 2_400  # bytes, of 18 genes; the line itself has 1,100
    assert not hasattr(trials[0], "__dict__")
    ends: dict[str, set[int]] = {}
    for trial in trials:
        end = trial.architecture["settings"]["end"]
        ends.setdefault(end, set()).add(id(end))
    assert {len(places) for places in ends.values()} == {1}, "equal words stand in memory once"


def test_a_line_of_the_journal_has_the_names_of_a_trial_in_order(run: Path) -> None:
    line = json.loads((run / "journal.jsonl").read_text().splitlines()[0])
    (first, *_) = read_journal(run)
    optional = {"losses": first.losses, "fold": first.fold}
    names = [name for name in Trial.__struct_fields__ if optional.get(name, True)]
    assert list(line) == list(first.row()) == names
    assert Trial(**first.row()) == first


@pytest.mark.parametrize("wrong", [True, 10**400, "1", None], ids=["true", "huge", "text", "none"])
def test_a_figure_that_is_none_is_refused_after_any_number_of_sound_lines(
    run: Path, wrong: Any
) -> None:
    journal = run / "journal.jsonl"
    lines = journal.read_text().splitlines()
    for name in ("seconds", "macs"):
        broken = json.dumps({**json.loads(lines[-1]), name: wrong})
        journal.write_text("\n".join([*lines[:-1], broken]) + "\n")
        with pytest.raises(store.InputError, match=r"line 40: is no trial"):
            read_journal(run)


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LOG_BYTES", 1_000)
    with RunStore(tmp_path / "run") as journal:
        for number in range(500):
            journal.log(f"line {number}")
    sizes = [path.stat().st_size for path in (tmp_path / "run").glob("log*")]
    assert len(sizes) == 2
    assert max(sizes) < 1_000 + 50
    assert "line 499" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("order", [1, -1])
def test_equal_values_of_other_kinds_have_other_digests(order: int) -> None:
    values = [0, 0.0, -0.0, False, 1, 1.0, True, "1", 'ä"\\', "", 1e-7, 3e300]
    for value in values[::order]:
        made = Architecture("net", {"b": value, "a": 0.5})
        text = json.dumps(made.to_dict(), sort_keys=True, separators=(",", ":"))
        assert made.digest == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert len({Architecture("net", {"a": value}).digest for value in values}) == len(values)


def test_a_space_remembers_some_of_what_it_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "_RECENT", 8)
    space = SearchSpace.from_dict(SPACE.to_dict())
    genomes = np.random.default_rng(0).random((30, space.dim))
    first = space.decode(genomes[0])
    assert space.decode(genomes[0].tolist()) is first
    for genome in genomes:
        space.decode(genome)
        assert len(space._recent) <= 8
    assert space.decode(genomes[0]) == first
    for wrong in (np.nan, 1.5, -0.1):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\]"):
                space.decode([wrong, *genomes[0][1:]])


def test_the_benchmark_measures_a_search_and_its_resume(
    tmp_path: Path, undone: pytest.MonkeyPatch
) -> None:
    kept: list[list[str]] = []

    def here(what: str, *args: Any) -> tuple[Any, float]:
        folder = Path(args[0])
        found = getattr(long_run, what)(*args)
        if what == "resumed":
            kept.append((folder / "journal.jsonl").read_text().splitlines())
        return json.loads(json.dumps(found)), 1.0

    undone.setattr(long_run, "_apart", here)
    rows = list(long_run.measure("random", 0, [20, 40], tmp_path))
    assert [row["trainings"] for row in rows] == ["20", "40"]
    assert all(set(row) == set(long_run.FIELDS) for row in rows)
    assert [len(lines) for lines in kept] == [20, 40], "nothing new was trained"
    assert float(rows[0]["journal_mb"]) < float(rows[1]["journal_mb"])
    assert "| random | 0 | 40 |" in long_run.report(rows)


def test_the_benchmarks_rows_are_those_of_its_file() -> None:
    found = long_run.finished(BENCHMARKS / "long_run.csv", long_run.FIELDS)
    assert {row["strategy"] for row in found} <= set(registry.names("optimizer"))
    assert found
