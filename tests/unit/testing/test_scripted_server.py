"""Rules of the scripted server, seen by an independent client."""

from __future__ import annotations

import httpx
import pytest

from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer, SeenRequest


def url(server: ScriptedServer, path: str = "/") -> str:
    """Return the server's address as httpx takes it."""
    return f"http://{server.endpoint().authority()}{path}"


def test_it_answers_in_turn_and_remembers_what_it_saw() -> None:
    """Replies come in the script's order, over again; requests are kept with connection, path and body."""
    script = [ScriptedReply(body=b"a"), ScriptedReply(status=503, body=b"b", chunked=True)]
    with ScriptedServer(script) as server, httpx.Client() as client:
        replies = [client.post(url(server, f"/{i}"), content=b"x%d" % i) for i in range(3)]
        assert [(r.status_code, r.content) for r in replies] == [(200, b"a"), (503, b"b"), (200, b"a")]
        assert [(r.path, r.body, r.connection) for r in server.requests] == [
            ("/0", b"x0", 1),
            ("/1", b"x1", 1),
            ("/2", b"x2", 1),
        ]
    # Left: a reply is counted when it has been sent, which may be after it has come.
    assert (server.connections, len(server.served_ns)) == (1, 3)


def test_a_function_decides_by_the_request() -> None:
    """A script may depend on what was asked."""

    def script(seen: SeenRequest) -> ScriptedReply:
        return ScriptedReply(body=seen.body[::-1], interim=(103,), drip_bytes=10)

    with ScriptedServer(script) as server:
        assert httpx.post(url(server), content=b"abc").content == b"cba"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (ScriptedReply(body=b"x" * 99, ending=Ending.CUT), httpx.RemoteProtocolError),
        (ScriptedReply(body=b"", ending=Ending.RESET), httpx.ReadError),
        (ScriptedReply(ending=Ending.SILENCE), httpx.ReadTimeout),
        (ScriptedReply(raw=b"garbage\r\n\r\n"), httpx.RemoteProtocolError),
    ],
)
def test_it_fails_as_told(reply: ScriptedReply, error: type[Exception]) -> None:
    """Each fault looks to a client like the real one."""
    with ScriptedServer(reply) as server, pytest.raises(error):
        httpx.post(url(server), timeout=0.3)


def test_after_a_crash_nobody_listens() -> None:
    """A crash closes the listening socket and every connection at once; leaving after it is fine."""
    with ScriptedServer() as server, httpx.Client() as client:
        assert client.get(url(server)).status_code == 200
        server.crash()
        assert server.gone
        with pytest.raises(httpx.TransportError):
            client.get(url(server))
