"""Headless Chromium on a page of the local disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=2">',
    "\"' onmouseover='window.hacked=3' autofocus onfocus='window.hacked=4",
    "<!-- {{ 7*7 }} ]]> &lt;b&gt; javascript:window.hacked=5",
    "\u202eсправа налево עברית",
    "строка\u2028абзац\u2029🦊👩‍👩‍👧\x01\x1f",
    "a\x00b%2F..%00/#?&=+",
)


def start() -> Any:
    """A Chromium; the test is skipped where there is none."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=en-US"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class Page:
    """What a reader does with an open page, and what they see."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, hash: str = "", width: int = 1280, theme: str = "light") -> Page:
        """A fresh visit."""
        self.size(width)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + hash)
        return self

    def forget(self) -> None:
        """What the page remembers between visits."""
        self.js("localStorage.clear()")

    def size(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def js(self, code: str, *values: Any) -> Any:
        return self.driver.execute_script(code, *values)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def type(self, selector: str, text: str) -> None:
        self.find(selector).clear()
        self.find(selector).send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a <select>, as a reader does."""
        from selenium.webdriver.support.select import Select

        Select(self.find(selector)).select_by_value(value)

    def press(self, *keys: str) -> None:
        """Keys go to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def texts(self, selector: str) -> list[str]:
        """Visible texts of all elements that are shown."""
        found: list[str] = self.js(
            "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length)"
            ".map(e => e.textContent.trim())",
            selector,
        )
        return found

    def wait(self, code: str, *values: Any) -> None:
        """Until the expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 20, poll_frequency=0.03).until(lambda _: self.js(f"return {code}", *values))

    def fits(self) -> bool:
        """Whether nothing makes the page itself scroll sideways."""
        return bool(
            self.js("return document.documentElement.scrollWidth <= arguments[0]", self.js("return innerWidth"))
        )

    def shoot(self, path: Path) -> Path:
        """A picture of the window."""
        self.driver.save_screenshot(str(path))
        return path

    def complaints(self) -> Sequence[str]:
        """What the console has said since the last time, warnings and errors."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def check(self) -> None:
        """Nothing ran that should not, nothing was asked of anyone, nothing went wrong."""
        assert self.js("return window.hacked") is None
        requests = self.js("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [name for name in requests if not name.startswith("data:")] == []
        said = self.complaints()
        assert not said, said
        self.forget()
