"""What limits a case, by the split that was measured; what no server tells is not guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plan import Payload
from pytest_servebench.reports.findings.bottleneck import Bottleneck, bottleneck_of
from pytest_servebench.reports.findings.measured import measured_cases
from pytest_servebench.reports.findings.split import Split, split_of
from tests.found_records import found_record, found_replicates

UNKNOWN = "queue, compute, transport and preprocessing are known together only, 10.0 ms: "


def limit(*, told: dict[str, Any] | None = None, **changes: Any) -> Bottleneck:
    """Return what limits a case of 10 ms per request in a window of 2 s."""
    (case,) = measured_cases([found_record(telemetry=told, **changes)])
    return bottleneck_of(case)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"queue_time_ms": 1.0, "compute_time_ms": 8.0}, "compute"),
        ({"queue_time_ms": 7.0, "compute_time_ms": 2.0, "executions": 900}, "compute"),
        ({"queue_time_ms": 7.0, "compute_time_ms": 2.0, "executions": 100}, "queue"),
        ({"queue_time_ms": 7.0, "compute_time_ms": 2.0, "executions": None}, "queue"),
        ({"queue_time_ms": 1.0, "compute_time_ms": 2.0}, "transport"),
    ],
    ids=["compute", "queue behind a busy engine", "queue beside an idle one", "not known", "around"],
)
def test_the_largest_part_is_the_limit(told: dict[str, Any], word: str) -> None:
    """But a queue that waits for executions which fill the window is the computation's."""
    found = limit(told=told)
    assert found.limit == word
    assert found.sentence.startswith(f"{word}: of 10.0 ms per request queue ")


def test_the_sentence_has_the_split() -> None:
    """Every part with its share, and what else tells of it."""
    assert limit().sentence == (
        "compute: of 10.0 ms per request queue 2.00 ms (20%), compute 7.00 ms (70%), transport 1.00 ms (10%);"
        " executions filled at most 70% of the window: this load leaves room; the server used 1.5 cores,"
        " the client 25% of one"
    )


@pytest.mark.parametrize(
    ("stack", "around", "computes"),
    [
        ("fastapi", "transport and preprocessing", "compute"),
        ("triton", "transport and preprocessing", "compute"),
        ("torchserve", "transport", "compute and preprocessing together"),
        ("mine", "transport and preprocessing", "compute"),
    ],
)
def test_preprocessing_is_named_where_it_is_hidden(stack: str, around: str, computes: str) -> None:
    """Encoded images are preprocessed within a part that no counter divides: it has both names."""
    told = {"queue_time_ms": 1.0, "compute_time_ms": 2.0}
    found = limit(stack=stack, payload=Payload.JPEG, told=told)
    assert found.limit == around
    assert f", {computes} 2.00 ms (20%), {around} 7.00 ms (70%)" in found.sentence


def test_a_server_that_does_not_tell_is_not_guessed() -> None:
    """The parts are known together only, with the server's reason."""
    told = {"compute_time_ms": None, "absent": {"compute_time_ms": "it has no such counter"}}
    found = limit(told=told)
    assert (found.limit, found.split) == ("", None)
    assert found.sentence == f"not told: {UNKNOWN}it has no such counter"


def test_counters_of_another_time_are_not_the_windows() -> None:
    """Those of the whole load, and those that tell more time than there was, split nothing."""
    assert "are of the whole load" in limit(told={"counters_offset_s": None}).sentence
    assert "the server tells 22.0 ms per request and the client saw 10.0 ms" in (
        limit(told={"queue_time_ms": 15.0}).sentence
    )


def test_a_run_that_may_not_be_believed_has_no_limit_but_its_client() -> None:
    """Who was limited by its client says so; of others nothing is told."""
    limited = limit(validity="client_limited", reason="the client used 95% of a core")
    assert (limited.limit, limited.sentence) == ("client", "client: the client used 95% of a core")
    unstable = limit(validity="unstable", reason="p95 drifts")
    assert (unstable.limit, unstable.sentence) == ("", "not told: the run is unstable: p95 drifts")


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


def test_replicates_are_joined_by_medians() -> None:
    """One repeat without a split leaves the case without one."""
    records = found_replicates(100)
    for record, compute_ms in zip(records, (5.0, 7.0, 6.0, 8.0, 4.0), strict=True):
        record["telemetry"]["compute_time_ms"] = compute_ms
    (case,) = measured_cases(records)
    assert "compute 6.00 ms (60%)" in bottleneck_of(case).sentence
    records[0]["telemetry"]["queue_time_ms"] = None
    (case,) = measured_cases(records)
    assert bottleneck_of(case).split is None


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
    if queue is None or compute is None or queue + compute > 11:
        assert isinstance(found, str)
    else:
        assert isinstance(found, Split)
        assert found.rest_ms >= 0
        assert found.rest_ms <= found.service_ms
