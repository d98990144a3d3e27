"""How all tests are run: in groups that leave none out, with one word at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.__main__ import (
    ALONE,
    COMPUTING,
    GROUPS,
    OF_THE_ENGINE,
    PAIRED,
    SLEEPY,
    TEST_BY_TEST,
    Group,
    again,
    chosen,
    command,
    of_both,
    verdict,
)
from tests.doc_blocks import ROOT
from tests.doc_pages import JUDGED as JUDGED_PAGES
from tests.doc_walks import JUDGED as JUDGED_WALKS
from tests.together import unit_of

FAILED, NOTHING = int(pytest.ExitCode.TESTS_FAILED), int(pytest.ExitCode.NO_TESTS_COLLECTED)
PRUNES = "--ignore="
OF_AN_ENGINE = re.compile(r"mark\.docker\b|\bthe_engine\b|\bclient: Any\b")
FILES = sorted((ROOT / "tests").rglob("test_*.py"))


@cache
def run_by(group: Group) -> frozenset[Path]:
    """Return the test files that the group's command runs."""
    words = command(group, [])
    ignored = {ROOT / word.removeprefix(PRUNES) for word in words if word.startswith(PRUNES)}
    given = {ROOT / word for word in words if word.startswith("tests")}
    above = {file: {file, *file.parents} for file in FILES}
    return frozenset(file for file in FILES if above[file] & given and not above[file] & ignored)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_is_in_one_group(file: Path) -> None:
    """No test runs twice, and none is left out."""
    assert len([group.name for group in GROUPS if file in run_by(group)]) == 1


def test_no_two_files_share_a_name() -> None:
    """Tests are no packages: of two files of one name pytest takes the first, and cannot take the second."""
    names = [file.name for file in FILES]
    assert not [name for name in names if names.count(name) > 1]


@pytest.mark.parametrize("path", [*COMPUTING.paths, *PAIRED.paths, *SLEEPY.paths])
def test_what_a_group_names_is_there(path: str) -> None:
    """A file that was renamed would go over to those that run alone, and nobody would see it."""
    assert (ROOT / path).exists()


def test_what_is_compared_runs_alone() -> None:
    """Figures of what computes, and the regions of the machine, belong to one test at a time."""
    assert "-n" not in command(ALONE, [])
    alone = {file.name for file in run_by(ALONE)}
    assert alone >= {"test_docs_judged.py", "test_parallel_runs_alike.py", "test_shared_memory.py"}


def test_those_of_the_engine_run_one_after_the_other() -> None:
    """They count what it holds: all of them are one unit, and no other test beside others asks the engine."""
    assert {unit_of(f"{file}::test_it") for file in OF_THE_ENGINE} == {"the engine"}
    for group in (PAIRED, SLEEPY):
        assert group.options[2:4] == ("-p", "tests.together")
        for file in run_by(group) - {ROOT / path for path in OF_THE_ENGINE}:
            assert not OF_AN_ENGINE.search(file.read_text(encoding="utf-8")), file


def test_what_a_file_shares_is_made_once() -> None:
    """A file goes to one worker, but where its tests share nothing."""
    assert unit_of("tests/live/test_pixels.py::test_it[a::b]") == "tests/live/test_pixels.py"
    assert unit_of(f"{TEST_BY_TEST[0]}::test_it[a]") != unit_of(f"{TEST_BY_TEST[0]}::test_it[b]")
    for path in TEST_BY_TEST:
        assert 'scope="module"' not in (ROOT / path).read_text(encoding="utf-8"), path


def test_pages_are_judged_where_nothing_computes_beside_them() -> None:
    """Those whose commands fail what has become slower are known by their option."""
    assert [page.name for page in JUDGED_PAGES] == ["baselines.md"]
    assert [page.name for page in JUDGED_WALKS] == ["gating-in-ci.md"]


def test_servers_are_not_started_by_what_computes() -> None:
    """It runs beside whatever else goes on, in CI beside the building of images."""
    for file in run_by(COMPUTING):
        assert "pytest.mark.live" not in file.read_text(encoding="utf-8") or file == Path(__file__), file


def test_groups_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """All by default; what is not ours is pytest's; a name that is none is a usage error."""
    assert chosen(["-x"]) == (GROUPS, False, ["-x"])
    assert chosen(["--group=alone,computing", "-k", "this"]) == ((COMPUTING, ALONE), False, ["-k", "this"])
    assert chosen(["--again", "-x"]) == (GROUPS, True, ["-x"])
    assert all(command(group, ["-x"])[-1] == "-x" for group in GROUPS)
    with pytest.raises(SystemExit):
        chosen(["--group=alone,slow"])
    assert "--group: slow: allowed are computing, paired, sleepy, alone" in capsys.readouterr().err


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_what_failed_is_tried_again_alone_and_by_name(group: Group) -> None:
    """The same files, without workers, and of them only what failed: all would hide which it was."""
    words = again(group, ["-x"])
    assert {"--last-failed", "--last-failed-no-failures=none", "-v"} <= set(words)
    assert "-n" not in words
    given = [word for word in words if word.startswith(("tests", PRUNES))]
    assert given == [word for word in command(group, []) if word in given]
    assert words[-1] == "-x"


@pytest.mark.parametrize(("second", "code"), [(0, 0), (FAILED, FAILED), (NOTHING, FAILED), (-9, -9)])
def test_red_twice_is_red(second: int, code: int) -> None:
    """And so is a failure that cannot be run again: of a worker that died, of collection."""
    assert of_both(FAILED, second) == code


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([0, 0, 0], 0),
        ([0, FAILED, 0], FAILED),
        ([FAILED, 0, 0], FAILED),
        ([FAILED, NOTHING], FAILED),
        ([NOTHING, 0, NOTHING], 0),
        ([NOTHING, NOTHING], NOTHING),
        ([-9, 0], -9),
        ([int(pytest.ExitCode.INTERRUPTED)], int(pytest.ExitCode.INTERRUPTED)),
    ],
    ids=str,
)
def test_the_word_at_the_end(ended: Sequence[int], code: int) -> None:
    """Red when any group is; a selection that lies in one group is not red for another's emptiness."""
    assert verdict(ended) == code
