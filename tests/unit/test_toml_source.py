"""TOML whose errors name the line."""

from __future__ import annotations

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.toml_source import KeyPath, TomlSource

TEXT = '''# head
[a]
one = 1
long = [
  1,  # two = 2

  2,
]
after = """
[b]
two = 2
"""
[b.c]
"quoted key" = { x = 1, y = 2 }

[[rows]]
k = 1
[[rows]]

k = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("a", "one"), 3),
        (("a", "long"), 4),
        (("a", "after"), 9),
        (("b",), 13),
        (("b", "c", "quoted key"), 14),
        (("b", "c", "quoted key", "y"), 14),
        (("rows", 0), 16),
        (("rows", 1), 18),
        (("rows", 1, "k"), 20),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_key_is_found_on_the_line_its_statement_begins(path: KeyPath, line: int, newline: str) -> None:
    """The line is the statement's first, whatever strings, arrays and comments look like keys."""
    assert TomlSource(TEXT.replace("\n", newline), "f.toml").line_of(path) == line


def test_a_path_that_is_not_there_has_no_line() -> None:
    """Asking for a key that does not exist is the caller's mistake, not line 1."""
    with pytest.raises(KeyError):
        TomlSource(TEXT, "f.toml").line_of(("rows", 2))


def test_text_that_is_not_toml_names_file_and_line() -> None:
    """A syntax error is a PlanError that repeats the parser's position."""
    with pytest.raises(PlanError, match=r"f\.toml is not valid TOML\n  seen: .*line 2"):
        TomlSource("a = 1\nb = = 2\n", "f.toml").data()


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_what_python_cannot_read_is_no_toml(value: str) -> None:
    """Numbers of thousands of digits and lists without end raise errors of Python's, not of the parser."""
    with pytest.raises(PlanError, match=r"f\.toml is not valid TOML"):
        TomlSource(f"a = {value}\n", "f.toml").data()


def test_an_unknown_key_names_file_line_key_and_what_is_allowed() -> None:
    """The message is enough to mend the file without opening the documentation."""
    source = TomlSource("[t]\ngood = 1\ngoood = 2\n", "f.toml")
    with pytest.raises(PlanError) as caught:
        source.check_keys({"good": 1, "goood": 2}, ("t",), ("good", "other"))
    assert str(caught.value) == (
        "unknown key 'goood': did you mean good?\n  where: f.toml, line 3\n  next: allowed here: good, other"
    )
