"""The dashboard in a real browser: it follows a search, stops it, and complains of nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folder import run_folder, trials
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from web_page import drawn

from evonas.report.dashboard.server import DashboardServer
from evonas.runs.run_store import is_open, read_journal

#: Networks of the search that runs while it is looked at: more than it will train.
ENDLESS = 2000
_WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_MANY, _TRIES = 1000, 10


@pytest.fixture
def running(tiny: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    """A folder of three runs, of which one, `live`, is a search that goes on."""
    runs = tmp_path / "runs"
    run_folder(runs / "cma-s3")
    run_folder(runs / "ga-s3", trials(seed=5), optimizer={"name": "ga"})
    experiment = tmp_path / "live.yaml"
    space = {**tiny["space"], "stages": 3, "n": [0, 1, 2]}
    for key in ("block1", "kernel1", "attention1"):
        del space[key]
    experiment.write_text(yaml.safe_dump({**tiny, "budget": ENDLESS, "space": space}))
    words = ["search", experiment, "--run-dir", runs / "live"]
    process = subprocess.Popen(
        [sys.executable, "-m", "evonas", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield runs
    process.kill()
    process.communicate()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """The browser, which leaves the dashboard before its server ends."""
    browser.get_log("browser")
    yield browser
    browser.get("about:blank")


def until(browser: Any, script: str, *values: Any, seconds: float = 120.0) -> Any:
    wait = WebDriverWait(browser, seconds, poll_frequency=0.05)
    return wait.until(lambda driver: driver.execute_script(f"return {script}", *values))


def row(name: str, part: str) -> str:
    """JavaScript of a part of the row of a run."""
    return (
        f"[...document.querySelectorAll('#runs tbody tr')]"
        f".find((row) => row.textContent.includes('{name}'))?.querySelector('{part}')"
    )


def complaints(browser: Any) -> list[str]:
    return [one["message"] for one in browser.get_log("browser") if one["source"] != "rendering"]


def test_three_runs_of_which_one_is_running(page: Any, running: Path) -> None:
    with DashboardServer(running, 0) as server:
        page.get(server.url)
        until(page, f"{row('live', '.state')}?.textContent === 'running'")
        assert len(page.find_elements(By.CSS_SELECTOR, "#runs tbody tr")) == 3
        assert "token" not in page.current_url
        for name in ("cma-s3", "live"):
            box = page.execute_script(f"return {row(name, 'input')}")
            if not box.is_selected():
                box.click()
        chart = "document.querySelector('#chart-progress')?.data"
        until(page, f"{chart}?.map((one) => one.name).sort().join() === 'cma-s3,live'")
        assert "side by side" in page.find_element(By.ID, "part-outcome").text.lower()

        known = len(read_journal(running / "live"))
        until(
            page,
            f"Number({row('live', 'td:nth-child(3) .small')}.textContent.split(' ')[0]) > {known}",
        )
        assert complaints(page) == []

        page.execute_script(f"{row('live', 'button')}.click()")
        dialog = page.find_element(By.ID, "ask")
        assert dialog.is_displayed()
        assert f"--resume --run-dir {running / 'live'}" in dialog.text
        dialog.find_element(By.CSS_SELECTOR, "button.stop").click()
        until(page, f"{row('live', '.state')}?.textContent === 'stopped'")
        assert not is_open(running / "live")
        told = page.find_element(By.ID, "message").text
        assert f"evonas search --resume --run-dir {running / 'live'}" in told
        assert "experiment.yaml" in {path.name for path in (running / "live").iterdir()}
        assert complaints(page) == []
        elsewhere = page.execute_script(
            "return performance.getEntriesByType('resource').map((one) => one.name)"
            ".filter((name) => !name.startsWith(location.origin))"
        )
        assert elsewhere == []


def test_a_new_line_is_drawn_within_two_seconds(page: Any, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    with DashboardServer(tmp_path, 0) as server:
        page.get(server.url)
        drawn(page)
        points = "document.querySelector('#chart-progress').data[0].x.length"
        before = page.execute_script(f"return {points}")
        last = json.loads((folder / "journal.jsonl").read_bytes().splitlines()[0])
        waited = []
        for number in range(3):
            line = {**last, "generation": 70 + number, "digest": f"{number:016x}"}
            with (folder / "journal.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            begun = page.execute_script("return performance.now()")
            until(page, f"{points} === {before + number + 1}")
            waited.append(page.execute_script("return performance.now()") - begun)
        assert min(waited) < 2000, waited  # milliseconds; a busy machine takes longer now and then
        assert complaints(page) == []


def test_a_thousand_trials_are_drawn_within_a_second(page: Any, tmp_path: Path) -> None:
    run_folder(tmp_path / "one", trials(_MANY + 30), budget=_MANY)
    run_folder(tmp_path / "two", trials(_MANY + 30, seed=1), budget=_MANY)
    taken = []
    with DashboardServer(tmp_path, 0) as server:
        for name in ("one", "two") * _TRIES:  # a machine that is busy now may not be in a moment
            page.get(f"{server.url}#{name}")
            drawn(page)
            points = page.execute_script(
                "return document.querySelector('#chart-progress').data[0].x.length"
            )
            assert points >= _MANY
            taken.append(int(page.execute_script("return document.body.dataset.milliseconds")))
            page.get("about:blank")
            if taken[-1] < 1000:
                break
    assert min(taken) < 1000, taken  # from the question to the drawn charts, server and browser
    assert complaints(page) == []


def test_it_fits_a_narrow_window_and_says_what_is_damaged(page: Any, tmp_path: Path) -> None:
    run_folder(tmp_path / "a-run-with-quite-a-long-name-that-says-what-was-searched-and-how")
    run_folder(tmp_path / "<b>bold</b>")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/journal.jsonl").write_text("{\n")
    before = page.get_window_size()
    try:
        page.set_window_size(420, 900)
        with DashboardServer(tmp_path, 0) as server:
            page.get(server.url)
            drawn(page)
            assert page.execute_script(_WIDER) <= 0
            assert page.execute_script(f"return {row('broken', '.state')}.textContent") == (
                "damaged files"
            )
            assert "<b>bold</b>" in page.find_element(By.ID, "runs").text
            assert complaints(page) == []
    finally:
        page.set_window_size(before["width"], before["height"])


def test_without_the_token_the_page_says_what_to_do(page: Any, tmp_path: Path) -> None:
    with DashboardServer(tmp_path, 0) as server:
        page.get(f"http://127.0.0.1:{server.port}/")
        assert "evonas dashboard" in page.find_element(By.TAG_NAME, "body").text
        page.get(server.url)
        drawn(page)
        assert "No run in" in page.find_element(By.ID, "lead").text
