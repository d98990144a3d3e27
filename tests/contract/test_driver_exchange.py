"""One request and its reply, as every driver does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Driver
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer
from tests.loads import posts


@pytest.fixture
def driver() -> Driver:
    """Return the driver under contract."""
    return LoadDriver()


def test_an_exchange_returns_the_reply_whatever_its_status(driver: Driver) -> None:
    """Status, lower-case headers and body come back, of an error as of a success."""
    with ScriptedServer([ScriptedReply(body=b"yes"), ScriptedReply(status=503, body=b"full")]) as server:
        first, second = (driver.exchange(server.endpoint(), posts(1)[0], 5.0) for _ in range(2))
        assert (first.status, first.body, first.headers["content-type"]) == (200, b"yes", "application/json")
        assert (second.status, second.body) == (503, b"full")
        assert server.connections == 2
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (ScriptedReply(ending=Ending.SILENCE), "no reply within 0.1 s"),
        (ScriptedReply(body=b"x" * 100, ending=Ending.CUT), "closed the connection inside the reply's"),
        (ScriptedReply(body=b"", ending=Ending.RESET), "(ECONNRESET)"),
        (ScriptedReply(raw=b"SSH-2.0\r\n"), "no HTTP/1.x status line"),
        (ScriptedReply(raw=b"", ending=Ending.CLOSE), "without a reply"),
    ],
)
def test_an_exchange_without_reply_says_what_happened_where(
    driver: Driver, reply: ScriptedReply, seen: str
) -> None:
    """Each failure is a LoadError with the address, what was seen, and what to do next."""
    with ScriptedServer(reply) as server, pytest.raises(LoadError) as caught:
        driver.exchange(server.endpoint(), posts(1)[0], 0.1 if reply.ending is Ending.SILENCE else 5.0)
    assert seen in caught.value.seen
    assert caught.value.where == f"POST 127.0.0.1:{server.port}/r/0"
    assert caught.value.next_step


def test_an_exchange_with_nobody_there_is_refused(driver: Driver) -> None:
    """A closed port and an unknown host are errors in words."""
    with ScriptedServer() as server:
        endpoint = server.endpoint()
    with pytest.raises(LoadError, match="ECONNREFUSED"):
        driver.exchange(endpoint, posts(1)[0], 1.0)
    with pytest.raises(LoadError, match="has no grpc port"):
        driver.exchange(endpoint, replace(posts(1)[0], port_role="grpc"), 1.0)


def test_an_exchange_of_any_shape_is_whole(driver: Driver) -> None:
    """Interim replies, chunks, drips, bodies without length and large ones arrive as they were sent."""
    large = bytes(range(256)) * 4000
    shapes = [
        ScriptedReply(body=large),
        ScriptedReply(body=large[:3000], chunked=True, interim=(100, 103)),
        ScriptedReply(body=large[:50], drip_bytes=3),
        ScriptedReply(body=large, unframed=True, ending=Ending.CLOSE),
    ]
    with ScriptedServer(shapes) as server:
        assert [driver.exchange(server.endpoint(), posts(1)[0], 5.0).body for _ in shapes] == [
            shape.body for shape in shapes
        ]


def test_an_exchange_hears_a_refusal_given_before_the_body_was_read(driver: Driver) -> None:
    """A 413 that comes while 19 MB are still being sent is the reply."""
    with ScriptedServer(ScriptedReply(status=413, body=b"too large"), reads_bodies=False) as server:
        assert driver.exchange(server.endpoint(), posts(1, 19_000_000)[0], 5.0).status == 413
