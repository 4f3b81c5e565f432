"""A picture of Ray's dashboard while a search runs, taken by a headless browser with the token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1500,620"),
)
_PATIENCE = 180.0  # seconds until the search has a dashboard and trainings
_SMALL = ("quickstart", "budget=20", "execution.workers=2", "execution.executor=ray")


def picture(path: Path) -> None:
    """Search in a folder of its own, open the page of the actors, and save what it shows.

    Raises:
        RuntimeError: the search ended before the page was seen.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [sys.executable, "-m", "evonas", "search", *_SMALL, "--run-dir", f"{folder}/run"]
        with log.open("w") as stream:
            search = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT)
        try:
            address = _waited(search, log, r"Ray dashboard: (http://\S+)")
            _waited(search, log, r"(?m)^([3-9]/20 trained)")
            _shot(address, _token(), folder, path)
        finally:
            search.terminate()
            search.wait()


def _waited(search: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    start = time.monotonic()
    while time.monotonic() - start < _PATIENCE and search.poll() is None:
        if found := re.search(pattern, log.read_text("utf-8")):
            return found[1]
        time.sleep(0.5)
    raise RuntimeError(f"the search showed no {pattern!r}: {log.read_text('utf-8')[-500:]}")


def _token() -> str:
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([str(ray), "get-auth-token"], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def _shot(address: str, token: str, folder: str, path: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    browser: Any = webdriver.Chrome(options=options, service=service)
    try:
        browser.implicitly_wait(30)
        browser.get(f"{address}/#/actors")
        dialog = "//*[@role='dialog']"
        browser.find_element(By.XPATH, f"{dialog}//input").send_keys(token)
        browser.find_element(By.XPATH, f"{dialog}//button[not(@aria-label)][last()]").click()
        browser.find_element(By.XPATH, "//*[contains(text(), 'evonas:quickstart')]")
        browser.find_element(By.XPATH, "//*[contains(text(), 'ALIVE')]")
        browser.execute_script("document.body.style.zoom = '0.75'")
        time.sleep(2)  # the page lays itself out anew
        browser.save_screenshot(os.fspath(path.resolve()))
    finally:
        browser.quit()
