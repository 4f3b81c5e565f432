"""What reads the folder of a run, given files that were damaged, mixed up or written by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mutations import command, damaged, edited, fuzz, owed, refused_or_read
from run_folder import run_folder, trials

from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.runs.run_store import read_journal

# a font need not have every letter that a file may hold
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")

FILES = (
    *("best.json", "environment.json", "utilisation.json", "comparison.json", "test.json"),
    "experiment.yaml",
)
COSTS = {"macs": 1000, "params": 100, "megabytes": 0.1}
CONTENDER = {
    "name": "winner",
    "architecture": None,
    "tap": "block3",
    "weights": [],
    "results": [{"mae": 3.5, "test_mae": 3.6}, {"mae": 3.4, "test_mae": 3.7}],
    "curves": [[5.0, 4.0, 3.5], [5.1, 4.0, 3.4]],
    "head": COSTS,
    "backbone_up_to_tap": COSTS,
}

TESTED = {
    "network": "winner",
    "tap": "block3",
    "test_set": "faces, test split",
    "images": 40,
    "repeats": [{"mae": 3.6, "n|yaw 0-30": 7.0}, {"mae": 3.7}],
    "matrix": None,
    "head": COSTS,
    "upto": COSTS,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with children, whose winner was retrained."""
    rows = trials(12)
    first, *rest = rows
    rows = [first, *(_child(one, first.digest) for one in rest)]
    folder = run_folder(tmp_path_factory.mktemp("whole") / "run", rows)
    (folder / "retrained").mkdir()
    content = {"contenders": [CONTENDER], "folds": 0}
    (folder / "retrained" / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "retrained" / "test.json").write_text(json.dumps([TESTED]), encoding="utf-8")
    return folder


def _child(trial: Any, parent: str) -> Any:
    from msgspec.structs import replace

    return trial if trial.digest == parent else replace(trial, parent=parent, inherited=0.5)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def place(run: Path, name: str) -> Path:
    return run / "retrained" / name if name in ("comparison.json", "test.json") else run / name


def put(path: Path, content: Any) -> None:
    made = yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content)
    path.write_text(made, encoding="utf-8")


def told(run: Path) -> None:
    """All that a report draws and says, without a file."""
    read = Run.read(run)
    writer.text([read])
    writer.page([read], 0, "")


def rows(run: Path) -> list[Any]:
    lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_whole_run_is_read(copy: Path) -> None:
    told(copy)
    assert command(copy.parent, "report", copy)[0] == 0
    assert command(copy.parent, "lineage", copy)[0] == 0


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_read_or_refused(copy: Path, name: str) -> None:
    path = place(copy, name)
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))

    @fuzz(60)
    @given(edited(plain))
    def try_it(content: Any) -> None:
        put(path, content)
        refused_or_read(lambda: told(copy))

    try_it()


def test_a_changed_journal_is_read_or_refused(copy: Path) -> None:
    plain = rows(copy)

    @fuzz(100)
    @given(edited(plain[:3] + plain[-5:]))
    def try_it(content: list[Any]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in content)
        (copy / "journal.jsonl").write_text(text, encoding="utf-8")
        refused_or_read(lambda: told(copy))

    try_it()


def test_a_damaged_journal_is_read_or_refused(copy: Path) -> None:
    whole = (copy / "journal.jsonl").read_bytes()

    @fuzz(60)
    @given(damaged(whole))
    def try_it(content: bytes) -> None:
        (copy / "journal.jsonl").write_bytes(content)
        refused_or_read(lambda: told(copy))

    try_it()


def test_a_journal_that_ends_anywhere_keeps_its_whole_lines(copy: Path) -> None:
    whole = (copy / "journal.jsonl").read_bytes()

    @fuzz(60)
    @given(st.integers(0, len(whole)))
    def try_it(length: int) -> None:
        (copy / "journal.jsonl").write_bytes(whole[:length])
        assert len(read_journal(copy)) == whole[:length].count(b"\n")

    try_it()


def test_the_verbs_work_or_say_in_one_line_why_not(copy: Path) -> None:
    names = ("journal.jsonl", *FILES[:2], "experiment.yaml")
    before = {name: (copy / name).read_bytes() for name in names}
    cases = st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.just(name), damaged(before[name]))
    )

    @fuzz(12)
    @given(cases)
    def try_it(case: tuple[str, bytes]) -> None:
        name, content = case
        (copy / name).write_bytes(content)
        owed(command(copy.parent, "report", copy))
        owed(command(copy.parent, "lineage", copy))
        (copy / name).write_bytes(before[name])

    try_it()


@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        ("best.json", ("baselines",), None),
        ("best.json", ("baselines", 0, "name"), None),
        ("best.json", ("baselines", 0, "metrics", "mae"), "low"),
        ("best.json", ("baselines", 0, "params"), "many"),
        ("best.json", ("architecture",), None),
        ("best.json", ("blocks", 0, "shape"), 3),
        ("environment.json", ("error",), []),
        ("environment.json", ("error", "metric"), "unheard of"),
        ("environment.json", ("packages",), []),
        ("environment.json", ("space", "genes", 0, "kind"), []),
        ("utilisation.json", ("few",), None),
        ("utilisation.json", ("workers",), []),
        ("experiment.yaml", ("optimizer",), None),
        ("experiment.yaml", ("finals",), []),
        ("experiment.yaml", ("budget",), "many"),
        ("experiment.yaml", ("objective", "cost"), "price"),
        ("comparison.json", ("contenders", 0, "head"), {}),
        ("comparison.json", ("contenders", 0, "curves"), [[None]]),
        ("test.json", (0, "repeats"), [3]),
        ("test.json", (0, "head"), {}),
    ],
)
def test_what_once_ended_in_a_traceback(
    copy: Path, name: str, keys: tuple[Any, ...], value: Any
) -> None:
    path = place(copy, name)
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    inside = plain
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    put(path, plain)
    code, out, err = command(copy.parent, "report", copy)
    owed((code, out, err))
    assert code == 2
    assert str(copy) in err or "the space of the run" in err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("digest", ["a"]),
        ("digest", None),
        ("generation", None),
        ("status", ["ok"]),
        ("repeat", "1"),
        ("macs", 10**400),
        ("macs", True),
        ("fitness", float("nan")),
        ("curve", [None]),
        ("metrics", {"mae": "low"}),
        ("metrics", {}),
        ("genome", ["x"]),
        ("architecture", {"network": "n", "settings": {"width": [8]}}),
        ("architecture", {"network": "n", "settings": {"width": 9}}),
    ],
)
def test_a_line_that_is_no_trial_is_named(copy: Path, key: str, value: Any) -> None:
    plain = rows(copy)
    plain[0][key] = value
    text = "".join(json.dumps(row) + "\n" for row in plain)
    (copy / "journal.jsonl").write_text(text, encoding="utf-8")
    code, out, err = command(copy.parent, "report", copy)
    owed((code, out, err))
    assert code == 2
    assert "journal.jsonl" in err
