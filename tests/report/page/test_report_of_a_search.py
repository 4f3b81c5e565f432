"""A search ends with its report, and a report that cannot be written does not end a search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli

from evonas.report.page import writer
from evonas.report.page.run_data import Run


def test_a_search_writes_its_report(evonas: Cli, tiny_file: Path) -> None:
    folder = tiny_file.parent / "run"
    small = ("finals.networks=1", "finals.seeds=1", "training.epochs=2", "report=true")
    code, out, err = evonas("search", tiny_file, "--run-dir", folder, *small)
    assert (code, err) == (0, "")
    assert f"Report: {folder / 'report.html'} opens in a browser." in out
    run = Run.read(folder)
    text = (folder / "report.html").read_text("utf-8")
    assert run.best["digest"] in text
    assert "finished." in text
    assert run.error == ("mae", "degrees")
    assert sum(one["macs"] for one in run.best["blocks"]) == run.best["macs"]
    trained = [one for one in run.trials if one.status in ("ok", "final")]
    assert {len(one.curve) for one in trained} == {len(one.losses) for one in trained} == {2}
    assert all(loss == float(f"{loss:.6g}") > 0 for one in trained for loss in one.losses)
    assert not [one for one in run.trials if one.status == "repeat" and one.losses]
    for one in trained:
        epoch = int(one.metrics["epoch"])
        assert one.curve[epoch - 1] == pytest.approx(one.metrics["mae"], abs=1e-6)
    moments = [one.at for one in sorted(run.trials, key=lambda one: one.at)]
    assert moments[0] > 0
    assert "baselines" in run.best
    assert all(one["macs"] >= 0 for one in run.best["baselines"])


def test_time_goes_on_where_a_run_is_resumed(evonas: Cli, tiny_file: Path) -> None:
    folder = tiny_file.parent / "run"
    assert evonas("search", tiny_file, "--run-dir", folder, "--budget", 3)[0] == 0
    before = max(one.at for one in Run.read(folder).trials)
    journal = folder / "journal.jsonl"
    late = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    for row in late:
        row["at"] += 1000.0  # as if it had taken so long
    journal.write_text("".join(json.dumps(row) + "\n" for row in late), "utf-8")
    assert evonas("search", "--resume", "--run-dir", folder, "--budget", 6)[0] == 0
    new = [one for one in Run.read(folder).trials if one.trained][3:]
    assert new
    assert all(one.at > before + 1000.0 for one in new)


def test_a_report_that_cannot_be_written_ends_no_search(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr("evonas.report.page.writer.page", broken)
    assert writer.page is broken
    folder = tiny_file.parent / "run"
    code, out, err = evonas("search", tiny_file, "--run-dir", folder, "report=true")
    assert (code, err) == (0, "")
    assert f"no ink); evonas report {folder} tries again." in out
    assert "no ink" in (folder / "log.txt").read_text("utf-8")
    assert not (folder / "report.html").exists()
