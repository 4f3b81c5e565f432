"""HeadBench: a table from runs, and one that further runs make longer."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import curve_replay
import headbench
import pytest
from curve_table import CurveTable

from evonas.errors import InputError

HEADS = [("conv", 8), ("conv", 16), ("pool", 8), ("pool", 16)]


def trial(kind: str, width: int, seed: int, epochs: int = 3) -> SimpleNamespace:
    return SimpleNamespace(
        digest=f"{kind}{width}",
        architecture={"settings": {"kind": kind, "width": width, "depth": 2}},
        macs=100 * width,
        params=10 * width,
        seconds=0.05 * width * epochs,
        epochs=epochs,
        curve=[width + seed + 1 / epoch for epoch in range(1, epochs + 1)],
    )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs ``s0`` to ``s2`` and ``seconds``; the seeds after the first have two heads."""
    found = {
        "s0": [trial(*head, 0) for head in HEADS],
        "s1": [trial(*head, 1) for head in HEADS[1:3]],
        "s2": [trial(*head, 2) for head in HEADS[1:3]],
        "seconds": [trial(*head, 0, epochs=1) for head in HEADS],
        "longer": [trial(*head, 1, epochs=4) for head in HEADS],
        "other": [trial("residual", 8, 1)],
    }
    for name in found:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(headbench, "trainings", lambda run: found[run.name])
    monkeypatch.setattr(headbench, "varied", lambda run: ["kind", "width"])
    return tmp_path


def test_a_table_is_the_same_at_once_and_made_longer(runs: Path) -> None:
    at_once, longer = runs / "once.csv", runs / "longer.csv"
    all_runs = [runs / name for name in ("s0", "s1", "s2")]
    assert headbench.write_table(all_runs, runs / "seconds", at_once) == 8
    assert headbench.write_table(all_runs[:1], runs / "seconds", longer) == 4
    label = curve_replay._label(longer)
    assert headbench.write_table(all_runs[1:2], longer, longer) == 6
    assert headbench.write_table(all_runs[2:], longer, longer) == 8
    assert longer.read_bytes() == at_once.read_bytes()
    assert curve_replay._label(longer) == label, "replays are of seed 0"
    with at_once.open() as stream:
        line = list(csv.DictReader(stream))[1]
    assert line == {
        **{"kind": "conv", "width": "8", "seed": "0", "macs": "800", "params": "80"},
        **{"seconds": "0.4", "error1": "9.0", "error2": "8.5", "error3": "8.3333"},
    }
    table = CurveTable(at_once)
    assert table.best == pytest.approx(8.3333)
    assert {row: [curve[-1] for curve in found] for row, found in table.again.items()} == {
        1: pytest.approx([17.3333, 18.3333]),
        2: pytest.approx([9.3333, 10.3333]),
    }


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("longer", "longer: expected the columns of the lines before it"),
        ("other", "has no training of residual8: search all heads"),
    ],
)
def test_runs_that_do_not_fit_a_table_are_refused(runs: Path, run: str, said: str) -> None:
    table = runs / "table.csv"
    headbench.write_table([runs / "s0"], runs / "seconds", table)
    before = table.read_bytes()
    with pytest.raises(InputError, match=said):
        headbench.write_table([runs / run], table, table)
    assert table.read_bytes() == before


def test_what_is_no_table_is_refused(runs: Path) -> None:
    with pytest.raises(InputError, match="expected a run directory or a table"):
        headbench.write_table([runs / "s1"], runs / "none.csv", runs / "out.csv")
    (runs / "words.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="with a column 'seconds'"):
        headbench.write_table([runs / "s1"], runs / "words.csv", runs / "out.csv")
