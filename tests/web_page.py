"""What the tests of pages in a browser share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selenium.webdriver.support.ui import WebDriverWait


def opened(browser: Any, path: Path) -> list[str]:
    """Open a page, wait until it has drawn, and return what the console complained of."""
    browser.get(path.resolve().as_uri())
    drawn(browser)
    logged = browser.get_log("browser")
    # the software renderer says that it is slow, which is not the page's affair
    return [one["message"] for one in logged if one["source"] != "rendering"]


def drawn(browser: Any) -> None:
    """Wait until a page has drawn."""
    ready = "return document.body.dataset.ready === 'yes'"
    WebDriverWait(browser, 60).until(lambda page: page.execute_script(ready))
