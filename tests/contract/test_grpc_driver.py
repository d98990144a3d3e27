"""What the driver does over gRPC, against a scripted grpcio server: ours does as the reference."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from pytest_servebench.errors import LoadError, MissingPieceError
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.load.grpc_sender import GrpcSender
from pytest_servebench.load.grpcio_sender import GrpcioSender
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome, Samples
from tests.loads import Onlooker

METHOD = "/inference.GRPCInferenceService/ModelInfer"
LOAD = Load(concurrency=4, warmup_s=0.1, duration_s=0.3, timeout_s=5.0, verify_share=0.05)
Answer = Callable[[bytes, Any], bytes]


@pytest.fixture(params=[GrpcSender, GrpcioSender], ids=["ours", "grpcio"], autouse=True)
def sender(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the driver send by each of them."""
    monkeypatch.setattr("pytest_servebench.load.driver.GrpcSender", request.param)
    return request.param


class Server:
    """A grpcio server whose one method answers by a function of the message."""

    def __init__(self, answer: Answer) -> None:
        self.calls = 0
        self.peers: set[str] = set()
        self._answer = answer
        self._lock = threading.Lock()
        options = [("grpc.max_receive_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        handler = grpc.unary_unary_rpc_method_handler(self._handle)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _handle(self, message: bytes, context: Any) -> bytes:
        with self._lock:
            self.calls += 1
            self.peers.add(context.peer())
        return self._answer(message, context)

    def endpoint(self) -> Endpoint:
        return Endpoint(stack="grpc", host="127.0.0.1", ports={"grpc": self.port}, launcher="test")

    def stop(self) -> None:
        self._server.stop(0).wait()


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    """Run a server that answers so."""
    server = Server(answer)
    try:
        yield server
    finally:
        server.stop()


def echo(message: bytes, context: Any) -> bytes:
    """Answer with the number that the message begins with."""
    del context
    time.sleep(0.001)
    return message.split(b":")[0]


def slow(message: bytes, context: Any) -> bytes:
    """Answer after half a second."""
    time.sleep(0.5)
    return echo(message, context)


def calls(count: int, size: int = 100) -> list[WireRequest]:
    """Return requests whose messages tell which they are."""
    bodies = [f"{i}:".encode().ljust(size, b".") for i in range(count)]
    return [
        WireRequest(protocol=WireProtocol.GRPC, path=METHOD, body=body, port_role="grpc") for body in bodies
    ]


def run(server: Server, load: Load = LOAD, count: int = 3, watch: Onlooker | None = None) -> Samples:
    """Run the load against the server."""
    return LoadDriver().run(server.endpoint(), calls(count), load, watch or Onlooker())


def test_a_call_returns_the_message_and_a_refusal_its_status() -> None:
    """Status 0 comes with the message; a status that the server sent is a reply, not an exception."""

    def refuse(message: bytes, context: Any) -> bytes:
        if message.startswith(b"1"):
            context.abort(grpc.StatusCode.UNAVAILABLE, "queue full")
        return b"yes"

    with serving(refuse) as server:
        first, second = (LoadDriver().exchange(server.endpoint(), call, 5.0) for call in calls(2))
    assert (first.status, first.body) == (0, b"yes")
    assert (second.status, second.headers["grpc-message"]) == (14, "queue full")


def test_a_call_that_nobody_answers_is_an_error_in_words() -> None:
    """Nobody listening and a deadline are LoadErrors with the address and the method."""
    with serving(slow) as server:
        with pytest.raises(LoadError, match="DEADLINE_EXCEEDED"):
            LoadDriver().exchange(server.endpoint(), calls(1)[0], 0.1)
        endpoint = server.endpoint()
    with pytest.raises(LoadError, match="UNAVAILABLE") as caught:
        LoadDriver().exchange(endpoint, calls(1)[0], 2.0)
    assert caught.value.where == f"127.0.0.1:{endpoint.ports['grpc']}{METHOD}"


def test_calls_go_round_robin_over_a_connection_each() -> None:
    """As many connections as asked; every call is one sample; kept replies belong to their requests."""
    with serving(echo) as server:
        samples = run(server, count=16)
        assert len(samples) == server.calls
        assert len(server.peers) == LOAD.concurrency
    begin, end = samples.window_ns
    assert end - begin == pytest.approx(0.3e9, rel=0.3)
    assert begin - samples.sent_ns[0] == pytest.approx(0.1e9, rel=0.5)
    assert np.all(samples.outcome == Outcome.OK)
    assert np.all(samples.received_ns > samples.sent_ns)
    assert np.all(np.diff(samples.sent_ns) >= 0)
    counts = np.bincount(samples.request_index)
    assert counts.max() - counts.min() <= 1
    assert len(samples.replies) >= 8
    assert samples.client_cpu_s > 0
    for position, reply in samples.replies.items():
        assert int(reply.body) == samples.request_index[position]
        assert begin <= samples.received_ns[position] <= end


def test_a_message_of_any_size_passes() -> None:
    """Grpcio's default limit of 4 MB does not hold for the load."""
    with serving(lambda message, context: message) as server:
        request = calls(1, 19_000_000)[0]
        samples = LoadDriver().run(server.endpoint(), [request], replace(LOAD, concurrency=2), Onlooker())
    assert np.all(samples.outcome == Outcome.OK)
    assert {reply.body for reply in samples.replies.values()} <= {request.body}


def test_statuses_of_the_server_are_errors_with_their_words() -> None:
    """A status other than 0 that the server sent is told apart from a call without an answer."""

    def refuse(message: bytes, context: Any) -> bytes:
        del message
        time.sleep(0.002)
        context.abort(grpc.StatusCode.UNAVAILABLE, "queue full")
        return b""

    with serving(refuse) as server:
        samples = run(server)
    assert set(samples.outcome) == {Outcome.HTTP_ERROR}
    assert samples.first_error == f"gRPC 14 UNAVAILABLE: queue full (from 127.0.0.1:{server.port})"


def test_calls_without_reply_time_out_with_their_true_times() -> None:
    """Every call carries its deadline."""
    release = threading.Event()
    with serving(lambda message, context: (release.wait(10) and b"") or b"") as server:
        samples = run(server, replace(LOAD, timeout_s=0.15))
        release.set()
    assert set(samples.outcome) == {Outcome.TIMEOUT}
    spans = samples.received_ns - samples.sent_ns
    assert np.all((spans > 0.14e9) & (spans < 0.6e9))


def test_a_hang_longer_than_the_window_ends_with_the_time_outs() -> None:
    """Calls outstanding at the window's end get their whole time-out, and then count as time-outs."""
    release = threading.Event()
    with serving(lambda message, context: (release.wait(10) and b"") or b"") as server:
        samples = run(server, replace(LOAD, timeout_s=LOAD.warmup_s + LOAD.duration_s + 0.2))
        release.set()
    assert samples.outcome.tolist() == [Outcome.TIMEOUT] * LOAD.concurrency
    assert samples.first_error.startswith(("no reply within 0.6 s", "gRPC 4 DEADLINE_EXCEEDED"))
    assert np.all(samples.received_ns - samples.window_ns[1] < 2e9)


def test_a_server_that_dies_ends_the_load_early() -> None:
    """Transport errors are counted without spinning, and the watch's word ends the load."""
    dead = threading.Event()
    watch = Onlooker(lambda: "exit code -9" if dead.is_set() else None)

    def die() -> None:
        server.stop()
        dead.set()

    def answer(message: bytes, context: Any) -> bytes:
        if server.calls == 40:
            threading.Thread(target=die).start()
        return echo(message, context)

    with serving(answer) as server:
        samples = run(server, replace(LOAD, duration_s=60.0), watch=watch)
    begin, end = samples.window_ns
    assert end - begin < 20e9
    assert (samples.outcome == Outcome.OK).sum() >= 30
    assert (samples.outcome == Outcome.TRANSPORT_ERROR).sum() >= 1
    assert np.all(samples.received_ns <= end)


def test_a_package_that_is_missing_is_told_with_its_remedy(
    sender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours needs hpack and the reference grpcio; both come with the same command."""
    monkeypatch.setitem(sys.modules, "hpack" if sender is GrpcSender else "grpc", None)
    endpoint = Endpoint(stack="grpc", host="127.0.0.1", ports={"grpc": 1}, launcher="test")
    with pytest.raises(MissingPieceError) as caught:
        LoadDriver().run(endpoint, calls(1), LOAD, Onlooker())
    assert caught.value.next_step == 'pip install "pytest-servebench[triton]"'


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_530, 65_531, 602_112, 5_000_000])
def test_a_message_of_any_length_comes_whole(size: int) -> None:
    """On both sides of a frame, of the first windows and of what a socket takes at once."""
    whole = bytes(range(256)) * (size // 256 + 1)

    def same(message: bytes, context: Any) -> bytes:
        del context
        return b"same" if message == whole[:size] else b"other"

    with serving(same) as server:
        request = replace(calls(1)[0], body=whole[:size])
        samples = LoadDriver().run(server.endpoint(), [request], replace(LOAD, verify_share=1.0), Onlooker())
    assert set(samples.outcome) == {Outcome.OK}, samples.first_error
    assert {reply.body for reply in samples.replies.values()} == {b"same"}


def test_metadata_reach_the_server() -> None:
    """Headers of the request are metadata of the call, under their names in lower case."""

    def tell(message: bytes, context: Any) -> bytes:
        del message
        return str(dict(context.invocation_metadata())["x-tenant"]).encode()

    with serving(tell) as server:
        request = replace(calls(1)[0], headers=(("X-Tenant", "a b"),))
        load = replace(LOAD, verify_share=1.0)
        samples = LoadDriver().run(server.endpoint(), [request], load, Onlooker())
    assert {reply.body for reply in samples.replies.values()} == {b"a b"}
