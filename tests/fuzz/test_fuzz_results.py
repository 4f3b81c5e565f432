"""Results that another verb goes on from, changed: resumed, begun with, retrained, exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from exported import retrained
from hypothesis import given
from hypothesis import strategies as st
from mutations import command, damaged, edited, fuzz, owed, refused_or_read

from evonas.api.exporting import located
from evonas.estimation.objective import Objective
from evonas.runs import result_files as results
from evonas.runs.run_store import RunStore
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained
from evonas.workflows.warm_start import warm_start

# Values of a person's size: a network of 1e30 channels is a wish, not a mistake.
SMALL: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 0.5, "", "nan", float("nan"), [], {}, [None], {"name": None}, "a\nb"]
)


@pytest.mark.parametrize("name", ["best.json", "front.json"])
def test_a_changed_result_is_taken_or_refused(run: Path, name: str) -> None:
    path = run / name
    whole = path.read_bytes()
    plain = json.loads(whole)
    changed = edited(plain).map(lambda data: json.dumps(data).encode())
    pick = st.sampled_from(["", "knee", "cheapest:1e9", "best:1G", "best:", "nan:nan", "best:-M"])

    @fuzz(100)
    @given(st.one_of(changed, changed, damaged(whole)), pick)
    def try_it(content: bytes, how: str) -> None:
        path.write_bytes(content)
        refused_or_read(lambda: results.read(path, how))

    try_it()


def test_retrain_says_in_one_line_what_is_wrong(run: Path) -> None:
    """Only what is refused: what is taken is trained, which other tests do."""
    path = run / "best.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    keys = [key for key in plain if key not in ("metrics", "spread", "fitness", "finalists")]

    @fuzz(40)
    @given(st.sampled_from(keys), st.sampled_from([None, [], [None], "x", {"a": 1}, 10**400]))
    def try_it(key: str, value: Any) -> None:
        path.write_text(json.dumps({**plain, key: value}), encoding="utf-8")
        # no epoch is ever trained: the override is wrong, and is checked behind the file
        owed(command(run.parent, "retrain", path, "retraining.epochs=none"))

    try_it()


def test_a_changed_journal_is_begun_with_or_refused(run: Path, components: Components) -> None:
    rows = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    objective: Objective = components.objective

    def read() -> None:
        warm_start(
            run, components.experiment, components.fingerprints(), components.space, objective
        )

    read()

    @fuzz(80)
    @given(edited(rows))
    def try_it(content: list[Any]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in content)
        (run / "journal.jsonl").write_text(text, encoding="utf-8")
        refused_or_read(read)

    try_it()


def test_a_damaged_journal_is_resumed_or_refused(run: Path) -> None:
    path = run / "journal.jsonl"
    whole = path.read_bytes()

    def read() -> None:
        with RunStore(run, resume=True) as store:
            store.best()

    @fuzz(80)
    @given(damaged(whole))
    def try_it(content: bytes) -> None:
        path.write_bytes(content)
        refused_or_read(read)

    try_it()


def test_resume_and_from_say_in_one_line_what_is_wrong(run: Path) -> None:
    kept = run.with_name("kept")
    shutil.copytree(run, kept)
    names = ("journal.jsonl", "environment.json", "experiment.yaml")
    cases = st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.just(name), damaged((kept / name).read_bytes()))
    )

    @fuzz(12)
    @given(cases)
    def try_it(case: tuple[str, bytes]) -> None:
        shutil.rmtree(run)
        shutil.copytree(kept, run)
        (run / case[0]).write_bytes(case[1])
        began = ("search", kept / "experiment.yaml", "--budget", 1, "--from", run)
        owed(command(run.parent, "search", "--resume", "--run-dir", run, "report=false"))
        owed(command(run.parent, *began, "report=false", "finals.networks=0"))

    try_it()


def test_a_changed_comparison_is_taken_or_refused(components: Components, tmp_path: Path) -> None:
    folder = retrained(components, tmp_path)
    path = folder / "comparison.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    weights = folder / plain["contenders"][0]["weights"][0]

    def read() -> None:
        one = Retrained(folder)
        found = one.contender()
        one.metrics  # noqa: B018 - it reads the results
        one.head(found)
        located(weights, "", None)

    read()

    @fuzz(60)
    @given(edited(plain, SMALL))
    def try_it(content: Any) -> None:
        path.write_text(json.dumps(content), encoding="utf-8")
        refused_or_read(read)

    try_it()


def test_a_tap_that_the_backbone_has_not_is_named(components: Components, tmp_path: Path) -> None:
    folder = retrained(components, tmp_path)
    content = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    for one in content["contenders"]:
        one["tap"] = "block33"
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    for words in (("test", folder, "synthetic_faces"), ("export", folder)):
        code, out, err = command(tmp_path, *words)
        owed((code, out, err))
        assert code == 2
        assert "did you mean 'block3'?" in err
