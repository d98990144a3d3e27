"""The record of a case: plain types, nothing invented, nothing published that must not be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from pytest_servebench.arrivals import Poisson
from pytest_servebench.leasing.lanes import Gpu, lanes_of
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import CPU, Device, LauncherKind, ModelFormat, Plan
from pytest_servebench.record import (
    MISMATCH_CAP,
    comparable,
    make_record,
    plain,
    plan_facts,
)
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.table import split_constants
from pytest_servebench.results import CaseResult, Ceiling, Summary, Telemetry, Validity, Verification
from pytest_servebench.samples import Outcome
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.kept_times import response_times_s
from tests.made_up import (
    BREACH,
    MACHINE,
    SETTINGS,
    made_up_capacity,
    made_up_case,
    made_up_result,
    wrong_result,
)


def record_of(**changes: Any) -> dict[str, Any]:
    """Return the record of a made-up result."""
    return make_record(made_up_result(**changes), plan=SETTINGS, machine=MACHINE)


def test_record_holds_what_was_measured() -> None:
    """A valid result's record says case, load, origin, percentiles, throughput and host."""
    record = make_record(
        made_up_result(), plan=SETTINGS, machine=MACHINE, verdict=BREACH, artifact_sha256="ab" * 32
    )

    assert record["schema"] == 1
    assert record["case"]["id"] == "triton-onnx-tensor-http-b8-i1-c16"
    assert (record["case"]["format"], record["case"]["payload"], record["case"]["device"]) == (
        "onnx",
        "tensor",
        "cpu",
    )
    assert record["load"]["concurrency"] == 16
    assert record["artifact_sha256"] == "ab" * 32
    assert (record["backend"], record["launcher"]) == ("made-up backend", "process")
    assert record["response_time_ms"]["p50"] == 5.5
    assert record["throughput_per_s"] == 2.0
    assert record["counts"] == {"correct": 4, "wrong": 0, "errors": 0, "timeouts": 0, "dropped": 0}
    assert record["verdict"]["judgement"] == "fail"
    assert record["verdict"]["breaches"][0]["limit"] == 8.0
    assert record["machine"] == MACHINE
    assert record["settings"] == {"stack": "all"}
    assert record["verification"]["before"]["compared"] == 8
    assert record["verification"]["during"] is None


@pytest.mark.parametrize(
    ("device", "share"), [(CPU, None), (Device("cuda", 3), 1.0), (Device("cuda", 0, (1, 2, 3)), 0.25)]
)
def test_what_each_gpu_does_is_its_share(device: Device, share: float | None) -> None:
    """By the GPUs that the server was given; a CPU is none, and what was not measured has no share."""
    case = made_up_case()
    case = replace(case, deployment=replace(case.deployment, device=device))
    record = record_of(case=case)
    expected = None if share is None else share * record["images_per_s"]
    assert record["images_per_s_per_gpu"] == expected
    assert Row.from_record(record).images_per_s_per_gpu == expected
    unmeasured = make_record(replace(wrong_result(), case=case), plan=SETTINGS, machine=MACHINE)
    assert unmeasured["images_per_s_per_gpu"] is None


@pytest.mark.parametrize(
    ("devices", "told"),
    [(["cpu"], False), (["cuda:0"], False), (["cuda:0", "cuda:1"], False), (["cuda:0,1"], True)],
)
def test_the_table_tells_it_only_where_a_server_was_over_several(devices: list[str], told: bool) -> None:
    """Of one GPU it is the column beside it."""
    row = Row.from_record(record_of())
    _, columns = split_constants([replace(row, device=device) for device in devices])
    assert ("images/s\nper GPU" in {column.header for column in columns}) == told


def test_an_open_loop_is_recorded_with_what_was_offered() -> None:
    """Arrivals stand as their text, no number is kept in flight, and lag and rates are beside the times."""
    case = made_up_case()
    summary = Summary(
        window_s=2.0,
        correct=4,
        dropped=1,
        service_time_p50_ms=4.5,
        send_lag_p99_ms=0.25,
        offered_per_s=2.5,
        achieved_per_s=2.0,
    )
    record = record_of(case=replace(case, load=replace(case.load, arrivals=Poisson(2.5))), summary=summary)
    assert record["case"]["id"] == "triton-onnx-tensor-http-b8-i1-poisson-2.5"
    assert (record["load"]["arrivals"], record["load"]["concurrency"]) == ("poisson:2.5", None)
    assert record["service_time_ms"] == {"p50": 4.5, "p95": None, "p99": None}
    assert record["send_lag_ms"] == {"p50": None, "p99": 0.25}
    assert (record["offered_per_s"], record["achieved_per_s"]) == (2.5, 2.0)
    assert comparable({**record, "benchmark": "test_x"}) == (
        "test_x resnet50 tensor/http batch=8 items=1 arrivals=poisson:2.5"
    )
    assert record_of()["load"]["arrivals"] == "closed"


def test_a_search_is_recorded_whole() -> None:
    """Objective, ending, both rates and every trial with its verdict; the group does not hang on the rate."""
    case = replace(made_up_case(), objective=DEFAULT_OBJECTIVE)
    found = made_up_capacity()
    result = made_up_result(
        case=replace(case, load=replace(case.load, arrivals=Poisson(135.0))), capacity=found
    )
    record = make_record(result, plan=SETTINGS, machine=MACHINE)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["case"]["id"] == "triton-onnx-tensor-http-b8-i1-capacity-p95-50ms-errors-2"
    assert record["case"]["objective"] == "p95<=50ms,errors<2%"
    assert record["load"]["arrivals"] == "poisson:135"
    capacity = record["capacity"]
    assert (capacity["ending"], capacity["start_per_s"]) == ("found", 100.0)
    assert (capacity["last_passing_per_s"], capacity["first_failing_per_s"]) == (135.0, 141.0)
    verdicts = [(trial["rate_per_s"], trial["verdict"], trial["sustained"]) for trial in capacity["trials"]]
    assert verdicts == [(135.0, "pass", False), (141.0, "fail", False), (135.0, "pass", True)]
    assert comparable({**record, "benchmark": "test_x"}) == (
        "test_x resnet50 tensor/http batch=8 items=1 objective=p95<=50ms,errors<2%"
    )
    assert record_of()["capacity"] is None
    assert record_of()["case"]["objective"] is None


def test_a_ceiling_is_recorded_or_its_absence_explained() -> None:
    """What the client could have sent stands beside what it did; one that is missing has its reason."""
    result = made_up_result()
    assert result.summary is not None
    ceiling = Ceiling(31_000.5)
    measured = record_of(summary=replace(result.summary, ceiling_per_s=31_000.5), ceiling=ceiling)
    assert (measured["ceiling_per_s"], measured["ceiling_absent"]) == (31_000.5, "")
    missing = record_of(ceiling=Ceiling(None, "the load is made by k6"))
    assert (missing["ceiling_per_s"], missing["ceiling_absent"]) == (None, "the load is made by k6")


def test_record_is_exactly_json_types() -> None:
    """Nothing but JSON's own types goes in, so that JSON and execnet carry it unchanged."""
    record = record_of()
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_case_record_has_every_field_of_the_case() -> None:
    """No field of a case or its deployment is left out of the record."""
    result = made_up_result()
    named = {*type(result.case).__slots__, *type(result.case.deployment).__slots__} - {"deployment", "load"}
    assert named <= set(record_of()["case"])


def test_figures_have_the_reference_names() -> None:
    """The figures are those of the reference, None where one is missing."""
    assert record_of()["figures"] == {
        "latency_p50": 5.5,
        "latency_p95": pytest.approx(8.55),
        "throughput_rps": 2.0,
        "gpu_utilization": None,
        "memory_usage_gb": 1.2,
        "avg_batch_size": 3.5,
    }


def test_gpu_memory_is_the_memory_where_a_gpu_was_read() -> None:
    """On a GPU the memory figure is the GPU's, as in the reference, not the host's."""
    telemetry = Telemetry(server_memory_bytes=9, gpu_memory_bytes=1_800_000_000, gpu_utilization_percent=89.0)
    figures = record_of(telemetry=telemetry)["figures"]
    assert (figures["memory_usage_gb"], figures["gpu_utilization"]) == (1.8, 89.0)


def test_missing_telemetry_is_none_with_its_reason() -> None:
    """A figure that was not read is None and never 0, and says why."""
    telemetry = record_of()["telemetry"]
    assert telemetry["gpu_utilization_percent"] is None
    assert telemetry["absent"] == {"gpu_utilization_percent": "no NVIDIA driver"}


@pytest.mark.parametrize("validity", [Validity.WRONG_OUTPUT, Validity.ERRORS])
def test_unpublishable_result_has_no_speed(validity: Validity) -> None:
    """A fast wrong answer publishes no percentile, no throughput and no sample."""
    result = made_up_result(validity=validity, reason="made up")
    record = make_record(result, plan=SETTINGS, machine=MACHINE)

    assert set(record["response_time_ms"].values()) == {None}
    assert (record["throughput_per_s"], record["images_per_s"]) == (None, None)
    assert record["figures"]["latency_p95"] is record["figures"]["throughput_rps"] is None
    assert record["samples"]["count"] == len(response_times_s(result)) == 0
    assert (record["validity"], record["reason"]) == (str(validity), "made up")
    assert record["counts"]["correct"] == 4


@pytest.mark.parametrize("validity", [Validity.UNSTABLE, Validity.CLIENT_LIMITED, Validity.UNDECIDED])
def test_doubtful_result_keeps_its_numbers_and_its_reason(validity: Validity) -> None:
    """A doubtful run is recorded as it was, with the doubt."""
    record = record_of(validity=validity, reason="made up")
    assert record["response_time_ms"]["p50"] == 5.5
    assert record["validity"] == str(validity)


def test_result_without_load_has_counts_of_none() -> None:
    """A server that never answered has no counts: None, not 0."""
    record = record_of(summary=None, samples=None, validity=Validity.ERRORS, reason="it died")
    assert set(record["counts"].values()) == {None}
    assert record["window_s"] is None
    assert record["first_error"] == ""


def test_long_lists_of_mismatches_are_cut_and_counted() -> None:
    """Mismatches are kept in words up to a cap, and their number whole."""
    words = tuple(f"image {i}" for i in range(100))
    kept = record_of(during=Verification(compared=100, mismatches=words))["verification"]["during"]
    assert (len(kept["mismatches"]), kept["mismatch_count"]) == (MISMATCH_CAP, 100)


def test_wrong_result_keeps_the_proof() -> None:
    """The record of a wrong run says which answers were wrong."""
    record = make_record(wrong_result(), plan=SETTINGS, machine=MACHINE)
    assert record["verification"]["during"]["mismatches"] == ["image 3 was answered with image 4's classes"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, math.nan]), [1.0, None]),
        (ModelFormat.ONNX, "onnx"),
        (Outcome.TIMEOUT, "timeout"),
        (Path("a/b"), "a/b"),
        ({ModelFormat.ONNX: {2, 1}}, {"onnx": [1, 2]}),
        ((True, None, "x"), [True, None, "x"]),
        (Device("cuda", 1), {"kind": "cuda", "index": 1, "more": [], "capability": None}),
    ],
)
def test_plain_knows_every_kind_of_value(value: object, expected: object) -> None:
    """Words, numbers, paths and containers become plain types; NaN and infinity become None."""
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_plan_facts_are_plain_and_whole() -> None:
    """Every field of the plan is in the run's metadata, in words."""
    facts = plan_facts(
        Plan(launcher=LauncherKind.DOCKER, left_out={"triton": "no wheel"}, device=Device("cuda", 1))
    )
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert set(facts) == {*Plan.__slots__, "lane", "cpu_set"}
    assert (facts["launcher"], facts["device"], facts["left_out"]) == (
        "docker",
        "cuda:1",
        {"triton": "no wheel"},
    )


def test_the_record_says_where_it_was_measured_and_who_was_waited_for() -> None:
    """The lane is the plan's; without a set of cores there is none, and nobody waited is 0, not unknown."""
    facts = plan_facts(Plan(lanes=lanes_of(((Gpu(1),),), ((2, 3),))))
    record = make_record(made_up_result(waited_s=1.5), plan=facts, machine=MACHINE)
    assert (record["lane"], record["cpu_set"], record["waited_s"]) == ("cuda:1 cores 2-3", "2-3", 1.5)
    record = make_record(made_up_result(waited_s=0.0), plan=plan_facts(Plan()), machine=MACHINE)
    assert (record["lane"], record["cpu_set"], record["waited_s"]) == ("machine", None, 0.0)
    assert record_of()["waited_s"] is None


def test_the_record_says_which_replicate_it_is() -> None:
    """Of how many, and whether its server was started for it; a case that is not repeated is one of one."""
    facts = plan_facts(Plan(repeats=5))
    made = made_up_result(case=replace(made_up_case(), repeat=2), restarted=False)
    record = make_record(made, plan=facts, machine=MACHINE)
    assert (record["repeat"], record["repeats"], record["restarted"]) == (2, 5, False)
    assert record["case"]["repeat"] == 2
    once = make_record(made_up_result(), plan=facts, machine=MACHINE)
    assert (once["repeat"], once["repeats"], once["restarted"]) == (None, 1, True)


def test_the_record_has_the_runs_own_intervals() -> None:
    """Under a name that says whose they are; of a run that is not published there are none."""
    record = record_of(times_ms=[4.0, 5.0, 6.0, 9.0] * 100)
    assert record["within_run"]["response_time_ms"]["p50"] is not None
    assert make_of(wrong_result())["within_run"]["throughput_per_s"] is None


def make_of(result: CaseResult) -> dict[str, Any]:
    """Return the record of this result."""
    return make_record(result, plan=SETTINGS, machine=MACHINE)


def test_the_record_holds_its_distributions() -> None:
    """Any tool reads every response time back, to a thousandth, from the record of a small run too."""
    times_ms = np.random.default_rng(0).lognormal(2, 0.5, 300).tolist()
    record = make_of(made_up_result(times_ms))
    told = record["histogram"]
    assert (told["format"], told["unit"]) == ("HdrHistogram V2 compressed, base64", "ns")
    read = HdrHistogram.decode(told["response_time_ns"])
    assert read.get_total_count() == 300
    assert read.get_value_at_percentile(95) / 1e6 == pytest.approx(np.percentile(times_ms, 95), rel=0.02)
    assert told["service_time_ns"] == told["response_time_ns"]
    assert Histogram.decoded(told["response_time_ns"]).percentile(50) == pytest.approx(
        np.median(times_ms) * 1e6, rel=1e-3
    )


def test_the_record_has_a_time_line() -> None:
    """Columns of one length, at most 120 of them, that add up to the run."""
    timeline = make_of(made_up_result([4.0] * 600))["timeline"]
    lengths = {len(column) for column in timeline.values()}
    assert len(lengths) == 1
    assert lengths.pop() <= 120
    assert sum(timeline["correct"]) == 600
    assert timeline["begin_s"][0] == 0.0
    assert sum(timeline["length_s"]) == pytest.approx(2.0)
    assert set(timeline["response_time_p95_ms"]) == {4.0}


def test_a_wrong_answer_has_no_distribution_either() -> None:
    """What may not be published is not in the histogram's clothes either; the counts stay."""
    record = make_of(wrong_result())
    assert record["histogram"]["response_time_ns"] is None
    assert record["timeline"]["response_time_p95_ms"] is None
    assert sum(record["timeline"]["correct"]) == 4
