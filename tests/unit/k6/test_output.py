"""k6's own words on every request are read as they come, whatever pieces they come in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import LoadError
from pytest_servebench.k6.output import K6Output, key_of
from tests.unit.k6.recorded import CSV, SEEN_BY_THE_SERVER, recorded

HEADER = CSV.splitlines(keepends=True)[0]


def test_every_request_of_a_recorded_run_is_read() -> None:
    """As many as the server saw, with status, error, time and iteration; drops apart."""
    output = recorded()
    assert len(output) == SEEN_BY_THE_SERVER == len(output.status) == len(output.key)
    assert sorted(set(output.status)) == [0, 200, 302, 404, 500]
    assert set(output.error_code) == {0, 1000, 1050, 1404, 1500}
    assert len(output.dropped_ns) == 25 - SEEN_BY_THE_SERVER
    assert output.duration_ns[0] > 20_000_000
    assert list(output.key) == [key_of(1, number) for number in range(len(output))]
    assert output.first_error == "HTTP 500 (k6 error 1500)"
    assert output.broken == output.error_code.count(1000) > 0
    assert output.correct == output.status.count(200)


def test_failed_checks_of_predictions_name_their_iteration() -> None:
    """The second answer held none; other checks that fail are k6's business."""
    output = recorded()
    assert key_of(1, 1) in output.no_predictions
    assert key_of(1, 0) not in output.no_predictions


@settings(max_examples=30)
@given(st.lists(st.integers(1, len(CSV)), max_size=12))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    """A line may come in halves."""
    output, edges = K6Output(), [0, *sorted(cuts), len(CSV)]
    for begin, end in pairwise(edges):
        output.feed(CSV[begin:end])
    assert output == recorded()


def test_an_error_text_may_hold_commas_quotes_and_lines() -> None:
    """k6 quotes it as CSV does; the rows after it are still rows."""
    text = b'"dial: ""x"",\nrefused"'
    row = b"http_req_duration,5,1.5,,%s,1212,,3,0,,vu=2&iter=9\n"
    output = recorded(HEADER + row % text + row % b"plain")
    assert list(output.request_index) == [3, 3]
    assert list(output.duration_ns) == [1_500_000, 1_500_000]
    assert output.first_error == 'dial: "x",\nrefused (k6 error 1212)'


def test_columns_may_stand_in_another_order() -> None:
    """The header tells where each is, so a column more does no harm."""
    csv = (
        b"metric_name,timestamp,metric_value,new,name,status,check,error,error_code,metadata\n"
        b"http_req_duration,7,2,x,1,200,,,,iter=4&vu=3\n"
    )
    output = recorded(csv)
    assert (list(output.request_index), list(output.status), list(output.key)) == ([1], [200], [key_of(3, 4)])


@pytest.mark.parametrize(
    "row",
    [
        b"http_req_duration,soon,1,,,,,0,200,,vu=1&iter=0\n",
        b"http_req_duration,5,1,,,,,0,200,,\n",
        b"http_req_duration,5\n",
    ],
)
def test_other_words_are_an_error(row: bytes) -> None:
    """A k6 that writes something else is not guessed at; the error shows the line."""
    with pytest.raises(
        LoadError, match=r"k6 writes something else[\s\S]*http_req_duration,[\s\S]*1\.1 is known"
    ):
        recorded(HEADER + row)
    with pytest.raises(LoadError, match="something else"):
        recorded(b"time,value\n")
