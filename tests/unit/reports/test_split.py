"""The parts of a request's time, as far as client and server tell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.reports.split import Split, joined_splits, split_of
from tests.found_records import found_record

UNKNOWN = "queue, compute, transport and preprocessing are known together only, 10.0 ms: "


def test_a_server_that_does_not_tell_is_not_guessed() -> None:
    """The parts are known together only, with the server's reason."""
    told = {"compute_time_ms": None, "absent": {"compute_time_ms": "it has no such counter"}}
    assert split_of(found_record(telemetry=told)) == f"{UNKNOWN}it has no such counter"


def test_counters_of_another_time_are_not_the_windows() -> None:
    """Those of the whole load, and those that tell more time than there was, split nothing."""
    assert "are of the whole load" in str(split_of(found_record(telemetry={"counters_offset_s": None})))
    assert "the server tells 22.0 ms per request and the client saw 10.0 ms" in (
        str(split_of(found_record(telemetry={"queue_time_ms": 15.0})))
    )


def test_one_replicate_without_a_split_leaves_the_case_without_one() -> None:
    """Medians of some of them would be of other repeats than the figures beside them."""
    some = Split(service_ms=10.0, queue_ms=1.0, compute_ms=2.0)
    assert joined_splits([some, "it does not tell", some]) == "it does not tell"
    assert joined_splits([some]) == some
    assert joined_splits([]) == "nothing was measured"


def test_torchserves_way_to_its_worker_is_transport() -> None:
    """Its computation is the handler's time where that is told; what lies around it no counter has."""
    found = split_of(found_record(stack="torchserve", telemetry={"handler_time_ms": 4.0}))
    assert isinstance(found, Split)
    assert (found.compute_ms, found.rest_ms) == (4.0, 4.0)


def test_few_executions_say_nothing_of_how_busy_the_engine_was() -> None:
    """One of four may lie across an edge of the window."""
    few, enough = (split_of(found_record(telemetry={"executions": count})) for count in (4, 5))
    assert isinstance(few, Split)
    assert isinstance(enough, Split)
    assert few.busy is None
    assert enough.busy == pytest.approx((0.014, 0.021))
    assert not few.is_full
    assert not few.leaves_room


@given(
    queue=st.one_of(st.none(), st.floats(0, 30)),
    compute=st.one_of(st.none(), st.floats(0, 30)),
    executions=st.one_of(st.none(), st.integers(0, 10_000)),
)
def test_parts_are_never_more_than_the_whole_nor_made_up(
    queue: float | None, compute: float | None, executions: int | None
) -> None:
    """A split has every part, none below 0; a missing figure gives none."""
    told = {"queue_time_ms": queue, "compute_time_ms": compute, "executions": executions}
    found = split_of(found_record(telemetry=told))
    if queue is None or compute is None or queue + compute > 11.01:
        assert isinstance(found, str)
    elif queue + compute > 10.99:
        return  # whichever way the last bit rounds
    else:
        assert isinstance(found, Split)
        assert found.rest_ms >= 0
        assert found.rest_ms <= found.service_ms
