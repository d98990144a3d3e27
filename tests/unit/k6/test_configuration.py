"""What the script is told: the scenario, and every request as the stack encoded it."""

from __future__ import annotations

import pytest

from pytest_servebench.arrivals import Constant
from pytest_servebench.errors import LoadError
from pytest_servebench.k6.configuration import BODIES_LIMIT_BYTES, configuration
from pytest_servebench.plan import Load, WireProtocol, WireRequest

LOAD = Load(concurrency=2, warmup_s=0.5, duration_s=2, timeout_s=3, verify_share=0.25, seed=7)


def request(body: bytes = b"x", headers: tuple[tuple[str, str], ...] = ()) -> WireRequest:
    """Return a request."""
    return WireRequest(protocol=WireProtocol.HTTP, path="/v2/m?a=%20", body=body, headers=headers)


def test_requests_are_told_as_they_are() -> None:
    """Method, address, headers, and where the body lies; a request without one has no file."""
    asked = [request(headers=(("Content-Type", "a/b"), ("X-N", "1"))), request(b"")]
    told = configuration(LOAD, asked, "127.0.0.1:80", ["/proc/1/fd/5", ""])
    assert told["requests"] == [
        {
            "method": "POST",
            "url": "http://127.0.0.1:80/v2/m?a=%20",
            "headers": {"Content-Type": "a/b", "X-N": "1"},
            "body_file": "/proc/1/fd/5",
        },
        {"method": "POST", "url": "http://127.0.0.1:80/v2/m?a=%20", "headers": {}, "body_file": ""},
    ]
    assert (told["virtual_users"], told["timeout_ms"], told["scenario"]["vus"]) == (2, 3000, 2)


def test_replies_are_kept_in_the_window_only() -> None:
    """A closed loop's first users keep one in each slice, an open loop one in so many; a share more."""
    kept = configuration(LOAD, [request()], "h:1", ["f"])["keep"]
    assert (kept["from_ms"], kept["until_ms"], kept["share"], kept["seed"]) == (500, 2500, 0.25, 7)
    assert (kept["every"], kept["slices"]) == (0, 8)
    paced = Load(arrivals=Constant(80), warmup_s=0.5, duration_s=2)
    assert configuration(paced, [request()], "h:1", ["f"])["keep"]["every"] == 20
    # A stride of 20 would meet but one of 4 requests.
    assert configuration(paced, [request()] * 4, "h:1", ["f"] * 4)["keep"]["every"] == 19
    assert configuration(Load(verify_share=0), [request()], "h:1", ["f"])["keep"] is None


def test_a_header_given_twice_is_refused() -> None:
    """k6 would send one of them; the server would not be asked what the stack asks."""
    with pytest.raises(
        LoadError, match=r"k6 cannot send a header twice[\s\S]*x-a, x-a[\s\S]*join their values"
    ):
        configuration(LOAD, [request(headers=(("X-A", "1"), ("x-a", "2")))], "h:1", ["f"])


def test_bodies_that_would_fill_the_memory_are_refused() -> None:
    """Each virtual user holds its own; the error names the numbers and what to lower."""
    body = bytes(BODIES_LIMIT_BYTES // 100)
    with pytest.raises(LoadError, match=r"101 users, bodies of up to \d+ bytes[\s\S]*--serve-max-in-flight"):
        configuration(Load(concurrency=101), [request(body)], "h:1", ["f"])
    assert configuration(Load(concurrency=99), [request(body)], "h:1", ["f"])
