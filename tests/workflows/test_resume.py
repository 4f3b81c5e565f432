"""A search that was killed or stopped goes on and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evonas.core.files import read_yaml

PLAN = {
    "budget": 12,
    "training": {"epochs": 30},
    "optimizer": {"name": "cma", "population_size": 6},
}
LONGEST_WAIT = 60.0  # seconds, of any single step, on a machine that is busy
STEP = 0.01


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "evonas", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def experiment(tiny: dict[str, Any], tmp_path: Path, features: object) -> Path:
    """The tiny experiment with longer trainings, its features computed already."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny | PLAN), encoding="utf-8")
    return path


def comparable(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"], row["at"]
    return sorted(rows, key=lambda row: (row["generation"], row["index"], row["repeat"]))


def rows_of(folder: Path) -> int:
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def stop_after(rows: int, experiment: Path, folder: Path, how: signal.Signals) -> tuple[int, str]:
    """Start a search, send the signal when the journal has grown to ``rows``; status, output."""
    words = command("search", experiment, "--run-dir", folder)
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=experiment.parent,
        env=environment(),
        # A shell that starts us in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            for _ in range(int(LONGEST_WAIT / STEP)):
                if rows_of(folder) >= rows:
                    break
                try:
                    process.wait(STEP)
                except subprocess.TimeoutExpired:
                    continue
                pytest.fail(f"ended by itself: {process.communicate()[0]}")
            process.send_signal(how)
            output = process.communicate(timeout=LONGEST_WAIT)[0]
        finally:
            process.kill()
    return process.returncode, output


def run(evonas: Any, *words: object) -> str:
    code, out, err = evonas("search", *words)
    assert (code, err) == (0, "")
    return str(out)


def test_a_killed_and_a_stopped_search_end_as_the_uninterrupted_one(
    experiment: Path, tmp_path: Path, evonas: Any
) -> None:
    run(evonas, experiment, "--run-dir", tmp_path / "whole")
    expected = comparable(tmp_path / "whole")
    assert sum(row["status"] == "ok" for row in expected) == 12

    killed = tmp_path / "killed"
    code, _ = stop_after(8, experiment, killed, signal.SIGKILL)  # in the second generation
    assert code == -signal.SIGKILL
    before = (killed / "journal.jsonl").read_bytes()
    assert 8 <= before.count(b"\n") < len(expected), "it was over before it was killed"

    run(evonas, "--resume", "--run-dir", killed)  # all else is in the run directory
    after = (killed / "journal.jsonl").read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1]), "a known trial was written anew"
    assert comparable(killed) == expected
    digests = [row["digest"] for row in comparable(killed) if row["status"] == "ok"]
    assert len(digests) == len(set(digests)) == 12
    best = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("whole", "killed")]
    assert best[0] == best[1]

    stopped = tmp_path / "stopped"
    code, output = stop_after(3, experiment, stopped, signal.SIGINT)  # Ctrl-C
    assert code == 130
    assert f"evonas search --resume --run-dir {stopped}" in output
    assert "Traceback" not in output
    assert 3 <= rows_of(stopped) < len(expected)
    run(evonas, "--resume", "--run-dir", stopped)
    assert comparable(stopped) == expected


def test_a_finished_run_can_be_resumed_and_trains_nothing(
    experiment: Path, tmp_path: Path, evonas: Any
) -> None:
    folder = tmp_path / "run"
    run(evonas, experiment, "--run-dir", folder, "budget=4", "training.epochs=1")
    journal = (folder / "journal.jsonl").read_bytes()
    best = (folder / "best.json").read_bytes()
    run(evonas, "--resume", "--run-dir", folder)
    assert (folder / "journal.jsonl").read_bytes() == journal
    assert (folder / "best.json").read_bytes() == best


def test_a_larger_budget_goes_on(experiment: Path, tmp_path: Path, evonas: Any) -> None:
    short = ("training.epochs=1", "optimizer.population_size=4")
    run(evonas, experiment, "--run-dir", tmp_path / "whole", "--budget", 7, *short)
    run(evonas, experiment, "--run-dir", tmp_path / "split", "--budget", 3, *short)
    run(evonas, "--resume", "--run-dir", tmp_path / "split", "--budget", 7)
    assert read_yaml(tmp_path / "split" / "experiment.yaml")["budget"] == 7
    whole, split = comparable(tmp_path / "whole"), comparable(tmp_path / "split")
    assert [row for row in split if row in whole] == whole
    # finals of the smaller budget stay in the journal, and take no part in the later ones
    assert {row["status"] for row in split if row not in whole} <= {"final"}
    best = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("whole", "split")]
    assert best[0] == best[1]


def test_a_run_stopped_before_its_first_trial_can_be_resumed(
    tiny: dict[str, Any], tmp_path: Path, evonas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features take the longest on real data: stopping there must not spoil the directory."""
    from evonas.estimation.features.feature_cache import FeatureCache

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny | {"budget": 3}), encoding="utf-8")

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "ensure", interrupted)
        code, _, _ = evonas("search", path, "--run-dir", folder)
        assert code == 130
    resumed = ("--resume",) if folder.exists() else ()
    source = () if resumed else (path,)
    run(evonas, *source, *resumed, "--run-dir", folder)
    assert 3 + 3 + 2 <= rows_of(folder) <= 3 + 3 + 3 * 2  # the search, and a race of its three
