"""One Chromium for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.leaderboards.browser import Page, start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium: Any) -> Iterator[Page]:
    """A page to open; afterwards nothing may have run, been requested or complained."""
    page = Page(chromium)
    page.complaints()
    yield page
    page.check()
