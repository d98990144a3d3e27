"""Files that somebody edited are refused with what is wrong, or read with the figure missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from pytest_servebench.comparison.baselines import read_baseline
from pytest_servebench.comparison.conditions import conditions
from pytest_servebench.comparison.fingerprint import fingerprint
from pytest_servebench.comparison.json_files import read_json
from pytest_servebench.comparison.record_shape import wrong_shape
from pytest_servebench.comparison.saved_runs import read_run
from pytest_servebench.comparison.trimmed import trimmed
from pytest_servebench.errors import PlanError
from tests.saved_records import repeats, save, saved_record

JUNK: tuple[Any, ...] = ([], {}, None, "x", -1, True, [[]], {"a": 1}, 1e308, 10**400, float("nan"), "\ud800")
PLACES = (
    *(("case",), ("case", "id"), ("case", "repeat"), ("case", "stack"), ("test",), ("measurement",)),
    *(
        ("load",),
        ("load", "concurrency"),
        ("validity",),
        ("restarted",),
        ("quick",),
        ("device",),
        ("schema",),
    ),
    *(("machine",), ("machine", "gpus"), ("machine", "packages"), ("machine", "cpu"), ("container",)),
    *(
        ("repeat",),
        ("repeats",),
        ("telemetry",),
        ("telemetry", "gpu_name"),
        ("telemetry", "server_memory_kind"),
    ),
    *(("k6",), ("response_time_ms",), ("response_time_ms", "p95"), ("images_per_s",), ("figures",)),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a good run and a baseline of it."""
    monkeypatch.chdir(tmp_path)
    save(Path("good.json"), repeats(2))
    assert call("baseline", "promote", "good.json", "--force").exit_code == 0
    return tmp_path


def call(*words: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(main, list(words))


def changed(content: Any, place: tuple[str, ...], junk: object) -> None:
    """Put junk where a record has something else."""
    for key in place[:-1]:
        content = content.setdefault(key, {})
    content[place[-1]] = junk


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_no_junk_in_a_record_is_a_traceback(place: tuple[str, ...]) -> None:
    """Whatever stands where: each command ends by its own word."""
    for junk in JUNK:
        records = repeats(2)
        changed(records[0], place, junk)
        save(Path("bad.json"), records)
        baseline = json.loads(Path(".servebench/baselines/main.json").read_text(encoding="utf-8"))
        changed(baseline["measured"]["of_all"], place, junk)
        Path(".servebench/baselines/bad.json").write_text(json.dumps(baseline), encoding="utf-8")
        for words in (
            ("compare", "good.json", "./bad.json", "--fail=p95:5%"),
            ("compare", "bad", "good.json", "--format=markdown"),
            ("history", "bad.json", "good.json"),
            ("baseline", "promote", "./bad.json", "--as=made", "--replace", "--force"),
            ("baseline", "show", "bad"),
            ("baseline", "list"),
        ):
            ended = call(*words)
            assert isinstance(ended.exception, (SystemExit, type(None))), (words, junk, ended.exception)


def test_what_passes_the_door_can_be_compared() -> None:
    """Junk in any field of a record, or of an object in it: a shape that is let in is one that is read."""
    whole = saved_record()
    inner = [(name, key) for name, value in whole.items() if isinstance(value, dict) for key in value]
    for place in (*((name,) for name in whole), *inner):
        for junk in (3, "x", ["x"], {"a": 1}):
            record = saved_record()
            changed(record, place, junk)
            if not wrong_shape(record):
                assert trimmed(record)
                assert fingerprint(record)
                assert conditions(record)


@pytest.mark.parametrize(
    ("place", "junk", "why"),
    [
        (("schema",), True, "has no schema"),
        (("case",), [], "has no case with an id"),
        (("case", "id"), 3, "has no case with an id"),
        (("load",), [1], "has a load that is not an object"),
        (("measurement",), None, "has a measurement that is not a whole number"),
        (("served", "options"), [1], "has a served.options that is not an object"),
        (("restarted",), "false", "has a restarted that is not true or false"),
        (("machine", "gpus"), [None], "has a GPU without a name"),
        (("container",), {"cpus": "2"}, "has container.cpus that are no number"),
    ],
    ids=str,
)
def test_a_wrong_shape_is_named(place: tuple[str, ...], junk: object, why: str) -> None:
    """Somebody has to find it in the file."""
    record = saved_record()
    assert wrong_shape(record) == ""
    changed(record, place, junk)
    assert wrong_shape(record) == why
    with pytest.raises(PlanError) as caught:
        read_run(save(Path("bad.json"), [saved_record(), record]))
    assert caught.value.seen == f"record 2 {why}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1e300", "9" * 400, "-4.5"])
def test_a_figure_that_none_measured_is_never_a_pass(number: str) -> None:
    """It is missing or invalid: the exit code is 1."""
    text = save(Path("good.json"), repeats(5)).read_text(encoding="utf-8")
    p95 = repeats(2)[0]["response_time_ms"]["p95"]
    bad = text.replace(f'"p95": {p95}', f'"p95": {number}')
    assert bad != text
    Path("bad.json").write_text(bad, encoding="utf-8")
    assert call("compare", "good.json", "good.json", "--fail=p95:5%").exit_code == 0
    for words in (("good.json", "bad.json"), ("bad.json", "good.json")):
        ended = call("compare", *words, "--fail=p95:5%", "--format=csv", "--figures=p95")
        doubts = [doubt for doubt in ("missing", "invalid") if doubt in ended.output]
        assert (ended.exit_code, len(doubts)) == (1, 1), ended.output


@pytest.mark.parametrize(
    ("edit", "seen"),
    [
        (lambda one: one["measured"].update(cases=[]), "it holds no case"),
        (lambda one: one.pop("measured"), "it has no 'measured'"),
        (lambda one: one.update(servebench_baseline="1"), "its servebench_baseline is no schema's number"),
        (lambda one: one["measured"]["of_all"].update(load=3), "a record has a load that is not an object"),
        (lambda one: one["measured"]["of_all"].update(schema=99), "schema 99; this one reads up to 1"),
    ],
    ids=["no-case", "no-records", "no-schema", "wrong-record", "newer-record"],
)
def test_a_broken_baseline_says_what_is_broken(edit: Callable[[Any], object], seen: str) -> None:
    """Also where its form is right and it says nothing, or what only a newer version understands."""
    path = Path(".servebench/baselines/main.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        read_baseline(path)
    assert caught.value.seen == seen
    assert seen in call("baseline", "list").output


def test_what_is_no_saved_file_is_not_read_for_ever(here: Path) -> None:
    """A device, and lists in lists in lists; a pipe is a file to whoever writes ``<(git show ...)``."""
    with pytest.raises(ValueError, match="no regular file"):
        read_json(Path("/dev/zero"))
    (here / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="too deep"):
        read_json(here / "deep.json")
    reader, writer = os.pipe()
    os.write(writer, b'{"a": 1e999, "b": "\\ud83d\\ude00 \\ud83d"}')
    os.close(writer)
    try:
        assert read_json(Path(f"/dev/fd/{reader}")) == {"a": None, "b": "\N{GRINNING FACE} ?"}
    finally:
        os.close(reader)


def test_a_file_too_large_is_told(here: Path) -> None:
    """Before it takes all memory."""
    with (here / "huge.json").open("wb") as stream:
        stream.truncate(3 * 2**30)
    with pytest.raises(PlanError) as caught:
        read_run(here / "huge.json")
    assert caught.value.seen == "it has 3.0 GiB, and no saved run has more than 1"
