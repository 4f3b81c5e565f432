"""``evonas report``: what the page, the pictures and the Markdown of a run say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, said
from msgspec.structs import replace as changed
from PIL import Image
from run_folder import BLOCKS, SECRET, SPACE, run_folder, trial, trials

from evonas.report.page import comparison_sections as several
from evonas.report.page import gene_charts as genes
from evonas.report.page import plotly_backend as interactive
from evonas.report.page import run_charts
from evonas.report.page import run_tables as facts
from evonas.report.page.charts import Chart, Parallel
from evonas.report.page.formatting import MOST, thinned
from evonas.report.page.gene_importance import LEAST, importance
from evonas.report.page.run_data import Run, portable
from evonas.report.page.sections import figures, of_run
from evonas.report.page.writer import page
from evonas.runs.run_store import RunStore

PARTS = [
    *("outcome", "progress", "trade-off", "winner", "genes", "lineage", "training"),
    *("work", "again", "experiment"),
]
MEGABYTES = 6_000_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.read(run_folder(tmp_path / "toy-run"))


def chart(run: Run, key: str) -> Chart:
    return next(one for one in run_charts.all_charts(run) if one.key == key)


def test_the_page_has_every_part_and_nothing_of_this_machine(run: Run, tmp_path: Path) -> None:
    text = page([run])
    assert re.findall(r'<section id="([a-z-]+)">', text) == list(PARTS)
    assert len(text.encode()) <= MEGABYTES
    assert SECRET not in text
    assert str(tmp_path) not in text
    assert ".../faces" in text  # the end of a path stays
    head = text[: text.index("<script>")]
    assert "<b>act" not in text
    assert "x.py &lt;script&gt;" in head
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", head)  # nothing is loaded


def test_the_charts_are_what_plotly_takes(run: Run) -> None:
    import plotly.graph_objects as go

    drawn = figures(run)
    keys = [one.key for one in drawn]
    assert keys[:5] == ["progress", "progress_by_time", "trade_off", "curves", "learning"]
    assert {"utilisation", "failures", "importance", "parallel"} == set(keys[5:])
    for one in drawn:
        go.Figure(json.loads(json.dumps(interactive.plain(one), allow_nan=False)))  # it validates


def test_an_older_run_has_its_target_in_operations(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "toy-run")
    file = folder / "experiment.yaml"
    newer = file.read_text("utf-8")
    older = newer.replace("target_macs: 100000", "target_mflops: 0.2")
    assert older != newer
    file.write_text(older, "utf-8")
    assert list(chart(Run.read(folder), "trade_off").limits)[1] == (0.1, "target T")


def test_progress_is_the_running_minimum(run: Run) -> None:
    each, best = chart(run, "progress").series
    values = [one.value for one in run.trained if one.fitness is not None]
    assert list(each.y) == values
    for x, y in zip(best.x, best.y, strict=True):
        assert y == min(values[: int(x)])
    assert (best.x[0], best.x[-1], best.y[-1]) == (1.0, len(values), min(values))
    assert list(best.y[:-1]) == sorted(set(best.y[:-1]), reverse=True)  # a step each
    by_time = chart(run, "progress_by_time")
    assert by_time.series[0].x[0] == pytest.approx(3.0 / 60)
    assert list(by_time.series[0].x) == sorted(by_time.series[0].x)


def test_the_trade_off_shows_front_winner_rival_and_limits(run: Run) -> None:
    found = {one.name: one for one in chart(run, "trade_off").series}
    front = list(zip(found["front"].x, found["front"].y, strict=True))
    every = [(one.macs / 1e6, one.metrics["mae"]) for one in run.networks]
    for x, y in every:  # nobody lies below the front
        assert any(fx <= x and fy <= y for fx, fy in front)
    assert front == sorted(front)
    assert [y for _, y in front] == sorted((y for _, y in front))[::-1]
    assert len(found["network"].x) + len(front) == len(run.networks)
    winner, rival = found["winner"], found["hand-made"]
    best = min(run.networks, key=lambda one: one.value)
    assert winner.y[0] == pytest.approx(best.value + 0.4)  # the mean of its further seeds
    assert winner.errors[0] == pytest.approx(0.2 / 2**0.5)
    assert (rival.x[0], rival.y[0]) == (0.15, 9.0)
    assert list(chart(run, "trade_off").limits) == [(0.18, "limit"), (0.1, "target T")]
    hover = winner.hover[0]
    assert best.digest in hover
    assert f"mae {best.value:.3f} degrees" in hover
    assert f"width {best.architecture['settings']['width']}" in hover


@pytest.mark.parametrize("far", [{"macs": 10**9}, {"metrics": {"mae": 1e6}}])
def test_a_rival_beyond_the_edge_is_said_and_has_no_entry_in_the_legend(
    run: Run, far: dict[str, object]
) -> None:
    (near,) = [one for one in run.best["baselines"] if "mae" in one["metrics"]]
    rows = [changed(run.trials[0], metrics={"mae": 5000.0}), *run.trials[1:]]  # an outlier
    alone = replace(run, trials=rows, best={**run.best, "baselines": [{**near, **far}]})
    assert "hand-made" not in [one.name for one in chart(alone, "trade_off").series]
    note = chart(alone, "trade_off").note
    assert f"Hand-made, beyond the edge, not drawn: {near['name']} (" in note
    both = replace(alone, best={**run.best, "baselines": [near, {**near, **far}]})
    drawn = {one.name: one for one in chart(both, "trade_off").series}
    assert list(drawn["hand-made"].y) == [9.0]
    assert "beyond the edge" in chart(both, "trade_off").note


def test_where_latency_was_measured_it_has_a_chart_of_its_own(tmp_path: Path) -> None:
    objective = {"cost": "latency", "target_ms": 0.4, "weight": 0.06}
    rows = [changed(one, latency=0.1 * (1 + n % 7)) for n, one in enumerate(trials())]
    run = Run.read(run_folder(tmp_path / "timed", rows, objective=objective))
    found = chart(run, "trade_off_latency")
    assert list(found.limits) == [(0.4, "target T")]
    edge = next(one for one in found.series if one.name == "front")
    for one in run.networks:
        error = one.metrics["mae"]
        assert any(x <= one.latency and y <= error for x, y in zip(edge.x, edge.y, strict=True))
    assert list(chart(run, "trade_off").limits) == []
    assert facts.contenders(run).columns[-1] == "ms"
    assert facts.contenders(run).rows[0][-1] == f"{run.finalists[0].trial.latency:.3f}"


def test_failures_use_and_counts(run: Run) -> None:
    assert list(chart(run, "failures").series[0].y) == ["diverged", "oom-gpu"]
    use = chart(run, "utilisation").series[0]
    assert dict(zip(use.y, use.x, strict=True))["training"] == 75.0
    table = dict(map(tuple, facts.counts(run).rows))
    assert table["failed"] == "2"
    assert table["over the limit, not trained"] == "1"
    assert table["repeats, answered without training"] == "1"
    told = facts.failures(run)
    assert told is not None
    assert "at .../x.py <script>" in told.rows[0][2]


def test_curves_are_those_of_the_best_and_of_the_winners_further_seeds(run: Run) -> None:
    drawn = chart(run, "curves").series
    again = [one for one in drawn if one.color == "#d55e00"]
    assert [one.name for one in again] == ["winner, further trainings", ""]
    best = min(run.networks, key=lambda one: one.value)
    assert list(again[0].y) == pytest.approx([best.value + 3.3, best.value + 1.3, best.value + 0.3])


def test_the_gene_that_decides_is_found_and_one_that_does_nothing_is_not() -> None:
    rng = np.random.default_rng(0)
    rows = [trial(number, rng) for number in range(60)]
    found = importance(SPACE, rows)
    assert found is not None
    means = dict(zip(found.genes, found.means, strict=True))
    assert found.genes[0] == "width"
    assert means["width"] > 0.5
    assert found.explained > 0.8
    assert abs(means["<b>act</b>"]) < 0.05
    assert abs(means["rate"]) < 0.05
    assert importance(SPACE, rows[: LEAST - 1]) is None
    assert importance(SPACE, [rows[0]] * 30) is None  # nothing varies


def test_genes_that_hardly_varied_are_named(tmp_path: Path) -> None:
    rows = trials(40)
    for number, one in enumerate(rows[:]):
        width = 64 if number == 3 else 16
        settled = {**one.architecture["settings"], "width": width}
        rows[number] = changed(one, architecture={**one.architecture, "settings": settled})
    drawn = list(genes.figures(Run.read(run_folder(tmp_path / "settled", rows))))
    trained = len({one.digest for one in rows if one.status == "ok"})
    assert (
        "Hardly varied, so their importance is not known: width (16 in "
        f"{trained - 1} of {trained} networks, 2 of 4 values tried)."
    ) in drawn[0].note
    free = list(genes.figures(Run.read(run_folder(tmp_path / "free"))))
    assert "Hardly varied" not in free[0].note


def test_noise_is_said_to_be_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [trial(n, rng) for n in range(40)]
    luck = [float(value) for value in rng.random(40) + 5]
    rows = [changed(one, fitness=f, metrics={"mae": f}) for one, f in zip(rows, luck, strict=True)]
    drawn = list(genes.figures(Run.read(run_folder(tmp_path / "noise", rows))))
    assert "do not read anything into the order" in drawn[0].note


def test_parallel_coordinates_hold_a_line_for_each_network(run: Run) -> None:
    parallel = next(one for one in genes.figures(run) if isinstance(one, Parallel))
    names = [one.name for one in parallel.coordinates]
    assert names[0] == "width"
    assert names[-2:] == ["M multiply-adds", "fitness"]
    assert {len(one.values) for one in parallel.coordinates} == {len(run.networks)}
    assert list(parallel.coordinates[-1].values) == sorted(parallel.coordinates[-1].values)[::-1]


def test_the_winner_is_told_block_by_block(run: Run) -> None:
    table = facts.blocks(run)
    assert table is not None
    assert table.rows[0] == ["stem", "1×1 64→32", "32×8×8", "131 072", "2 048"]
    drawing = next(part for part in of_run(run, "") if part.key == "winner").drawings[0]
    for block in BLOCKS:
        assert str(block["name"]) in drawing
    assert "131 k multiply-adds" in drawing
    assert "100 %" in drawing


def test_paths_lose_their_folders() -> None:
    assert portable("/a/b/c.csv") == ".../c.csv"
    assert portable("~/x/y") == ".../y"
    assert portable({"k": ["/a/b", 1, None]}) == {"k": [".../b", 1, None]}
    for plain in ("1/2 of all", "a/b.csv", "https://example.org/a/b", "3 → 4", "conv/se"):
        assert portable(plain) == plain


def test_how_to_make_it_again_names_what_has_to_be_given(run: Run) -> None:
    assert facts.again(run) == [
        "evonas search toy-run/experiment.yaml data.root=... --run-dir toy-run-again"
    ]


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    first = Run.read(run_folder(tmp_path / "cma-s3"))
    rows = trials(seed=5)
    second = Run.read(run_folder(tmp_path / "ga-s3", rows, optimizer={"name": "ga"}, budget=99))
    text = page([first, second])
    found = re.findall(r'<section id="([a-z-]+)">', text)
    assert found == ["outcome", "progress", "trade-off", "settings", "again"]
    names = [row[0] for row in several.table([first, second]).rows]
    assert sorted(names) == ["cma-s3", "ga-s3"]
    best = min((one.finalists[0].fitness, one.name) for one in (first, second))
    assert names[0] == best[1]
    rows_of = {row[0]: row[1:] for row in several.differences([first, second]).rows}
    assert rows_of == {"optimizer.name": ["cma", "ga"], "budget": ["32", "99"]}
    assert len(text.encode()) <= MEGABYTES


@pytest.mark.slow
def test_a_long_search_has_a_page_that_still_opens(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = [trial(number, rng) for number in range(8000)]
    run = Run.read(run_folder(tmp_path / "long", rows))
    text = page([run])
    assert len(text.encode()) <= MEGABYTES
    drawn = {one.name: one for one in chart(run, "trade_off").series}
    assert len(drawn["network"].x) <= MOST
    assert f"of {len(run.networks)} networks are drawn" in chart(run, "trade_off").note
    best = min(run.networks, key=lambda one: one.value)
    assert best in thinned(run.networks, 100)
    assert len(thinned(run.networks, 100)) <= 100


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    first = Run.read(run_folder(tmp_path / "a"))
    second = Run.read(run_folder(tmp_path / "b", objective={"cost": "params"}))
    assert any("objectives differ" in line for line in several.warnings([first, second]))
    assert not list(several.warnings([first, first]))


def test_pictures_and_markdown(evonas: Cli, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "toy-run")
    code, out, err = evonas("report", folder, "--figures", "--markdown")
    assert (code, err) == (0, "")
    made = sorted(path.name for path in (folder / "figures").iterdir())
    stems = "curves failures importance learning parallel progress progress_by_time trade_off"
    stems = [*stems.split(), "utilisation", "winner"]
    expected = [f"{stem}.{form}" for stem in stems for form in ("png", "svg")]
    assert made == sorted(expected)
    with Image.open(folder / "figures" / "trade_off.png") as picture:
        assert picture.width > 900
    svg = (folder / "figures" / "trade_off.svg").read_text("utf-8")
    assert "winner" in svg
    assert "mathdefault" not in svg
    assert str(tmp_path) not in svg
    assert out.startswith("## toy-run\n")
    assert "| winner " in out
    assert SECRET not in out
    assert len(out.splitlines()) < 60
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "toy-run")
    code = (
        "import sys; from evonas.cli.app import main; sys.argv = ['evonas', 'report', "
        f"{str(folder)!r}]\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (folder / "report.html").is_file()


def test_a_run_that_runs_is_shown_as_running(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "toy-run")
    with RunStore(folder, resume=True):
        running = Run.read(folder)
        assert running.state == "running"
        text = page([running], refresh=30)
        assert '<meta http-equiv="refresh" content="30">' in text
        assert "still running" in text
    assert Run.read(folder).state == "finished"
    (folder / "best.json").unlink()
    assert Run.read(folder).state == "stopped"


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "toy-run")
    journal = folder / "journal.jsonl"
    whole = len(Run.read(folder).trials)
    journal.write_bytes(journal.read_bytes()[:-30])
    assert len(Run.read(folder).trials) == whole - 1


def test_what_is_no_run(evonas: Cli, tmp_path: Path) -> None:
    assert "there is no such run" in said(evonas("report", tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no run" in said(evonas("report", empty))
    (empty / "journal.jsonl").write_text("")
    assert "no trial has finished yet" in said(evonas("report", empty))
    folder = run_folder(tmp_path / "toy-run")
    assert "cannot be written" in said(evonas("report", folder, "--out", "/proc/x/report.html"))
    journal = folder / "journal.jsonl"
    lines = journal.read_text("utf-8").splitlines()
    journal.write_text("\n".join([lines[0], "{damaged", *lines[1:]]) + "\n", "utf-8")
    assert "line 2: is no trial" in said(evonas("report", folder))


def test_failures_alone_make_a_report(tmp_path: Path) -> None:
    rows = [one for one in trials() if one.status == "failed"]
    run = Run.read(run_folder(tmp_path / "bad", rows))
    text = page([run])
    assert "No network was trained successfully." in text
    assert "oom-gpu" in text


def test_the_page_is_written_again_while_a_run_runs(
    evonas: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path / "toy-run")
    open_run = RunStore(folder, resume=True)
    seen: list[str] = []

    def passing(seconds: float) -> None:
        seen.append((folder / "report.html").read_text("utf-8"))
        if len(seen) == 2:
            open_run.close()  # the search ends

    monkeypatch.setattr("evonas.api.reporting.time.sleep", passing)
    code, out, err = evonas("report", folder, "--every", 7)
    assert (code, err) == (0, "")
    assert out.count("Ctrl-C ends this.") == 2
    for page_of_then in seen:
        assert '<meta http-equiv="refresh" content="7">' in page_of_then
    last = (folder / "report.html").read_text("utf-8")
    assert 'http-equiv="refresh"' not in last
    assert "trained, finished." in last


def test_a_search_in_a_table_is_said_to_be_one(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "replay", table={"file": f"{SECRET}/t.csv"})
    best = json.loads((folder / "best.json").read_text("utf-8"))
    (folder / "best.json").write_text(json.dumps({**best, "blocks": []}), "utf-8")
    run = Run.read(folder)
    assert "nothing was trained" in facts.contenders(run).notes[0]
    assert chart(run, "trade_off").note == ""
    winner = next(part for part in of_run(run, "") if part.key == "winner")
    assert winner.lines == ["The answers came from a table: there is no network to draw."]
