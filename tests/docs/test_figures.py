"""The README's pictures can be drawn again from rendered faces alone."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT
from PIL import Image

from evonas.api.retraining import retrain
from evonas.api.search import search
from evonas.core.experiment import Experiment, changed

PATH = ROOT / "experiments" / "figures.py"


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return runpy.run_path(str(PATH), run_name="figures")


@pytest.fixture
def finished(tiny_experiment: Experiment, tmp_path: Path) -> Path:
    small = changed(tiny_experiment, ["finals.networks=0", "baselines=[]"])
    result = search(small, run_dir=tmp_path / "run")
    retrain(result)
    return tmp_path / "run"


def test_each_is_drawn_from_one_run(
    figures: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    for name in ("live_view.svg", "head_axes.jpg"):
        figures["FIGURES"][name](finished, tmp_path / name)
    view = (tmp_path / "live_view.svg").read_text("utf-8")
    assert "evonas search tiny" in view.replace("&#160;", " ")
    assert re.search(r"4\s/\s6", view.replace("&#160;", " ")), "at 60 % of the budget"
    assert "@font-face" not in view
    assert "url(http" not in view, "nothing is fetched when it is shown"
    with Image.open(tmp_path / "head_axes.jpg") as faces:
        assert faces.size[0] == 8 * 148


def test_what_cannot_be_drawn_says_why(
    figures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = figures["FIGURES"]["report.png"]
    with pytest.raises(figures["LeftOut"], match=r"report\.html is not there: evonas report"):
        draw(tmp_path, tmp_path / "report.png")
    (tmp_path / "report.html").write_text("<p>", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(figures["LeftOut"], match=r"none of chromium, .* is installed"):
        draw(tmp_path, tmp_path / "report.png")
