"""The site of docs/ is built, every link in it leads somewhere, and what is generated is of today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import pages
from tests.docs.error_list import PAGE, page
from tests.shared_data import ROOT


def test_the_site_is_built_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    """mkdocs --strict: pages, anchors, files and the navigation."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= made
    # Nothing is fetched from elsewhere when a page is opened.
    shown = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)"', shown)


@pytest.mark.parametrize("path", [one for one in pages() if one.parent == ROOT], ids=lambda one: one.name)
def test_links_of_the_readmes_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8"))
    assert links and not [link for link in links if not (path.parent / link).exists()]


def test_the_list_of_messages_is_of_today() -> None:
    """`python -m tests.docs.error_list` writes it."""
    assert PAGE.read_text("utf-8") == page()
