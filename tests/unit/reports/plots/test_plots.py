"""The page's plots: what they draw of records, and nothing else."""

from __future__ import annotations

import pytest

from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.plots import plots_of
from pytest_servebench.reports.plots.shown import shown_cases
from pytest_servebench.reports.repeats import joined_rows
from tests.plotted import at_load, bars_in, data_of, drawn, full_run, run_of, staged, told
from tests.saved_records import repeats, saved_record


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


def test_runs_of_a_load_each_are_not_named_in_legends() -> None:
    """A name in every label would make as many lines of a legend as there are runs."""
    cases = shown_cases([run_of(at_load(1), name="a"), run_of(at_load(8), name="b")])
    assert {case.label for case in cases} == {"fastapi onnx"}


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


def test_lines_differ_without_their_colours() -> None:
    """In grey too: six lines have six dashes, and of more at least those of one stack differ."""
    for count, different in ((3, 6), (6, 2)):
        stacks = [f"stack{number}" for number in range(count)]
        forms = (ModelFormat.ONNX, ModelFormat.PYTORCH)
        records = [saved_record(stack=stack, model_format=form) for stack in stacks for form in forms]
        plot = drawn(plots_of([run_of(*records)]), "distribution")
        (scale,) = (
            layer["encoding"]["strokeDash"]["scale"]
            for layer in plot.spec["layer"]
            if "strokeDash" in layer["encoding"]
        )
        dashes = dict(zip(scale["domain"], map(tuple, scale["range"]), strict=True))
        assert len(dashes) == 2 * count
        assert len(set(dashes.values())) == different
        assert all(dashes[f"{stack} onnx"] != dashes[f"{stack} pytorch"] for stack in stacks)
