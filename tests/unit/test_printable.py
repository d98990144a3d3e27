"""What a server or a file says reaches a terminal and a page as text, and commands neither."""

from __future__ import annotations

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.printable import printable, printable_text
from pytest_servebench.reports.closing import Paper, closing_lines
from pytest_servebench.reports.whole_records import whole
from tests.saved_records import saved_record

EVIL = "\x1b[2J\x00\x9b\u202e"


def test_commands_are_question_marks_and_scripts_stay() -> None:
    """Escapes, zeros and changes of direction go; lines, tabs and letters of every script stay."""
    assert printable_text(f"a{EVIL}b") == "a?[2J???b"
    assert printable_text("שלום\t漢字\né🚀") == "שלום\t漢字\né🚀"
    assert printable({"a\x1b": [{"b": "\x1b", "c": 1}, None, ("\x00",)]}) == {
        "a?": [{"b": "?", "c": 1}, None, ["?"]]
    }


def test_an_answer_of_a_server_commands_no_terminal() -> None:
    """Its text is quoted in the reason of an invalid case, at every verbosity."""
    record = saved_record(validity="errors", reason=f"500: {EVIL}gone", first_error=EVIL)
    for verbosity in (-2, -1, 0, 1):
        lines = closing_lines([record], Paper(width=80, colour=False), verbosity=verbosity)
        assert not any(character in "".join(lines) for character in EVIL if character not in "[2J"), lines
        assert "?[2J???gone" in "".join(lines)


def test_names_and_facts_of_a_run_are_shown_as_text() -> None:
    """They stand in the page, its title and every file beside it."""
    run = whole(SavedRun(name=EVIL, records=(saved_record(stack=EVIL),), facts=({"run_id": EVIL},)))
    assert (run.name, run.facts[0]["run_id"], run.records[0]["case"]["stack"]) == ("?[2J???",) * 3
