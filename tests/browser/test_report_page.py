"""report.html in a real browser: it draws, complains of nothing, and tells what it should."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from run_folder import run_folder, trials
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from web_page import opened

from evonas.report.page import writer
from evonas.report.page.run_data import Run

CHARTS = (
    *("progress", "progress_by_time", "trade_off", "importance", "parallel", "curves"),
    *("learning", "utilisation", "failures"),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that was carried to another folder, without its run."""
    made = tmp_path_factory.mktemp("made") / "toy-run"
    run_folder(made)
    writer.write(made / "report.html", [Run.read(made)])
    moved = tmp_path_factory.mktemp("another machine") / "report.html"
    shutil.move(made / "report.html", moved)
    shutil.rmtree(made)
    return moved


def test_it_draws_every_chart_and_complains_of_nothing(browser: Any, page: Path) -> None:
    assert opened(browser, page) == []
    for key in CHARTS:
        place = browser.find_element(By.ID, f"chart-{key}")
        drawn = place.find_elements(By.CSS_SELECTOR, ".main-svg")
        assert drawn, key
        assert place.size["height"] > 100, key
    drawing = browser.find_element(By.CSS_SELECTOR, "#winner .drawing svg")
    assert drawing.size["width"] > 300
    loaded = browser.execute_script("return performance.getEntriesByType('resource').length")
    assert loaded == 0  # nothing but the file itself


def test_a_network_tells_its_architecture_when_pointed_at(browser: Any, page: Path) -> None:
    opened(browser, page)
    best = min(
        (one for one in trials() if one.status == "ok"), key=lambda one: one.value
    )  # the winner's star stands above it
    place = browser.find_element(By.ID, "chart-trade_off")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    traces = place.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace")
    star = traces[-1].find_element(By.CSS_SELECTOR, ".point")
    ActionChains(browser).move_to_element(star).perform()
    box = place.find_element(By.CSS_SELECTOR, ".hoverlayer .hovertext")
    told = box.get_attribute("textContent")
    settings = best.architecture["settings"]
    assert best.digest in told
    assert f"mae {best.value:.3f} degrees" in told
    for name, value in settings.items():
        assert (
            f"{name} {value:g}" in told if isinstance(value, float) else f"{name} {value}" in told
        )


def test_nothing_offers_to_send_a_chart_away(browser: Any, page: Path) -> None:
    opened(browser, page)
    titles = {
        button.get_attribute("data-title")
        for button in browser.find_elements(By.CSS_SELECTOR, ".modebar-btn")
    }
    assert any("Download" in str(title) for title in titles)
    assert not any("Share" in str(title) for title in titles)


def test_it_fits_a_narrow_window(browser: Any, page: Path) -> None:
    before = browser.get_window_size()
    try:
        browser.set_window_size(500, 900)
        opened(browser, page)
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wide) <= 0
    finally:
        browser.set_window_size(before["width"], before["height"])


def test_several_runs_side_by_side(browser: Any, evonas: Cli, tmp_path: Path) -> None:
    first = run_folder(tmp_path / "cma-s3")
    second = run_folder(tmp_path / "ga-s3", trials(seed=5), optimizer={"name": "ga"})
    code, _, err = evonas("report", first, second, "--out", tmp_path / "both.html")
    assert (code, err) == (0, "")
    assert opened(browser, tmp_path / "both.html") == []
    rows = browser.find_elements(By.CSS_SELECTOR, "#outcome tbody tr")
    assert len(rows) == 2


def test_the_report_of_a_search_on_real_faces(
    browser: Any, evonas: Cli, tmp_path: Path, pointing04_root: Path, recognition_weights: Path
) -> None:
    folder, faces = tmp_path / "real faces", tmp_path / "each sixth"
    faces.mkdir()
    (faces / "images").symlink_to(pointing04_root / "images")
    first, *photos = (pointing04_root / "labels.csv").read_text("utf-8").splitlines(keepends=True)
    (faces / "labels.csv").write_text("".join([first, *photos[::6]]), "utf-8")
    small = ("training.epochs=2", "finals.networks=1", "finals.seeds=2", "baselines=[]")
    where = (f"data.root={faces}", f"backbone.weights={recognition_weights}")
    tap = ("space.tap=[conv64_3]", "tap=conv64_3", "features.jitters=0")
    place = (f"features.cache={tmp_path / 'cache'}", "execution.executor=local")
    words = ("--budget", 4, "--run-dir", folder, *small, *where, *tap, *place)
    code, _, err = evonas("search", "pointing04", *words)
    assert (code, err) == (0, "")
    page = folder / "report.html"
    assert opened(browser, page) == []
    text = page.read_text("utf-8")
    assert str(pointing04_root.parent) not in text
    assert str(tmp_path) not in text
    best = Run.read(folder).best
    shown = browser.find_element(By.ID, "winner").text
    for block in best["blocks"]:
        assert block["name"] in shown
    assert "mae" in browser.find_element(By.ID, "outcome").text
    assert len(browser.find_elements(By.CSS_SELECTOR, "#trade-off tbody tr")) >= 1
