"""What k6 wrote becomes the samples that our own sender would have left."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.k6.output import K6Output, key_of
from pytest_servebench.k6.samples import NEVER, NOBODY, Columns, columns_of, kept_replies, told_of
from pytest_servebench.samples import Outcome
from tests.unit.k6.recorded import CONSOLE, SEEN_BY_THE_SERVER, START_NS, recorded

OFFSET_NS = 1_000_000_000_000_000_000


@pytest.fixture(scope="module")
def columns() -> Columns:
    """Return the recorded run's columns, on a clock of their own."""
    return columns_of(recorded(), OFFSET_NS)


def counts(columns: Columns) -> dict[str, int]:
    """Return how often each outcome is among them."""
    found, numbers = np.unique(columns.outcome, return_counts=True)
    return {Outcome(int(o)).name: int(n) for o, n in zip(found, numbers, strict=True)}


def test_every_outcome_is_told_apart(columns: Columns) -> None:
    """In the order of the script: well, none, 500, reset, silent (five dropped), well, cut, 302, 404."""
    assert counts(columns) == {
        "OK": 4,
        "HTTP_ERROR": 4,
        "TRANSPORT_ERROR": 3,
        "TIMEOUT": 2,
        "DROPPED": 25 - SEEN_BY_THE_SERVER,
        "WRONG": 2,
    }
    names = [Outcome(int(one)).name for one in columns.outcome]
    assert names[:5] == ["OK", "WRONG", "HTTP_ERROR", "TRANSPORT_ERROR", "TIMEOUT"]
    assert names[5:10] == ["DROPPED"] * 5


def test_instants_are_those_of_the_monotonic_clock(columns: Columns) -> None:
    """Sent is the end less k6's duration; a dropped arrival was neither sent nor received."""
    sent = columns.sent_ns != NEVER
    assert np.array_equal(sent, columns.outcome != Outcome.DROPPED)
    assert np.all(np.diff(columns.begun_ns) >= 0)
    assert np.array_equal(columns.sent_ns[sent], columns.begun_ns[sent])
    assert set(columns.received_ns[~sent]) == {NEVER}
    assert set(columns.request_index[~sent]) == {NOBODY}
    spans_ms = (columns.received_ns - columns.sent_ns)[sent] / 1e6
    assert spans_ms[0] == pytest.approx(20, abs=15)
    assert np.all(spans_ms[columns.outcome[sent] == Outcome.TIMEOUT] >= 250)
    assert columns.begun_ns[0] >= START_NS - OFFSET_NS - 1_000_000


def test_kept_replies_are_those_of_correct_requests_in_the_window(columns: Columns) -> None:
    """Each lies where its request lies; what came outside the window, or was wrong, proves nothing."""
    told = told_of(CONSOLE)
    assert told.start_ns == START_NS
    begin_ns = START_NS - OFFSET_NS + 200_000_000
    kept = kept_replies(told, columns, (begin_ns, begin_ns + 1_000_000_000))
    assert len(kept) >= 2
    for at, reply in kept.items():
        assert columns.outcome[at] == Outcome.OK
        assert json.loads(reply.body) == {"predictions": [{"class_id": 3}]}
        assert reply.headers["content-type"] == "application/json"
    assert kept_replies(told, columns, (0, begin_ns)) == {}
    everything = kept_replies(told, columns, (0, 2**62))
    assert set(kept) <= set(everything)
    assert len(told.replies) > len(everything)


def test_a_load_of_nothing_is_nothing() -> None:
    """No request, no drop: empty arrays, and nobody told when it began."""
    empty = columns_of(K6Output(), OFFSET_NS)
    assert len(empty.sent_ns) == len(empty.outcome) == 0
    assert told_of("").start_ns == NEVER
    assert kept_replies(told_of(""), empty, (0, 1)) == {}


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (200, 0, Outcome.OK),
        (204, 0, Outcome.HTTP_ERROR),
        (302, 0, Outcome.HTTP_ERROR),
        (503, 1503, Outcome.HTTP_ERROR),
        (0, 1050, Outcome.TIMEOUT),
        (200, 1050, Outcome.TIMEOUT),
        (0, 1212, Outcome.TRANSPORT_ERROR),
        (200, 1000, Outcome.TRANSPORT_ERROR),
    ],
)
def test_outcomes_follow_status_and_error(status: int, code: int, outcome: Outcome) -> None:
    """A status of 200 whose body broke off, or came too late, is no reply."""
    output = recorded(
        b"metric_name,timestamp,metric_value,check,error,error_code,name,status,metadata\n"
        b"http_req_duration,9,1,,e,%d,0,%d,vu=1&iter=0\n" % (code, status)
    )
    assert list(columns_of(output, 0).outcome) == [outcome]
    output.no_predictions.add(key_of(1, 0))
    wrong = Outcome.WRONG if outcome is Outcome.OK else outcome
    assert list(columns_of(output, 0).outcome) == [wrong]


@pytest.mark.parametrize("line", ["not json", '{"vu": 1}', '{"start_ms": "soon"}', "[1]"])
def test_a_script_that_tells_something_else_is_an_error(line: str) -> None:
    """Nothing is guessed; the error shows what was told."""
    with pytest.raises(LoadError, match=r"tells something else[\s\S]*staged_load\.js"):
        told_of(line)
