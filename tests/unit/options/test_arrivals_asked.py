"""Arrivals are read from their text, and what is wrong is told with its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.arrivals import (
    REFERENCE,
    Arrivals,
    Constant,
    Poisson,
    Replay,
    Stage,
    Staged,
    text_of,
)
from pytest_servebench.errors import PlanError
from pytest_servebench.options.arrivals import parse_arrivals
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.given import Given
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import Case, Plan
from tests.asking import given
from tests.offered_stack import THREE

FLAG = "--serve-arrivals"


def read(text: str) -> Arrivals | None:
    """Return what ``text`` means on the command line."""
    return parse_arrivals(given(text, FLAG))


def cases(asked: str = "", *, plan: dict[str, Any] | None = None, **marker: Any) -> tuple[Case, ...]:
    """Return a benchmark's cases when the user asked for these arrivals."""
    fields: dict[str, Any] = {
        "stacks": ("triton",),
        "batch_sizes": (1, 8),
        "duration_s": 4.0,
        "warmup_s": 1.0,
    }
    fields |= plan or {}
    if asked:
        fields["arrivals"] = read(asked)
        fields["settings"] = {**fields.get("settings", {}), "arrivals": asked}
    return cases_for(Plan(**fields), stacks_offer=THREE, **marker_arguments(marker, where="t.py::t"))


@pytest.mark.parametrize(
    ("text", "arrivals"),
    [
        ("closed", None),
        ("constant:100", Constant(100)),
        (" poisson: 0.5 ", Poisson(0.5)),
        ("reference", REFERENCE),
        ("stages:2m:100", Staged(stages=(Stage(120, 100),))),
        (
            "stages:0:2m:100, 5m:100,0s:20,500ms:0",
            Staged(stages=(Stage(120, 100), Stage(300, 100), Stage(0, 20), Stage(0.5, 0))),
        ),
        ("poisson-stages:30:10:50", Staged(stages=(Stage(10, 50),), start_per_s=30.0, random=True)),
    ],
)
def test_each_form_is_understood_and_printed_so_that_it_is_understood_again(
    text: str, arrivals: Arrivals | None
) -> None:
    """What a record says can be asked for."""
    assert read(text) == arrivals
    assert read(text_of(arrivals)) == arrivals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poison:5", "does not know 'poison': did you mean poisson?"),
        ("", "does not know ''"),
        ("poisson", "has no rate in poisson: ''"),
        ("constant:fast", "has no rate in constant: 'fast'"),
        ("constant:-1", "has no rate in constant: '-1'"),
        ("constant:2000000", "has no rate in constant: '2000000'"),
        ("constant:0.000000000001", "has no rate in constant: '0.000000000001'"),
        ("poisson:0", "has a rate of 0 in poisson: nothing would arrive"),
        ("reference:2", "takes nothing after reference"),
        ("stages:", "has no TIME:RATE in stage 1: ''"),
        ("stages:2m:100,5m", "has no TIME:RATE in stage 2: '5m'"),
        ("stages:2m:100,0:5m:1", "has no TIME:RATE in stage 2: '0:5m:1'"),
        ("stages:x:2m:100", "has no rate in the start of stage 1: 'x'"),
        ("stages:2m:100,5m:lots", "has no rate in stage 2: 'lots'"),
        ("stages:2m:100,5y:100", "stage 2 is not a time from 0 s to 24 h: '5y'"),
        ("stages:2m:0,0:50", "has stages in which nothing arrives"),
        ("replay:none.txt", "names a file that cannot be read"),
        ("replay:", "has an empty value"),
    ],
)
def test_wrong_arrivals_name_their_place(text: str, message: str) -> None:
    """The stage that is wrong, what stands there, and where it was written."""
    with pytest.raises(PlanError) as caught:
        read(text)
    assert caught.value.what.startswith(f"{FLAG} {message}")
    assert caught.value.where == "command line"
    if "has no rate in" in message:
        assert "as in constant:100" in caught.value.next_step


def test_a_replays_file_is_relative_to_where_it_was_named_and_checked_at_once(tmp_path: Path) -> None:
    """A trace that is wrong is told before any server is launched, with its line."""
    (tmp_path / "t.txt").write_text("0\n0.5\n")
    here = Given(flag=FLAG, text="replay:t.txt", base=tmp_path)
    assert parse_arrivals(here) == Replay(path=tmp_path / "t.txt", length_s=0.5)
    (tmp_path / "t.txt").write_text("0\n0.5\n0.4\n")
    with pytest.raises(PlanError, match=r"--serve-arrivals: .*t\.txt has an offset") as caught:
        parse_arrivals(here)
    assert caught.value.where == f"{tmp_path}/t.txt, line 3"


def test_a_trace_that_would_be_read_for_ever_is_not_begun(tmp_path: Path) -> None:
    """A device, a pipe, a folder: their end is nobody's to know."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(PlanError) as caught:
            read(f"replay:{path}")
        assert (caught.value.what, caught.value.seen) == (f"{FLAG} names what is no regular file", str(path))


def test_a_trace_that_is_too_large_is_told_unread(tmp_path: Path) -> None:
    """Up to 64 MiB are read into memory."""
    trace = tmp_path / "t.txt"
    with trace.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(PlanError) as caught:
        read(f"replay:{trace}")
    assert caught.value.what == f"{FLAG} names a file that is too large for a trace"
    assert caught.value.seen == f"{trace}: 67108865 bytes"
    assert caught.value.next_step == "give a file of at most 67108864 bytes"


def test_a_benchmark_without_a_word_follows_the_user() -> None:
    """Every batch size is asked then: arrivals, not the number in flight, decide what can be batched."""
    assert [case.id for case in cases()] == [
        "triton-onnx-tensor-http-b8-i1-c1",
        "triton-pytorch-tensor-http-b8-i1-c1",
    ]
    assert [case.id for case in cases("poisson:50")] == [
        "triton-onnx-tensor-http-b1-i1-poisson-50",
        "triton-onnx-tensor-http-b8-i1-poisson-50",
        "triton-pytorch-tensor-http-b1-i1-poisson-50",
        "triton-pytorch-tensor-http-b8-i1-poisson-50",
    ]


def test_a_closed_benchmark_stays_closed_and_an_open_one_waits_to_be_asked() -> None:
    """What a benchmark means holds; one that needs arrivals has no case without them."""
    assert {case.load.arrivals for case in cases("poisson:50", arrivals="closed")} == {None}
    assert cases(arrivals="open") == ()
    assert cases("closed", arrivals="open") == ()
    assert {case.load.arrivals for case in cases("poisson:50", arrivals="open")} == {Poisson(50)}


def test_a_benchmarks_own_arrivals_hold_until_the_user_chooses() -> None:
    """As with its payloads."""
    assert {case.load.arrivals for case in cases(arrivals="constant:9")} == {Constant(9)}
    assert {case.load.arrivals for case in cases("poisson:50", arrivals="constant:9")} == {Poisson(50)}
    assert {case.load.arrivals for case in cases("closed", arrivals="constant:9")} == {None}


def test_the_cap_reaches_the_load() -> None:
    """``--serve-max-in-flight`` is the user's word."""
    assert {case.load.max_in_flight for case in cases("poisson:5", plan={"max_in_flight": 64})} == {64}


def test_stages_last_as_long_as_they_say_and_the_warm_up_is_their_first_part() -> None:
    """Two stages of 16 minutes are not cut by a default of four seconds."""
    load = cases("reference")[0].load
    assert (load.warmup_s, load.duration_s, load.arrivals) == (1.0, 959.0, REFERENCE)


@pytest.mark.parametrize("fields", [{"quick": True}, {"settings": {"duration": "4"}}])
def test_stages_keep_their_rates_within_a_time_that_was_asked_for(fields: dict[str, Any]) -> None:
    """A short form is the same shape, so that it still shows every stage."""
    case = cases("reference", plan=fields)[0]
    load = case.load
    assert (load.warmup_s, load.duration_s) == (1.0, 4.0)
    assert isinstance(load.arrivals, Staged)
    assert load.arrivals.length_s == pytest.approx(5.0)
    assert [stage.per_s for stage in load.arrivals.stages] == [100, 100, 500, 500, 0]
    assert case.id.endswith("-i1-reference-in-5s")


def test_a_trace_is_cut_by_a_time_that_was_asked_for_and_never_stretched(tmp_path: Path) -> None:
    """Its gaps are what was recorded."""
    (tmp_path / "t.txt").write_text("0\n9\n")
    asked = f"replay:{tmp_path}/t.txt"
    assert cases(asked)[0].load.duration_s == pytest.approx(8.05)
    assert cases(asked, plan={"quick": True})[0].load.duration_s == 4.0
    long = {"settings": {"duration": "1m"}, "duration_s": 60.0}
    assert cases(asked, plan=long)[0].load.duration_s == pytest.approx(8.05)
    with pytest.raises(PlanError, match="the warm-up takes all the arrivals there are"):
        cases(asked, plan={"warmup_s": 9.0})


def test_an_open_loop_goes_over_grpc_too() -> None:
    """Arrivals do not depend on what the requests travel in."""
    case = cases("poisson:50", protocols="grpc")[0]
    assert (str(case.protocol), case.load.arrivals) == ("grpc", Poisson(50))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (50, "the marker servebench has a wrong arrivals: 50"),
        ("poison:5", "the marker servebench, arrivals: does not know 'poison': did you mean poisson?"),
        ("stages:1", "the marker servebench, arrivals: has no TIME:RATE in stage 1: '1'"),
    ],
)
def test_a_wrong_marker_says_where(value: object, message: str) -> None:
    """A marker is checked like the option."""
    with pytest.raises(PlanError) as caught:
        marker_arguments({"arrivals": value}, where="t.py::t")
    assert (caught.value.what, caught.value.where) == (message, "t.py::t")


def test_only_what_may_be_steady_is_steered() -> None:
    """Stages change their rate on purpose: their warm-up has its length, and all of them is measured."""
    steered = {"steady": True, "precision": 0.05, "warmup_s": 10.0}
    for asked in ("", "constant:50", "poisson:50"):
        load = cases(asked, plan=steered)[0].load
        assert (load.steady, load.precision, load.warmup_s) == (True, 0.05, 10.0)
    load = cases("stages:5s:100", plan=steered)[0].load
    assert (load.steady, load.precision, load.warmup_s, load.duration_s) == (False, None, 1.0, 4.0)
