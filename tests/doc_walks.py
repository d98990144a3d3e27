"""Pages that lead a user from nothing to something, walked as they stand, in an empty folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import complaint_of, is_judged, run

WALKS = [page for page in PAGES if any("walk" in block.words for block in blocks_of(page))]
JUDGED = [page for page in WALKS if is_judged(page, "walk")]
OTHERS = [page for page in WALKS if page not in JUDGED]
SOMEBODY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A User"), ("EMAIL", "user@example.org"))
}
"""Whoever follows the page has told git who they are."""
FREE = "..."
"""Stands for lines left out."""


def complaint_of_walk(page: Path, folder: Path) -> str:
    """Write each file and run each command in the page's order; return what went otherwise than is shown."""
    return complaint_of(lambda attempt: walk(page, folder / f"attempt {attempt}"))


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
