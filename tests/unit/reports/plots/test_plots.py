"""The page's plots: whole specifications, made from nothing but what records hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.histogram import Histogram
from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.plots import plots_of
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.repeats import joined_rows
from tests.saved_records import repeats, saved_record

EVIL = "</script><b>\"'\\u0041{{signal}} datum.x é漢\U0001f600"
ANSWERED = {
    "queue_time_ms": 1.0,
    "compute_time_ms": 2.0,
    "counters_offset_s": [0.001, 0.001],
    "gpu_utilization_percent": 80.0,
    "joules_per_image": 0.25,
}


def run_of(*records: Mapping[str, Any], name: str = "monday") -> SavedRun:
    """Return a run of these records."""
    return SavedRun(name=name, records=records)


def told(record: Mapping[str, Any], **telemetry: Any) -> dict[str, Any]:
    """Return the record with more telemetry."""
    return {**record, "telemetry": {**record["telemetry"], **ANSWERED, **telemetry}}


def full_run() -> SavedRun:
    """Return a run in which every figure was read."""
    efficient: dict[str, Any] = {"serving_efficiency": 0.9}
    made = (
        saved_record(stack=stack, model_format=each, **efficient)
        for stack in ("fastapi", "triton")
        for each in (ModelFormat.ONNX, ModelFormat.PYTORCH)
    )
    return run_of(*map(told, made))


def staged(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record as one of a staged load of two stages."""
    stage = {"kind": "hold", "ran_s": 1.0, "verdict": "pass", "reason": ""}
    stages = [
        {**stage, "number": 1, "begin_s": 1.0, "begin_per_s": 10, "end_per_s": 10},
        {**stage, "number": 2, "begin_s": 2.0, "begin_per_s": 10, "end_per_s": 20},
    ]
    columns = {
        "begin_s": [-1.0, 0.0, 1.0],
        "length_s": [1.0, 1.0, 1.0],
        "offered": [5, 10, 20],
        "sent": [5, 10, 18],
        "correct": [5, 10, 15],
        "failed": [0, 0, 3],
        "dropped": [0, 0, 2],
        "response_time_p50_ms": [1.0, 2.0, None],
        "response_time_p95_ms": [1.0, 2.0, None],
    }
    load = {**record["load"], "arrivals": "stages:0:1s:10,1s:20", "concurrency": None}
    return {**record, "load": load, "stages": stages, "warmup_s": 1.0, "timeline": columns}


def at_load(concurrency: int, slower: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Return a record of a case with so many requests in flight."""
    record = saved_record(slower=slower, **changes)
    load = {**record["load"], "concurrency": concurrency}
    return {**record, "load": load, "test": f"bench/test_it.py::test_speed[c{concurrency}]"}


def drawn(plots: tuple[Plot, ...], name: str) -> Plot:
    """Return the plot of that name."""
    return next(plot for plot in plots if plot.name == name)


def data_of(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield every datum in a specification."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("values"), list) and set(spec) == {"values"}:
            yield from spec["values"]
        for part in spec.values():
            yield from data_of(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from data_of(part)


def bars_in(plot: Plot) -> list[dict[str, Any]]:
    """Return the bars of a plot, each once, though its marks share its datum."""
    found = {datum["line"]: datum for datum in data_of(plot.spec) if "says" in datum}
    return list(found.values())


@pytest.fixture(scope="session")
def grammar() -> Draft7Validator:
    """Return the schema of Vega-Lite 6, as altair ships it."""
    path = files("altair") / "vegalite" / "v6" / "schema" / "vega-lite-schema.json"
    return Draft7Validator(json.loads(path.read_text(encoding="utf-8")))


def test_every_specification_is_vega_lite(grammar: Draft7Validator) -> None:
    """What the page is given to draw follows the grammar, with every plot there is."""
    open_one = staged(told(saved_record(stack="torchserve")))
    runs = [
        run_of(*full_run().records, open_one, at_load(1), at_load(4, 2.0)),
        run_of(*repeats(3), name="two"),
    ]
    plots = plots_of(runs)
    assert [plot.name for plot in plots if plot.absent] == []
    for plot in plots:
        assert not list(grammar.iter_errors(json.loads(json.dumps(plot.spec)))), plot.name


def test_every_plot_says_what_is_to_be_seen_or_why_there_is_none() -> None:
    """Whoever sees no plot reads one; a plot that is missing says why, and never both."""
    for plot in (*plots_of([full_run()]), *plots_of([run_of(saved_record())]), *plots_of([])):
        assert bool(plot.spec) != bool(plot.absent), plot.name
        assert bool(plot.spec) == bool(plot.description), plot.name
        assert plot.spec.get("description", "") == plot.description
        assert plot.title
        assert plot.reading


def test_names_are_anchors_that_no_two_plots_share() -> None:
    """The page finds a plot by its name."""
    names = [plot.name for plot in plots_of([run_of(staged(saved_record()), saved_record(stack="x"))])]
    assert len(set(names)) == len(names)


def test_a_case_has_a_bar_for_each_percentile() -> None:
    """Nothing is left out and nothing drawn twice."""
    plots = plots_of([full_run()])
    assert len(bars_in(drawn(plots, "response-times"))) == 4 * 3
    assert len(bars_in(drawn(plots, "throughput"))) == 4


def test_the_length_of_a_bar_is_the_figure() -> None:
    """With one group the axis is true: values are the records' own."""
    run = full_run()
    bars = bars_in(drawn(plots_of([run]), "throughput"))
    assert sorted(bar["value"] for bar in bars) == sorted(record["images_per_s"] for record in run.records)


def test_error_bars_are_the_intervals_over_repeats() -> None:
    """A plot and a table tell the same interval."""
    records = repeats(5)
    (row,) = joined_rows(records)
    p95 = next(
        bar for bar in bars_in(drawn(plots_of([run_of(*records)]), "response-times")) if "p95" in bar["line"]
    )
    across = row.across(lambda each: each.response_time_p95_ms)
    assert across is not None
    assert across.interval is not None
    assert (p95["low"], p95["value"], p95["high"]) == (across.interval[0], across.median, across.interval[1])


def test_one_run_of_a_case_has_no_error_bar() -> None:
    """Nothing is known of how starts differ."""
    bars = bars_in(drawn(plots_of([run_of(saved_record())]), "throughput"))
    assert all("low" not in bar for bar in bars)


def test_what_is_not_valid_is_hollow_and_says_so() -> None:
    """It never passes for a good bar, and never is the best."""
    doubtful = saved_record(stack="triton", slower=0.1, validity="client_limited", reason="sent late")
    plot = drawn(plots_of([run_of(saved_record(), doubtful)]), "response-times")
    filled, hollow = plot.spec["layer"][0], plot.spec["layer"][1]
    assert len(filled["data"]["values"]) == len(hollow["data"]["values"]) == 3
    assert hollow["mark"]["fill"] == "transparent"
    assert all("not valid, client_limited: sent late" in bar["says"] for bar in hollow["data"]["values"])
    assert any(datum.get("text") == "triton onnx (not valid: client_limited)" for datum in data_of(plot.spec))
    assert "p95 of fastapi onnx" in plot.description
    assert "Not valid, drawn hollow: triton onnx" in plot.description


def test_repeats_that_are_missing_make_a_case_doubtful() -> None:
    """Two of three repeats are no believed case."""
    records = repeats(3)
    records[1] = {**records[1], "validity": "errors", "reason": "2% failed"}
    plot = drawn(plots_of([run_of(*records)]), "throughput")
    assert not plot.spec["layer"][0]["data"]["values"]


def test_wrong_answers_have_no_bar() -> None:
    """A figure that is missing is n/a with its doubt, never a bar of no length."""
    wrong = saved_record(stack="triton", result={"validity": "wrong_output", "reason": "7 of 8 differ"})
    plot = drawn(plots_of([run_of(saved_record(), wrong)]), "throughput")
    assert len(bars_in(plot)) == 1
    assert any(datum.get("text") == "n/a (wrong_output)" for datum in data_of(plot.spec))


def test_runs_stand_side_by_side() -> None:
    """One case of two runs is two bars, each with its run's name, though both runs have one name."""
    plot = drawn(plots_of([run_of(saved_record()), run_of(saved_record(slower=2.0))]), "throughput")
    names = {datum["text"] for datum in data_of(plot.spec) if "colour" in datum and "says" not in datum}
    assert names == {"fastapi onnx, monday", "fastapi onnx, monday (2)"}


def test_lines_end_where_replies_end() -> None:
    """A percentile that no reply supports is not drawn: n (1 - p) is at least 1."""
    plots = plots_of([run_of(saved_record())])
    for name in ("distribution", "percentiles"):
        shares = [datum["share"] for datum in data_of(drawn(plots, name).spec) if "share" in datum]
        assert max(shares) == pytest.approx(1 - 1 / 4)
        assert len(shares) <= 300


def test_a_curve_takes_several_loads() -> None:
    """One load is no curve, and the reader is told how to make one."""
    assert "--serve-concurrency" in drawn(plots_of([run_of(saved_record())]), "load-curve").absent
    plot = drawn(plots_of([run_of(at_load(1)), run_of(at_load(8, 2.0), name="b")]), "load-curve")
    points = [datum for datum in data_of(plot.spec) if "images" in datum]
    assert [(each["percentile"], each["load"]) for each in points] == [
        ("p50", "1"),
        ("p50", "8"),
        ("p95", "1"),
        ("p95", "8"),
    ]
    assert {each["label"] for each in points} == {"fastapi onnx"}


def test_loads_that_two_runs_share_make_a_curve_for_each() -> None:
    """Before and after are not joined into one line."""
    before, after = (
        run_of(at_load(1, slower), at_load(8, slower), name=name) for name, slower in (("a", 1), ("b", 2))
    )
    plot = drawn(plots_of([before, after]), "load-curve")
    labels = {datum["label"] for datum in data_of(plot.spec) if "images" in datum}
    assert labels == {"fastapi onnx, a", "fastapi onnx, b"}


def test_a_staged_load_has_a_time_line_of_its_own() -> None:
    """Rates are by second, stages on the window's clock, and what is missing is absent, not 0."""
    plots = plots_of([run_of(staged(saved_record()), saved_record(stack="triton"))])
    plot = drawn(plots, "time-line-1")
    slices = plot.spec["datasets"]["slices"]
    assert [each["correct"] for each in slices] == [5, 10, 15, 15]
    assert [each["failed"] + each["dropped"] for each in slices] == [0, 0, 5, 5]
    assert "p95" not in slices[2]
    stages = {(each["text"], each["begin"]) for each in data_of(plot.spec) if "row" in each}
    assert stages == {("1 hold 10/s", 0.0), ("2 hold 10 to 20/s", 1.0)}
    assert "params" in plot.spec
    assert not plot.spec["params"]


def test_other_loads_share_a_time_line_with_a_choice() -> None:
    """Twenty-four cases are one plot, and each can be looked at."""
    records = [{**staged(each), "stages": []} for each in full_run().records]
    plots = plots_of([run_of(*records)])
    assert [plot.name for plot in plots if plot.name.startswith("time-line")] == ["time-line"]
    (choice,) = drawn(plots, "time-line").spec["params"]
    assert choice["bind"]["options"] == [0, 1, 2, 3]
    assert len(choice["bind"]["labels"]) == 4


def test_parts_of_the_time_add_up_to_what_the_client_saw() -> None:
    """Queue, compute and rest are the mean response time."""
    record = told(saved_record())
    plot = drawn(plots_of([run_of(record)]), "time-split")
    parts = [datum for datum in data_of(plot.spec) if "part" in datum]
    assert [each["part"] for each in parts] == ["queue", "compute", "rest"]
    mean_ms = record["response_time_ms"]["mean"]
    assert [each["end"] for each in parts] == pytest.approx([1 / mean_ms, 3 / mean_ms, 1.0])


def test_a_server_that_tells_more_time_than_the_client_saw_has_no_rest() -> None:
    """What cannot be told is not drawn as nothing."""
    plot = drawn(plots_of([run_of(told(saved_record(), queue_time_ms=500.0))]), "time-split")
    assert {datum["part"] for datum in data_of(plot.spec) if "part" in datum} == {"queue", "compute"}
    assert "but the client saw" in plot.description


def test_a_figure_that_no_case_has_says_why() -> None:
    """The reason is the record's own."""
    assert "no NVIDIA driver" in drawn(plots_of([run_of(saved_record())]), "gpu-use").absent


def expressions_in(spec: Any) -> Iterator[str]:
    """Yield all that Vega would evaluate."""
    if isinstance(spec, Mapping):
        for key, part in spec.items():
            if key in {"filter", "calculate", "test", "expr", "labelExpr", "signal"} and isinstance(
                part, str
            ):
                yield part
            else:
                yield from expressions_in(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from expressions_in(part)


def test_no_name_of_a_user_is_ever_evaluated(grammar: Draft7Validator) -> None:
    """Whatever names say, expressions and fields are those of harmless names."""
    runs = []
    for word in ("plain", EVIL):
        records = [staged(each) for each in full_run().records]
        records += [told(saved_record(stack=word)), at_load(1, stack=word), at_load(4, stack=word)]
        records = [{**each, "benchmark": word} for each in records]
        runs.append([run_of(*records, name=word), run_of(*repeats(2, stack=word), name=f"{word}2")])
    harmless, evil = (plots_of(each) for each in runs)
    for one, other in zip(harmless, evil, strict=True):
        assert set(expressions_in(other.spec)) == set(expressions_in(one.spec))
        assert not list(grammar.iter_errors(json.loads(json.dumps(other.spec)))), other.name


def test_twenty_four_cases_are_less_than_a_megabyte() -> None:
    """The page can be sent by mail."""
    columns = {name: [1234.5678] * 120 for name in staged(saved_record())["timeline"]}
    columns["begin_s"] = [at / 10 for at in range(120)]
    times = np.random.default_rng(1).lognormal(15, 1, 200_000).astype(np.int64)
    held = {**saved_record()["histogram"], "response_time_ns": Histogram.of(times).encoded()}
    much = {"timeline": columns, "histogram": held}
    records = [
        {**told(saved_record(stack=stack, model_format=each, batch=batch)), **much}
        for stack in ("fastapi", "triton", "torchserve", "other")
        for each in (ModelFormat.ONNX, ModelFormat.PYTORCH)
        for batch in (1, 8, 32)
    ]
    assert len(records) == 24
    size = sum(len(json.dumps(plot.spec)) for plot in plots_of([run_of(*records)]))
    assert size < 1_000_000


LEAVES = (
    ("response_time_ms", "p50"),
    ("response_time_ms", "p95"),
    ("response_time_ms", "p99"),
    ("response_time_ms", "mean"),
    ("figures", "memory_usage_gb"),
    ("telemetry", "batch_size_achieved"),
    ("telemetry", "server_cpu_cores"),
    ("telemetry", "queue_time_ms"),
    ("telemetry", "compute_time_ms"),
    ("telemetry", "counters_offset_s"),
    ("histogram",),
    ("timeline",),
    ("images_per_s",),
    ("cold_start_s",),
    ("serving_efficiency",),
    ("warmup_s",),
    ("stages",),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    missing=st.lists(st.sets(st.sampled_from(LEAVES)), min_size=1, max_size=3),
    is_staged=st.booleans(),
    validity=st.sampled_from(["valid", "errors", "unstable", "wrong_output"]),
)
def test_what_is_missing_is_never_drawn(
    missing: list[set[tuple[str, ...]]], is_staged: bool, validity: str
) -> None:
    """Any figure may be missing: no plot fails, none has NaN, and no bar stands for nothing."""
    records = []
    for number, paths in enumerate(missing):
        record = deepcopy(told(saved_record(stack=f"stack{number}", validity=validity)))
        record = staged(record) if is_staged else record
        for *above, last in paths:
            place = record
            for key in above:
                place = place[key]
            place[last] = None
        records.append(record)
    plots = plots_of([run_of(*records)])
    for plot in plots:
        json.dumps(plot.spec, allow_nan=False)
    for name, path in (("throughput", ("images_per_s",)), ("cold-start", ("cold_start_s",))):
        there = sum(path not in paths for paths in missing)
        plot = drawn(plots, name)
        assert len(bars_in(plot)) == there
        assert bool(plot.absent) == (not there)


def fields_in(spec: Any) -> Iterator[str]:
    """Yield the fields that a specification draws or makes."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("field"), str):
            yield spec["field"]
        yield from spec["as"] if isinstance(spec.get("as"), list) else ()
        for part in spec.values():
            yield from fields_in(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from fields_in(part)


def test_no_field_has_the_name_of_one_of_vegas() -> None:
    """A field called count is overwritten where lines are told apart, and all lines become one."""
    records = [staged(told(saved_record())), told(at_load(1)), told(at_load(4, 2.0))]
    for plot in plots_of([run_of(*records)]):
        assert "count" not in set(fields_in(plot.spec)), plot.name


def test_the_line_on_top_is_the_dashed_one() -> None:
    """What was offered is seen where all of it was sent."""
    plot = drawn(plots_of([run_of(staged(saved_record()))]), "time-line-1")
    (fold,) = [
        each["fold"] for layer in plot.spec["layer"] for each in layer.get("transform", ()) if "fold" in each
    ]
    assert fold == ["sent", "correct", "failed", "dropped", "offered"]


def test_trials_of_a_search_are_a_curve() -> None:
    """A search asked many loads: each rate once, a failed one in doubt, at the objective's percentile."""
    trial = {"sustained": False, "verdict": "pass"}
    trials = [
        {**trial, "rate_per_s": 10.0, "percentile_ms": 5.0},
        {**trial, "rate_per_s": 20.0, "percentile_ms": 90.0, "verdict": "fail"},
        {**trial, "rate_per_s": 10.0, "percentile_ms": 6.0, "sustained": True},
        {**trial, "rate_per_s": 40.0, "percentile_ms": None, "verdict": "fail"},
    ]
    search = {"objective": "p99<=50ms,errors<1%", "trials": trials, "last_passing_per_s": 10.0}
    record = saved_record(capacity=search)
    points = [
        each for each in data_of(drawn(plots_of([run_of(record)]), "load-curve").spec) if "images" in each
    ]
    assert [(each["images"], each["ms"], each["doubt"]) for each in points] == [
        (10.0, 6.0, ""),
        (20.0, 90.0, "fail"),
    ]
    assert {each["percentile"] for each in points} == {"p99"}
