"""The table in pyproject.toml, without pytest's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.door import given_in, read_thresholds
from pytest_servebench.toml_source import TomlSource


def test_the_table_takes_toml_values_of_every_kind() -> None:
    """Lists, numbers and truth values mean what their text means on the command line."""
    text = (
        '[tool.servebench]\nstack = ["triton", "fastapi"]\nbatch-size = [1, 8]\nduration = 2.5\nquick = true'
    )
    read = given_in(TomlSource(text, "pyproject.toml"), Path("/p"))
    assert {key: one.text for key, one in read.items()} == {
        "stack": "triton,fastapi",
        "batch-size": "1,8",
        "duration": "2.5",
        "quick": "true",
    }
    assert read["duration"].source == "[tool.servebench] in pyproject.toml, line 4"
    assert read["duration"].flag == "--serve-duration"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[tool.servebench]\nformat = "onnx"\nbatch_size = 8\n',
            "unknown key 'batch_size': did you mean batch-size[\\s\\S]*line 3\n  next: allowed here: stack, ",
        ),
        (
            "[tool.servebench]\nformat = 1979-05-27\n",
            "'format' must be a word[\\s\\S]*pyproject.toml, line 2[\\s\\S]*date",
        ),
        ("[tool.servebench]\nformat = []\n", "'format' must be a word"),
        ("[tool]\nservebench = 3\n", "'tool.servebench' must be a table\n  where: pyproject.toml, line 2"),
    ],
)
def test_a_wrong_table_names_file_line_and_key(text: str, message: str) -> None:
    """The message is enough to mend the file."""
    with pytest.raises(PlanError, match=message):
        given_in(TomlSource(text, "pyproject.toml"), Path())


def test_a_tool_table_without_ours_gives_nothing() -> None:
    """Other tools' settings are theirs."""
    assert given_in(TomlSource("[tool.ruff]\nservebench = 1\n", "pyproject.toml"), Path()) == {}


def test_a_thresholds_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Foreign exceptions do not come through the door."""
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PlanError, match=r"t\.toml cannot be read"):
        read_thresholds(tmp_path / "t.toml")
    with pytest.raises(PlanError, match="cannot be read"):
        read_thresholds(tmp_path / "none.toml")
