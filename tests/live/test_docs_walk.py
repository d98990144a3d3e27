"""A page that leads a user from nothing to something is walked as it stands, in an empty folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import complaint_of, run

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
    complaint = complaint_of(lambda attempt: walk(page, tmp_path / f"attempt {attempt}"))
    assert not complaint, complaint


def walk(page: Path, folder: Path) -> str:
    """Follow the page to its end, or to what went otherwise than it says; return that."""
    folder.mkdir()
    for block in blocks_of(page):
        if block.given("file"):
            (folder / block.given("file")).write_text(block.body, encoding="utf-8")
        elif "walk" in block.words and (complaint := run_block(block, folder)):
            return complaint
    return ""


def run_block(block: Block, folder: Path) -> str:
    """Run a block's commands; its exit code is that of the last. Return what went otherwise."""
    printed = ""
    for number, command in enumerate(block.commands, 1):
        done = run(command, folder, **SOMEBODY)
        printed += done.stdout
        expected = int(block.given("exit") or 0) if number == len(block.commands) else 0
        if done.returncode != expected:
            return f"{block}: {command}: exit code {done.returncode}\n{done.stdout}"
    missing = list(not_printed(block.output, printed))
    return f"{block}: {missing} is not in\n{printed}" if missing else ""


def not_printed(shown: tuple[str, ...], printed: str) -> Iterator[str]:
    """Yield the lines that were not printed, whatever the figures in them."""
    lines = {shape(line) for line in printed.splitlines()}
    yield from (line for line in shown if line != FREE and shape(line) not in lines)


def shape(line: str) -> str:
    """Return a line without its figures, and what hangs on them: plurals, and how wide columns are."""
    without_figures = re.sub(r"[-+]?\d[\d,.:]*", "#", line.replace("*", " "))
    without_plurals = re.sub(r"# (\w+?)s?\b", r"# \1", without_figures)
    return " ".join(re.sub(r"─+|=+", "─", without_plurals).split())


def test_only_figures_are_free() -> None:
    """A line of other words is another line, one with other figures is not."""
    printed = "x p95  12.5 ms  +7.1%\n1 improvement\nmine  pass\n"
    assert not [*not_printed(("...", "x p95 1,312 ms -0.4%", "0 improvements", "mine pass"), printed)]
    assert [*not_printed(("mine fail",), printed)] == ["mine fail"]
