"""docs/troubleshooting.md forgets no error, no word and no message, and quotes none that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from pytest_servebench import errors
from pytest_servebench.comparison.changes import ChangeVerdict, Doubt
from pytest_servebench.errors import PlanError, ServebenchError
from pytest_servebench.options.option import OPTIONS
from pytest_servebench.results import Judgement, Validity
from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "pytest_servebench"
ERRORS = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServebenchError)
]
SHORTEST = 8
"""A piece of a message with fewer letters says nothing."""


def sections() -> dict[str, str]:
    """Return what stands below each heading of the lowest level."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def quoted() -> list[str]:
    """Return the messages in the first columns of the tables of messages and reasons."""
    tables = re.findall(r"^\| (?:message|reason) \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = chain.from_iterable(table.splitlines() for table in tables)
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


def sources() -> dict[Path, ast.Module]:
    """Return the package's files, without the fakes that it offers to tests of others."""
    paths = (path for path in PACKAGE.rglob("*.py") if "testing" not in path.parts)
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def texts(node: ast.AST) -> list[str]:
    """Return every constant text in ``node``."""
    found = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return [value for value in found if isinstance(value, str)]


def raised() -> Iterator[tuple[str, list[str]]]:
    """Yield where an error is made, and the pieces of its first sentence that are always the same."""
    named = {each.__name__ for each in ERRORS} - {PlanError.__name__}
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in named and node.args:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", texts(node.args[0])


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.__name__))
def test_every_error_has_its_section(error: type[ServebenchError]) -> None:
    """Each class of the error tree has a heading, and stands in the tree that is shown."""
    assert len(sections()[error.__name__].strip()) > 0
    assert re.search(rf"^\W*{error.__name__}\b", sections()["Messages of errors"], re.MULTILINE)


@pytest.mark.parametrize("word", [*Validity, *Judgement, *Doubt], ids=str)
def test_every_word_has_its_section(word: str) -> None:
    """Each validity, each word of a limit and each doubt of a comparison is told, with what to do."""
    assert len(sections()[str(word)].strip()) > 0


def test_every_verdict_of_a_change_is_told() -> None:
    """The words that a comparison uses are explained where its doubts are."""
    told = sections()["A comparison that is inconclusive"]
    assert not [word for word in ChangeVerdict if f"`{word}`" not in told]


def test_what_is_quoted_is_said() -> None:
    """Every message of the page is one of the package: its constant pieces stand in the source."""
    said = [text for tree in sources().values() for text in texts(tree)]
    pieces = {piece.strip() for span in quoted() for piece in span.split("...") if piece.strip()}
    assert len(pieces) > len(ERRORS)
    assert not [piece for piece in sorted(pieces) if not any(piece in text for text in said)]


def test_what_is_said_is_quoted() -> None:
    """No message but those of wrong options (hundreds, and each names its form) is left out of the page."""
    forgotten = []
    for where, pieces in raised():
        longest = max(pieces, key=len, default="").strip()
        if len(longest) >= SHORTEST and longest not in PAGE:
            forgotten.append(f"{where}: {longest}")
    assert not forgotten, "docs/troubleshooting.md lacks:\n" + "\n".join(forgotten)


def test_the_options_of_the_page_are_options() -> None:
    """A remedy names no option that there is not."""
    known = {option.flag for option in OPTIONS}
    assert not {*re.findall(r"--serve-[a-z-]+", PAGE)} - known


def test_every_error_names_its_remedy() -> None:
    """Whoever meets an error is told what to do next: none is made without."""
    silent = []
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            given = {keyword.arg for keyword in node.keywords}
            if name in {"wrong", *(each.__name__ for each in ERRORS)} and not given & {"next_step", None}:
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not silent
