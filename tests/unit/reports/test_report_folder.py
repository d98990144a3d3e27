"""The report as a folder: its parts, whole or not at all, whatever a run lacks."""

from __future__ import annotations

import csv
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.trimmed import trimmed
from pytest_servebench.errors import MissingPieceError
from pytest_servebench.record import make_record
from pytest_servebench.reports import folder
from pytest_servebench.reports.folder import PARTS, write_report
from pytest_servebench.reports.whole_records import NOT_KEPT
from tests.made_up import MACHINE, SETTINGS, wrong_result
from tests.runs_made_up import made_up_run
from tests.saved_records import repeats, saved_record

MADE = {
    "page_html": lambda runs: f"<p>{len(runs)}",
    "latency_comparison": lambda _runs: b"one",
    "resource_analysis": lambda _runs: b"two",
}
"""Stand-ins of other rooms, which have tests of their own."""


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return how what a room makes of runs is changed; all else is made by the real ones."""

    def stand_in(**makers: Callable[[Any], object]) -> None:
        for name, make in makers.items():
            monkeypatch.setattr(folder, name, make)

    stand_in(**MADE)
    return stand_in


def a_run(**changes: Any) -> SavedRun:
    """Return a run of two stacks."""
    records = (saved_record(**changes), saved_record(stack="triton", slower=2.0, **changes))
    return SavedRun(name="monday", records=records, facts=({"run_id": "7", "started": "2026-11-20T08:00"},))


def wrong_record() -> dict[str, Any]:
    """Return the record of a case whose answers were wrong."""
    made = make_record(wrong_result(), plan=SETTINGS, machine=MACHINE)
    return {**made, "test": "test_it.py::test_wrong", "benchmark": "test_wrong", "measurement": 1}


@pytest.mark.usefixtures("rooms")
def test_every_part_is_written_the_page_first(tmp_path: Path) -> None:
    """The folder is made, and what is returned is what lies in it, readable as any other file."""
    written = write_report([a_run(), a_run()], tmp_path / "new" / "out")
    assert [path.name for path in written.paths] == list(PARTS)
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == set(PARTS)
    assert written.left_out == ()
    assert (tmp_path / "new" / "out" / "report.html").read_text() == "<p>2"
    plain = tmp_path / "plain"
    plain.touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in written.paths}
    assert modes == {stat.S_IMODE(plain.stat().st_mode)}


def test_without_matplotlib_all_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take an extra; a reader is told once which, and has everything else."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(folder, "page_html", MADE["page_html"])
    written = write_report([a_run()], tmp_path)
    assert [path.name for path in written.paths] == list(PARTS[:4])
    (line,) = written.left_out
    assert "pip install 'pytest-servebench[charts]'" in line


def test_a_room_that_says_what_is_missing_is_quoted(tmp_path: Path, rooms: Callable[..., None]) -> None:
    """A missing piece names its remedy itself."""

    def absent(_: object) -> bytes:
        raise MissingPieceError("no charts", next_step="pip install them")

    rooms(latency_comparison=absent)
    assert write_report([a_run()], tmp_path).left_out == ("no charts: pip install them",)


def test_another_missing_module_is_no_missing_chart(tmp_path: Path, rooms: Callable[..., None]) -> None:
    """A broken installation is not told as one that lacks an extra."""

    def broken(_: object) -> str:
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")

    rooms(page_html=broken)
    with pytest.raises(ModuleNotFoundError):
        write_report([a_run()], tmp_path)


@pytest.mark.usefixtures("rooms")
def test_a_reader_never_sees_half_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written whole leaves the earlier report as it was, and nothing beside it."""
    write_report([a_run()], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write_report([a_run(), a_run()], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_written_before_all_is_made(tmp_path: Path, rooms: Callable[..., None]) -> None:
    """A fault in one part leaves no folder with some of them."""

    def broken(_: object) -> bytes:
        raise ValueError("a fault")

    rooms(resource_analysis=broken)
    with pytest.raises(ValueError, match="a fault"):
        write_report([a_run()], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("rooms")
def test_what_else_lies_there_stays(tmp_path: Path) -> None:
    """A folder of results may hold more than ours."""
    (tmp_path / "run.json").write_text("{}")
    write_report([a_run()], tmp_path)
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    "run",
    [
        SavedRun(name="empty", records=()),
        made_up_run("trimmed", [10.0, 11.0]),
        made_up_run("no figures", [None]),
        SavedRun(name="wrong", records=(wrong_record(),)),
        SavedRun(name="repeats", records=tuple(repeats(3))),
        SavedRun(
            name="edited", records=({**saved_record(), "telemetry": [1], "figures": None, "load": None},)
        ),
        SavedRun(name="half", records=({**saved_record(), "reason": "\ud800", "validity": "odd"},)),
    ],
    ids=lambda run: run.name,
)
@pytest.mark.usefixtures("rooms")
def test_any_run_that_can_be_read_can_be_reported(tmp_path: Path, run: SavedRun) -> None:
    """Baselines keep less, people edit files, a crash leaves little: a report of it says so, and stands."""
    write_report([run], tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["runs"][0]["name"] == run.name
    for case in summary["cases"]:
        for figure in case["figures"].values():
            assert (figure["value"] is None) is bool(figure["absent"])
            assert (figure["interval"] is None) is bool(figure["interval_absent"])
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == len(summary["cases"])


@pytest.mark.usefixtures("rooms")
def test_what_a_baseline_does_not_keep_is_told_as_that(tmp_path: Path) -> None:
    """Not as a server that was already up, nor as a load that has none."""
    kept = SavedRun(name="main", records=tuple(trimmed(record) for record in repeats(2)))
    write_report([kept], tmp_path)
    (case,) = json.loads((tmp_path / "summary.json").read_text("utf-8"))["cases"]
    for name in (
        "cold_start_s",
        "service_time_p95_ms",
        "send_lag_p99_ms",
        "capacity_per_s",
        "server_cpu_cores",
    ):
        assert case["figures"][name]["absent"] == NOT_KEPT, name
    assert case["figures"]["response_time_p95_ms"]["value"] > 0
    assert case["figures"]["memory_gb"]["value"] > 0
