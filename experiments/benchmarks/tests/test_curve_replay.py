"""Learning curves: the table, the stopwatch, rivals that search with fidelity, and the page."""

from __future__ import annotations

import csv
import itertools
import math
import os
import random
import sys
from pathlib import Path

import curve_page
import curve_replay
import curve_rivals
import numpy as np
import pytest
from curve_rivals import CURVE_RIVALS, CurveRival, GuardedStopwatch
from curve_table import CurveTable, Stopwatch, TimeUp
from memo import PATIENCE, STANDSTILL
from rich.console import Console

from evonas.errors import InputError

GENES = {"kind": ("conv", "pool", "residual"), "width": (2, 4, 8), "depth": (1, 2)}
KEYS = list(itertools.product(*GENES.values()))
EPOCHS, BEST, LIMIT = 8, ("residual", 8, 1), 30.0
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if rival.slow else name
    for name, rival in CURVE_RIVALS.items()
]


def curve(kind: str, width: int, depth: int) -> list[float]:
    final = 4 + {"conv": 1.0, "pool": 3.0, "residual": 0.0}[kind] + 4 / width + 0.5 * depth
    return [final + 6 / epoch**2 for epoch in range(1, EPOCHS)] + [final + 2]  # rises at the end


def write(path: Path, keys: list[tuple[str, int, int]]) -> Path:
    header = [*GENES, "seed", "macs", "params", "seconds"]
    header += [f"error{epoch}" for epoch in range(1, EPOCHS + 1)]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for kind, width, depth in keys:
            cost = [width * depth * 1000, width * depth, 0.25 * (1 + depth)]
            writer.writerow([kind, width, depth, 0, *cost, *curve(kind, width, depth)])
        again = [value - 1 for value in curve(*keys[0])]
        writer.writerow([*keys[0], 1, 0, 0, 9.0, *again])
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "small.csv", KEYS)


@pytest.fixture(scope="module")
def table(path: Path) -> CurveTable:
    return CurveTable(path)


def row_of(table: CurveTable, key: tuple[str, int, int]) -> int:
    return table.row_of(tuple(GENES[name].index(v) for name, v in zip(GENES, key, strict=True)))


def test_table_has_curves_costs_and_kinds(table: CurveTable) -> None:
    assert [(gene.name, gene.kind) for gene in table.space.genes] == [
        ("kind", "choice"),
        ("width", "ordinal"),
        ("depth", "ordinal"),
    ]
    assert table.errors.shape == (18, EPOCHS)
    for key in KEYS:
        row, lowest = row_of(table, key), np.minimum.accumulate(curve(*key))
        assert table.errors[row].tolist() == pytest.approx(lowest.tolist())
        assert (table.seconds[row], table.macs[row]) == (
            0.25 * (1 + key[2]),
            1000 * key[1] * key[2],
        )
    rows = [
        table.row(table.space.decode(point)) for point in np.random.default_rng(0).random((500, 3))
    ]
    assert set(rows) == set(range(18))
    assert table.best == pytest.approx(4 + 0.5 + 0.5 + 6 / 49)
    assert table.errors[row_of(table, BEST), -1] == table.best
    assert {row: len(curves) for row, curves in table.again.items()} == {row_of(table, KEYS[0]): 1}
    assert table.again[0][0][0] == pytest.approx(curve(*KEYS[0])[0] - 1)


def test_table_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 18 combinations have no seed 0"):
        CurveTable(write(tmp_path / "short.csv", KEYS[:-1]))
    (tmp_path / "other.csv").write_text("kind,error1\nconv,3\n")
    with pytest.raises(InputError, match="expected the columns seed, macs, params, seconds"):
        CurveTable(tmp_path / "other.csv")


def test_an_epoch_is_paid_once(table: CurveTable) -> None:
    stopwatch, cheap, dear = Stopwatch(table, 7.0), row_of(table, KEYS[0]), row_of(table, KEYS[1])
    assert stopwatch.error(cheap, 3) == table.errors[cheap, 2]
    assert stopwatch.spent == pytest.approx(3 * 0.5)
    stopwatch.error(cheap, 2)
    assert stopwatch.error(cheap, 5) == table.errors[cheap, 4]
    assert stopwatch.spent == pytest.approx(5 * 0.5)
    with pytest.raises(TimeUp):  # six more epochs of 0.75 s fit
        stopwatch.error(dear, EPOCHS)
    assert stopwatch.trained == {cheap: 5, dear: 6}
    assert [at for at, _ in stopwatch.events[-2:]] == pytest.approx([6.25, 7.0])
    assert stopwatch.seconds_to(table.errors[cheap, 1]) == pytest.approx(1.0)
    assert stopwatch.seconds_to(1.0) == math.inf
    assert (np.diff([lowest for _, lowest in stopwatch.events]) <= 0).all()


def installed(name: str) -> CurveRival:
    rival = CURVE_RIVALS[name]
    if missing := rival.missing():
        pytest.skip(f"{', '.join(missing)} not installed")
    rival.load()
    return rival


def replayed(name: str, table: CurveTable, seed: int, limit: float = LIMIT) -> GuardedStopwatch:
    stopwatch = GuardedStopwatch(table, limit / 3 if CURVE_RIVALS[name].slow else limit)
    installed(name)(stopwatch, seed)
    return stopwatch


@pytest.mark.parametrize("name", NAMES)
def test_rival_spends_the_time_and_is_repeatable(
    name: str,
    table: CurveTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed(name)
    monkeypatch.chdir(tmp_path)
    np.random.seed(3)
    state, own = np.random.get_state()[1].copy(), random.getstate()
    found = replayed(name, table, 1)
    assert (np.random.get_state()[1] == state).all()
    assert random.getstate() == own
    np.random.seed(4)  # what others draw must not matter
    assert replayed(name, table, 1).events == found.events
    assert found.spent > found.limit
    assert found.events[-1][1] <= table.best + (3.0 if CURVE_RIVALS[name].slow else 1.0)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_rival_depends_on_the_seed_and_trains_briefly(name: str, table: CurveTable) -> None:
    # Syne Tune trains the middle of a space first, and whole
    limit = LIMIT if CURVE_RIVALS[name].slow else 10.0
    asked = {tuple(replayed(name, table, seed, limit).trained.items()) for seed in range(3)}
    assert len(asked) >= 2
    # in the seconds of the slow ones there are only the first trainings, which none of them stops
    if name != "optuna_whole" and not CURVE_RIVALS[name].slow:
        assert any(
            epochs < EPOCHS for epochs in list(replayed(name, table, 0).trained.values())[:-1]
        )


def test_who_only_repeats_starts_anew_and_is_stopped_in_the_end(table: CurveTable) -> None:
    starts = []

    def body(stopwatch: GuardedStopwatch, seed: int) -> None:
        starts.append(seed)
        while True:  # epoch by epoch is one call
            for epoch in range(1, EPOCHS + 1):
                stopwatch.error(0, epoch)

    stopwatch = GuardedStopwatch(table, 1e9)
    CurveRival("stubborn", (), body)(stopwatch, 0)
    assert stopwatch.trained == {0: EPOCHS}
    assert stopwatch.calls == PATIENCE * 18 + 1
    assert len(starts) == len(set(starts)) == -(-PATIENCE * 18 // STANDSTILL)
    with pytest.raises(RuntimeError, match="idle ended without a single training"):
        CurveRival("idle", (), lambda stopwatch, seed: None)(stopwatch, 0)


def test_hyperband_trains_as_published(table: CurveTable) -> None:
    asked: list[tuple[int, int]] = []

    class Recorder(GuardedStopwatch):
        def error(self, row: int, epochs: int) -> float:
            asked.append((row, epochs))
            return super().error(row, epochs)

    CURVE_RIVALS["random_hyperband"](Recorder(table, 30.0), 0)
    # two brackets of 8 epochs: three networks, the best of which goes on, and two whole ones
    assert [epochs for _, epochs in asked[:8]] == [3, 3, 3, 8, 8, 8, 3, 3]
    assert asked[3][0] == min((row for row, _ in asked[:3]), key=lambda row: table.errors[row, 2])


def rows_of(table: str = "small-0") -> list[dict[str, str]]:
    steps = {
        "full": ["10:6 40:5.1", "20:6 60:5.1", "80:5.3 90:5.2"],
        "random": ["10:6", "100:5.15", "5:9 90:5"],
    }
    row = {"table": table, "limit": "100", "cpu": "2.00"}
    return [{**row, "searcher": name, "steps": one} for name, all_ in steps.items() for one in all_]


def test_page_of_known_replays(tmp_path: Path) -> None:
    rows, labels = rows_of(), {"full": "**evonas full**", "random": "by chance"}
    text = curve_page.page(rows, labels, best=5.0, margin=0.2, notes=["A note."])
    assert "| **evonas full** | 3 | 60 | 40 .. 90 | 3 of 3 | 1.00 | 2.0 |" in text
    assert "| by chance | 3 | 100 | 90 .. > 100 | 2 of 3 | 1.67 | 2.0 |" in text
    assert text.index("evonas full") < text.index("by chance")
    assert text.rstrip().endswith("A note.")
    tight = curve_page.page(rows, labels, best=5.0, margin=0.1)
    assert "| by chance | 3 | > 100 | 90 .. > 100 | 1 of 3 | > 1.67 | 2.0 |" in tight
    alone = curve_page.page(rows[3:], labels, best=5.0, margin=0.2)
    assert "| 2 of 3 | - |" in alone
    grid = np.array([5.0, 10.0, 40.0, 100.0])
    found = curve_page.regrets(rows[0], grid, 5.0)
    assert found.tolist() == pytest.approx([np.nan, 1.0, 0.1, 0.1], nan_ok=True)
    curve_page.draw(tmp_path / "a.png", rows, labels, 5.0)
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_replays_resume(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["full", "random", "random_hyperband"]
    jobs, notes = curve_replay.plan(path, 2, 40.0, names)
    assert [(job.seed, job.searcher) for job in jobs] == [(s, n) for s in range(2) for n in names]
    assert not notes
    file, console = tmp_path / "replays.csv", Console(quiet=True)
    curve_replay.measure(jobs[:4], file, 0, console)
    file.write_text(file.read_text() + "small,half a li", newline="")
    run, ran = curve_replay.execute, []
    monkeypatch.setattr(curve_replay, "execute", lambda job: ran.append(job) or run(job))
    rows, failures = curve_replay.measure(jobs, file, 0, console)
    assert (ran, failures, len(rows)) == (jobs[4:], [], 6)
    with file.open(newline="") as stream:
        assert list(csv.DictReader(stream)) == rows
    best = CurveTable(path).best
    for row in rows:
        reached = curve_page.seconds_to(row, best + curve_replay.MARGIN + 1e-9)
        assert reached == float(row["seconds_to"])
        if row["searcher"] != "random_hyperband":
            assert int(row["trained"]) - int(row["whole"]) in (0, 1)
    full = [row for row in rows if row["searcher"] == "full"]
    assert all(float(row["seconds_to"]) < 40 for row in full)
    curve_replay.measure(curve_replay.plan(path, 1, 41.0, ["random"])[0], file, 0, console)
    assert len(ran) == 3  # of another length


def test_slow_rivals_have_fewer_seeds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_rivals.CurveRival, "missing", lambda self: [])
    monkeypatch.setattr(curve_rivals.CurveRival, "version", lambda self: "1")
    jobs, _ = curve_replay.plan(path, 3, 9.0, ["syne_mobster", "dehb"], slow_seeds=1)
    assert [job.searcher for job in jobs] == ["syne_mobster", "dehb", "dehb", "dehb"]


def test_a_search_ends_with_the_best_of_the_table(table: CurveTable) -> None:
    stopwatch = GuardedStopwatch(table, 1e9, until=table.best)
    with pytest.raises(TimeUp):
        curve_replay.random(stopwatch, 0)
    assert stopwatch.events[-1][1] == table.best
    assert len(stopwatch.trained) < 18


def test_missing_libraries_and_failures_leave_others_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(curve_rivals.CurveRival, "missing", lambda self: list(self.libraries))
    monkeypatch.setitem(curve_replay.EVONAS, "random", broken)
    jobs, notes = curve_replay.plan(path, 1, 20.0, ["dehb", "random", "random_hyperband"])
    assert notes == ["DEHB is left out: dehb not installed."]
    rows, failures = curve_replay.measure(jobs, tmp_path / "r.csv", 0, Console(quiet=True))
    assert [row["searcher"] for row in rows] == ["random_hyperband"]
    assert failures == ["random failed, seed 0: ValueError: two lines"]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["curve_replay.py", *words])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    curve_replay.main()


def test_command_prints_a_page(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(path), "--seeds", "2", "--seconds", "40", "--workers", "0", "--page"]
    words += ["--only", "full", "random_hyperband", "--margin", "0.5", "--out", str(tmp_path)]
    run(monkeypatch, *words)
    page = capsys.readouterr().out
    assert "| **evonas full** | 2 |" in page
    assert "s to within 0.5 degrees" in page
    assert {file.name for file in tmp_path.iterdir()} == {"replays.csv", "small.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "nowhere.csv: expected a CSV of learning curves"),
        (["small.csv", "--only", "deb"], "did you mean 'dehb'"),
        (["small.csv", "--seeds", "0"], "at least 1"),
    ],
)
def test_errors_are_one_line(
    words: list[str], said: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = str(path) if words[0] == path.name else words[0]
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, table, *words[1:], "--out", str(tmp_path / "o"))
    if stopped.value.code != 2:  # 2: argparse has printed it
        assert said in str(stopped.value)
        assert "\n" not in str(stopped.value)
