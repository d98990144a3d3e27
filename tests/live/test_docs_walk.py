"""A page that leads a user from nothing to something is walked as it stands, in an empty folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import run

pytestmark = pytest.mark.live

WALKS = [page for page in PAGES if any("walk" in block.words for block in blocks_of(page))]
SOMEBODY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A User"), ("EMAIL", "user@example.org"))
}
"""Whoever follows the page has told git who they are."""
FREE = "..."
"""Stands for lines left out."""


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.name)
def test_a_page_leads_where_it_says(page: Path, tmp_path: Path) -> None:
    """Each file is written and each command run in the page's order; exit codes and output are as shown."""
    for block in blocks_of(page):
        if block.given("file"):
            (tmp_path / block.given("file")).write_text(block.body, encoding="utf-8")
        elif "walk" in block.words:
            walk(block, tmp_path)


def walk(block: Block, folder: Path) -> None:
    """Run a block's commands; the exit code it gives is that of the last."""
    printed = ""
    for command in block.commands:
        done = run(command, folder, **SOMEBODY)
        last = command is block.commands[-1]
        assert done.returncode == int((last and block.given("exit")) or 0), f"{block}: {command}\n{done.stdout}"
        printed += done.stdout
    missing = list(not_printed(block.output, printed))
    assert not missing, f"{block}: {missing} is not in\n{printed}"


def not_printed(shown: tuple[str, ...], printed: str) -> Iterator[str]:
    """Yield the lines that were not printed, whatever the figures in them."""
    lines = {shape(line) for line in printed.splitlines()}
    yield from (line for line in shown if line != FREE and shape(line) not in lines)


def shape(line: str) -> str:
    """Return a line without its figures, and without how wide they made its columns."""
    without_figures = re.sub(r"[-+−]?\d[\d,.]*", "#", line.replace("*", " "))
    return " ".join(re.sub(r"─+|=+", "─", without_figures).split())


def test_only_figures_are_free() -> None:
    """A line of other words is another line, one with other figures is not."""
    printed = "x p95  12.5 ms  +7.1%\nmine  pass\n"
    assert not [*not_printed(("...", "x p95 1,312 ms -0.4%", "mine pass"), printed)]
    assert [*not_printed(("mine fail",), printed)] == ["mine fail"]
