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
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.arrivals import Poisson
from pytest_servebench.histogram import Histogram
from pytest_servebench.kept_times import SAMPLE_CAP, SELECTION_FOLDED, response_times_s, thin
from pytest_servebench.lanes import Gpu, lanes_of
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import Device, LauncherKind, ModelFormat, Plan
from pytest_servebench.record import (
    MISMATCH_CAP,
    comparable,
    make_record,
    plain,
    plan_facts,
    with_verdict,
)
from pytest_servebench.results import CaseResult, Ceiling, Summary, Telemetry, Validity, Verification
from pytest_servebench.samples import Folded, Outcome
from pytest_servebench.tallies import tally_of
from tests.made_up import (
    BREACH,
    MACHINE,
    SETTINGS,
    made_up_capacity,
    made_up_case,
    made_up_result,
    made_up_samples,
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


def test_verdict_is_added_after_recording() -> None:
    """Judging changes the verdict and nothing else."""
    record = record_of()
    judged = with_verdict(record, BREACH)
    assert record["verdict"] is None
    assert judged["verdict"]["breaches"][0]["sentence"].startswith("p95 8.55 ms")
    assert {**judged, "verdict": None} == record


def test_only_correct_samples_inside_the_window_are_response_times() -> None:
    """Warm-up, late and failed requests are no response times; the window has its end and not its begin."""
    samples = made_up_samples([1.0, 2.0, 3.0, 4.0, 5.0], spread_s=5.0)
    begin_ns, end_ns = samples.window_ns
    samples.received_ns[0] = begin_ns
    samples.outcome[1] = Outcome.HTTP_ERROR
    samples.intended_ns[3], samples.received_ns[3] = end_ns - 7_000_000, end_ns
    samples.received_ns[4] = end_ns + 1
    assert response_times_s(made_up_result(samples=samples)).tolist() == [0.003, 0.007]


@given(st.lists(st.floats(0.0001, 100), min_size=200, max_size=600), st.integers(50, 150))
def test_thinning_keeps_percentiles(values: list[float], cap: int) -> None:
    """A percentile of the kept samples lies within one rank step of the same percentile of all."""
    times = np.asarray(values)
    kept = thin(times, cap)
    assert (len(kept), kept.min(), kept.max()) == (cap, times.min(), times.max())
    step = 100 / (cap - 1)
    for q in (50, 95, 99):
        low, high = np.percentile(times, [max(0.0, q - step), min(100.0, q + step)])
        assert low <= np.percentile(kept, q) <= high


def test_thinning_keeps_the_order_of_sending() -> None:
    """Kept samples stay in their order, so that a drift in time can still be seen."""
    times = np.random.default_rng(1).permutation(1000).astype(float)
    kept = thin(times, 100).tolist()
    places = [times.tolist().index(value) for value in kept]
    assert places == sorted(places)


def test_few_samples_are_all_kept() -> None:
    """At or below the cap nothing is thinned, and the record says so."""
    times = np.arange(10.0)
    assert thin(times, 10) is times
    assert record_of()["samples"] == {"count": 4, "kept": 4, "selection": "every response time"}


def test_capped_samples_are_said_to_be_capped() -> None:
    """Above the cap the record says how many there were and how they were chosen."""
    times = np.ones(SAMPLE_CAP + 1).tolist()
    samples = record_of(times_ms=times)["samples"]
    assert (samples["count"], samples["kept"]) == (SAMPLE_CAP + 1, SAMPLE_CAP)
    assert samples["selection"].startswith("values at evenly spaced ranks")


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
        (Device("cuda", 1), {"kind": "cuda", "index": 1}),
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
    facts = plan_facts(Plan(lanes=lanes_of((Gpu(1),), ((2, 3),))))
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


def test_a_folded_run_keeps_its_ranks() -> None:
    """Of a load whose rows are gone the saved times come from the histogram; their number is that of all."""
    times_ns = np.random.default_rng(0).lognormal(15, 0.5, 50_000).astype(np.int64)
    folded = Folded(inside=tally_of(times_ns * 0, times_ns * 0, times_ns, (times_ns * 0).astype(np.uint8)))
    result = made_up_result(samples=replace(made_up_samples([5.0, 6.0]), folded=folded))
    times_s = response_times_s(result)
    assert len(times_s) == SAMPLE_CAP
    assert np.percentile(times_s, 95) == pytest.approx(np.percentile(times_ns, 95) / 1e9, rel=2e-3)
    assert make_of(result)["samples"] == {
        "count": 50_002,
        "kept": SAMPLE_CAP,
        "selection": SELECTION_FOLDED,
    }
