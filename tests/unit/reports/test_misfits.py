"""A record that somebody has edited is refused by what is wrong in it, never by a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pytest_servebench.cli import main
from pytest_servebench.comparison.saved_runs import SavedRun, read_run
from pytest_servebench.reports.misfits import misfit_of
from pytest_servebench.reports.plots import plots_of
from pytest_servebench.reports.stages import COLUMNS
from pytest_servebench.reports.whole_records import whole, whole_record
from tests.saved_records import repeats, save, saved_record

RECORDS = Path(__file__).resolve().parents[2] / "records"


def measured(name: str) -> dict[str, Any]:
    """Return a record that was measured."""
    record: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
    return record


def edited(name: str, path: str, value: object) -> dict[str, Any]:
    """Return a measured record with another value in one place; `...` takes what is there away."""
    record = measured(name)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place: Any = record
    for step in steps:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_measured_records_fit(path: Path) -> None:
    """What was recorded is told."""
    assert misfit_of(measured(path.stem)) == ""


def test_what_an_older_record_lacks_is_no_misfit() -> None:
    """Fields come with versions: a run without them is read all the same, and so is a newer one."""
    record = {**saved_record(), "a_later_field": [1]}
    for name in ("telemetry", "timeline", "stages", "capacity", "histogram", "k6"):
        del record[name]
    assert misfit_of({**record, "counts": {"correct": None}, "figures": None}) == ""


@pytest.mark.parametrize(
    ("name", "path", "value", "told"),
    [
        ("closed", "capacity", {"trials": []}, "capacity has no objective"),
        ("closed", "scaling", {}, "scaling has no capacity_per_s"),
        ("closed", "case/device", 1e3, "case.device is 1000.0, not text"),
        ("closed", "counts/correct", True, "counts.correct is true, not a whole number or null"),
        ("closed", "verdict", [1], "verdict is [1], not an object or null"),
        ("closed", "telemetry/batch_sizes", {"1": "x"}, 'telemetry.batch_sizes.1 is "x", not a whole number'),
        ("closed", "validity", 3, "validity is 3, not text"),
        ("closed", "timeline/failed/0", "x", 'timeline.failed[0] is "x", not a number'),
        ("closed", "timeline/failed/0", ..., "timeline has lists of different lengths: "),
        ("closed", "case/model", ["y" * 90], f'case.model is ["{"y" * 58}..., not text'),
        ("staged", "stages/0", None, "stages[0] is null, not an object"),
        ("staged", "stages/0/counts", ..., "stages[0] has no counts"),
        (
            "capacity",
            "capacity/trials/0/rate_per_s",
            "x",
            'capacity.trials[0].rate_per_s is "x", not a number',
        ),
    ],
)
def test_a_misfit_is_named_with_its_place(name: str, path: str, value: object, told: str) -> None:
    """What was seen, and what it should be."""
    assert misfit_of(edited(name, path, value)).startswith(told)


def test_the_command_says_which_record_and_where(tmp_path: Path) -> None:
    """Nothing is written of a run with such a record; the message names file, case, field and remedy."""
    bad = saved_record(stack="triton")
    bad["counts"]["correct"] = "many"
    file = save(tmp_path / "a.json", [*repeats(2), bad])
    ended = CliRunner().invoke(main, ["report", str(file), f"--output={tmp_path / 'out'}"])
    said = " ".join(ended.output.split())
    assert (ended.exit_code, (tmp_path / "out").exists()) == (2, False)
    for part in (
        str(file),
        bad["case"]["id"],
        'counts.correct is "many", not a whole number',
        "--schema record",
    ):
        assert part in said, said


def test_what_is_null_in_a_case_is_unknown() -> None:
    """A null is as telling as nothing at all."""
    bad = saved_record()
    bad["case"].update(payload=None, max_batch_size=None, threads=None)
    case = whole_record(bad)["case"]
    assert (case["payload"], case["max_batch_size"], case["threads"]) == ("unknown", 1, None)


@pytest.mark.parametrize("name", ["warnings", "gpus", "gpu_other_pids"])
def test_what_is_null_in_telemetry_is_empty_where_it_is_listed(tmp_path: Path, name: str) -> None:
    """Null says nothing of warnings and of GPUs, and takes no report away."""
    bad = saved_record()
    bad["telemetry"][name] = None
    file = save(tmp_path / "a.json", [bad])
    ended = CliRunner().invoke(main, ["report", str(file), f"--output={tmp_path / 'out'}"])
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "out" / "summary.md").exists()


def test_a_stage_that_counted_nothing_failed_by_no_number() -> None:
    """Missing counts are not zero."""
    stage = measured("staged")["stages"][0]
    stage["counts"].update(errors=None, dropped=None)
    stage["checks"].update(predictions_compared=3, predictions_wrong=None)
    cells = {column.header: column.cell(stage) for column in COLUMNS}
    assert (cells["failed"], cells["dropped"]) == ("n/a", "n/a")
    assert not any("3" in cell for header, cell in cells.items() if "predictions" in header)


def test_a_time_line_with_a_hole_is_drawn() -> None:
    """A count that is missing leaves its second empty, and does not take the rest away."""
    record = edited("closed", "timeline/failed/0", None)
    assert misfit_of(record) == ""
    assert "time-line" in {plot.name for plot in plots_of([whole(SavedRun(name="a", records=(record,)))])}


def test_a_trial_without_a_rate_is_no_point() -> None:
    """It has no place on a curve, and the others keep theirs."""
    record = edited("capacity", "capacity/trials/0/rate_per_s", None)
    assert plots_of([whole(SavedRun(name="a", records=(record,)))])


def test_numbers_that_nothing_can_be_counted_with_are_missing(tmp_path: Path) -> None:
    """Of 1e308 a sum is infinite, which no JSON can say: it is as missing as an infinity itself."""
    records = [saved_record(images_per_s=1e308), saved_record(stack="triton", images_per_s=9e17)]
    run = read_run(save(tmp_path / "a.json", records))
    assert [record["images_per_s"] for record in run.records] == [None, 9e17]
