"""The documentation as a site: built without a warning, whole, and asking nothing of any other machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.doc_blocks import PAGES, ROOT, all_blocks

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
"""Which attribute of which element a browser follows by itself."""


class Requests(HTMLParser):
    """What a page has a browser load, and the text of its code."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.languages: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the element loads."""
        given = {name: value or "" for name, value in attrs}
        followed = tag != "link" or given.get("rel") not in ("canonical", "prev", "next", "edit")
        if followed and given.get(LOADED.get(tag, "")):
            self.targets.append(given[LOADED[tag]])
        self.languages |= {word for word in given.get("class", "").split() if word.startswith("language-")}


def read(path: Path) -> Requests:
    """Return what a built page asks for."""
    parser = Requests()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site; a warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def page_names() -> Iterator[str]:
    """Yield what the pages of the repository are called in the site."""
    moved = {"README": "index", "CHANGELOG": "changelog"}
    yield from (moved.get(page.stem, page.stem) for page in PAGES)


def test_every_page_is_there(site: Path) -> None:
    """No page of the documentation is left out of the site, README and CHANGELOG included."""
    assert not [name for name in page_names() if not (site / f"{name}.html").exists()]


def test_nothing_comes_from_outside(site: Path) -> None:
    """Whatever a browser loads for a page lies in the site: it can be read from disk, and tells nobody."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    asked = {(page, target) for page in pages for target in read(page).targets if page.name != "404.html"}
    assert not [(page.name, target) for page, target in asked if urlsplit(target).scheme not in ("", "data")]
    lost = [
        (page.name, target)
        for page, target in asked
        if not urlsplit(target).scheme and not (page.parent / urlsplit(target).path).exists()
    ]
    assert not lost
    styled = [*site.rglob("*.css"), *site.rglob("*.svg")]
    assert not [
        path.name for path in styled if re.search(r"url\(.?https?:", path.read_text(encoding="utf-8"))
    ]


def test_marks_of_blocks_are_not_shown(site: Path) -> None:
    """The words that say how a block is tested leave its language known, and are not in the page."""
    marked = {(block.page.stem, block.language) for block in all_blocks() if block.words}
    assert ("gating-in-ci", "console") in marked
    for name, language in marked - {("README", "console"), ("README", "python")}:
        assert f"language-{language}" in read(site / f"{name}.html").languages, (name, language)
    text = "".join((site / f"{name}.html").read_text(encoding="utf-8") for name in page_names())
    assert "```" not in text
    assert not re.search(r"console (run|walk|plan)\b", re.sub(r"<[^>]+>", "", text))


def test_links_to_sources_lead_to_pages(site: Path) -> None:
    """A source file that a page links to is a page of the site."""
    text = (site / "client.html").read_text(encoding="utf-8")
    assert 'href="source/benchmarks/client/null_server.c.html"' in text
    assert (site / "source/benchmarks/client/null_server.c.html").exists()
