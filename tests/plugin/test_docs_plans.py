"""What the documentation tells a user to type is understood, also where it would take minutes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import run, user_folder
from tests.engine import the_engine

PLANNED = [
    pytest.param(block, command, marks=[pytest.mark.docker] if "docker" in block.words else [])
    for page in PAGES
    for block in blocks_of(page)
    if "plan" in block.words
    for command in block.commands
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder as a user has it; a collection changes nothing in it."""
    with user_folder() as path:
        yield path


@pytest.mark.parametrize(("block", "command"), PLANNED, ids=str)
def test_a_long_command_of_a_page_is_understood(block: Block, command: str, folder: Path) -> None:
    """A command that would take minutes is collected: its options are right and yield cases."""
    if "docker" in block.words:
        with the_engine():
            pass
    done = run(command, folder, PYTEST_ADDOPTS="-p no:cacheprovider -p no:hypothesispytest --collect-only -q")
    assert done.returncode == 0, f"{block}: {command}\n{done.stdout}"
    assert re.search(r"::test_\w+\[\w+-\w+-", done.stdout), done.stdout
