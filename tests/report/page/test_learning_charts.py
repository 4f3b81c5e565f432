"""Charts of the winner's training loss beside its validation error."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure as Canvas
from msgspec.structs import replace as changed
from PIL import Image
from run_folder import run_folder, trials

from evonas.errors import InputError
from evonas.report.page import charts, matplotlib_backend
from evonas.report.page import plotly_backend as interactive
from evonas.report.page.learning_charts import learning, learning_retrained
from evonas.report.page.matplotlib_backend import picture
from evonas.report.page.run_data import Run
from evonas.report.page.sections import of_run

ERRORS, LOSSES = [9.0, 5.0, 6.0, 7.0], [0.9, 0.5, 0.3, 0.1]


@pytest.fixture(autouse=True)
def no_genes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of genes fit a forest, which is not looked at here."""
    monkeypatch.setattr("evonas.report.page.gene_charts.figures", lambda run: ())


def contender(name: str, **changes: Any) -> dict[str, Any]:
    cost = {"macs": 10, "params": 10, "megabytes": 0.1}
    made = {"name": name, "architecture": {}, "tap": "block3", "weights": [], **changes}
    return {**made, "head": cost, "backbone_up_to_tap": cost}


def retrained(folder: Path, **changes: Any) -> Run:
    """A run whose winner was retrained twice, the first time with overfitting."""
    own = {"curves": [ERRORS, [9.0, 8.0]], "losses": [LOSSES, [0.9, 0.8]]}
    results = [{"mae": 5.0, "epoch": 2.0}, {"mae": 8.0, "epoch": 2.0}]
    rows = [contender("winner", results=results, **{**own, **changes})]
    made = run_folder(folder)
    (made / "retrained").mkdir()
    content = {"winner": {"network": "x"}, "contenders": rows}
    (made / "retrained/comparison.json").write_text(json.dumps(content), "utf-8")
    return Run.read(made)


def test_the_search_s_chart_has_every_training_of_the_winner(tmp_path: Path) -> None:
    run = Run.read(run_folder(tmp_path / "run"))
    chart = learning(run)
    assert chart is not None
    winner = run.finalists[0].trial
    errors = [one for one in chart.series if not one.right]
    losses = [one for one in chart.series if one.right]
    assert [one.name for one in errors] == ["validation error", "", ""]
    assert [list(one.y) for one in losses] == [[0.5, 0.2, 0.1], [0.6, 0.3, 1.1], [0.6, 0.3, 2.1]]
    assert list(errors[0].y) == pytest.approx(list(winner.curve))
    assert {one.color for one in losses}.isdisjoint(one.color for one in errors)
    assert chart.limits == [(3.0, "kept epoch")]
    assert chart.lowest == pytest.approx(winner.value)  # of the left axis alone
    assert "overfits" not in chart.note


def test_the_retrained_winner_has_a_chart_that_names_overfitting(tmp_path: Path) -> None:
    run = retrained(tmp_path / "run")
    chart = learning_retrained(run)
    assert chart is not None
    assert [list(one.y) for one in chart.series] == [ERRORS, LOSSES, [9.0, 8.0], [0.9, 0.8]]
    assert chart.note.startswith("1 of 2 training(s): overfits: lowest validation error in epoch 2")
    (part,) = (part for part in of_run(run, "") if part.key == "training")
    assert [one.key for one in part.figures] == ["curves", "learning", "learning_retrained"]


def test_both_backends_draw_the_loss_on_the_right(tmp_path: Path) -> None:
    chart = learning_retrained(retrained(tmp_path / "run"))
    assert chart is not None
    plain = interactive.plain(chart)
    assert [one.get("yaxis", "y") for one in plain["data"]] == ["y", "y2", "y", "y2"]
    assert plain["layout"]["yaxis2"]["side"] == "right"
    assert plain["layout"]["yaxis2"]["title"]["text"] == "mean loss on training images"
    left = Canvas().subplots()
    matplotlib_backend._chart(left, chart)
    right = left.figure.axes[1]
    assert [line.get_ydata().tolist() for line in left.lines[:2]] == [ERRORS, [9.0, 8.0]]
    assert [line.get_ydata().tolist() for line in right.lines] == [LOSSES, [0.9, 0.8]]
    assert right.get_ylabel() == "mean loss on training images"
    with Image.open(io.BytesIO(picture(chart, "png"))) as image:
        drawn = {color for _, color in image.convert("RGB").getcolors(1 << 24) or ()}
    for color in (charts.BLUE, charts.ORANGE):
        assert tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) in drawn


@pytest.mark.parametrize("change", [{"losses": []}, {"losses": [[0.5], [0.5]]}, {"curves": []}])
def test_a_retraining_without_losses_has_no_such_chart(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert learning_retrained(retrained(tmp_path / "run", **change)) is None


def test_a_run_of_an_earlier_version_has_no_such_chart(tmp_path: Path) -> None:
    older = [changed(one, losses=()) for one in trials()]
    folder = run_folder(tmp_path / "run", older)
    assert "losses" not in (folder / "journal.jsonl").read_text("utf-8")
    run = Run.read(folder)
    assert learning(run) is None
    assert learning_retrained(run) is None
    (part,) = (part for part in of_run(run, "") if part.key == "training")
    assert [one.key for one in part.figures] == ["curves"]


def test_losses_that_no_training_has_are_refused(tmp_path: Path) -> None:
    first, *rest = trials()
    folder = run_folder(tmp_path / "run", [changed(first, losses=(2e300,)), *rest])
    with pytest.raises(InputError, match="figures beyond 1e\\+300"):
        Run.read(folder)
    run = tmp_path / "other"
    with pytest.raises(InputError, match=r"losses\.0\.0: input should be a valid number"):
        retrained(run, losses=[["much"], []])
