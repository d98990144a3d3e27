"""The driver: sends encoded requests over HTTP or gRPC, and decides nothing about them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.book import Book
from pytest_servebench.load.course import Course
from pytest_servebench.load.exchange import exchange_http
from pytest_servebench.load.grpc_sender import GrpcSender, OpenGrpcSender
from pytest_servebench.load.grpcio_sender import exchange_grpc
from pytest_servebench.load.helm import Helm
from pytest_servebench.load.http_sender import HttpSender, OpenHttpSender
from pytest_servebench.load.workers import Workers
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply, Samples


class PreparedLoad:
    """A load whose requests are encoded and whose address is found; used once."""

    def __init__(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load) -> None:
        protocol = _protocol_of(requests)
        _check(load)
        self._load = load
        self._book = Book.for_load(load, len(requests))
        self.sender = _sender_for(load, protocol).for_load(endpoint, requests, load, self._book)

    def run(self, watch: Watch, helm: Helm | None = None, start_ns: int | None = None) -> Samples:
        """Send from ``start_ns`` on (now if None) and return every sample."""
        course = Course(self.sender, self._load, watch, self._book, helm)
        try:
            window = course.run(start_ns)
        finally:
            self.sender.close()
        return self._book.samples(window, course.slices)


class LoadDriver:
    """Satisfies `interfaces.Driver`: picks the sender by the requests' protocol.

    A load with workers is handed over to `Workers`, which stay open from load to load until `close`.
    """

    def __init__(self) -> None:
        self._workers = Workers()

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Send one request on a connection of its own and return the reply; raises `LoadError`."""
        if request.protocol is WireProtocol.GRPC:
            return exchange_grpc(endpoint, request, timeout_s)
        return exchange_http(endpoint, request, timeout_s)

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[WireRequest],
        load: Load,
        watch: Watch,
        helm: Helm | None = None,
    ) -> Samples:
        """Send ``requests`` round robin under ``load`` and return every sample.

        Warm-up goes over into the window without draining. At the window's end
        nothing more is sent, and requests in flight are awaited for a short drain;
        they end outside the window. An open loop goes through the same stages: its
        warm-up is the first part of its schedule. ``helm`` says when stages end before their
        time; None: the `LocalHelm`. Raises `LoadError` when no load is possible.
        """
        if load.workers:
            return self._workers.run(endpoint, requests, load, watch, helm)
        return PreparedLoad(endpoint, requests, load).run(watch, helm)

    def close(self) -> None:
        """End the workers, if any are open; may be called twice."""
        self._workers.close()


def _protocol_of(requests: Sequence[WireRequest]) -> WireProtocol:
    ways = {(request.protocol, request.port_role) for request in requests}
    if len(ways) != 1:
        raise LoadError(
            "A load needs requests that all travel the same way.",
            seen=", ".join(sorted(f"{protocol} on port {role}" for protocol, role in ways)) or "no requests",
            next_step="give at least one request, all of one protocol and one port",
        )
    return ways.pop()[0]


def _sender_for(load: Load, protocol: WireProtocol) -> type[GrpcSender | HttpSender]:
    if protocol is WireProtocol.GRPC:
        return GrpcSender if load.arrivals is None else OpenGrpcSender
    return HttpSender if load.arrivals is None else OpenHttpSender


def _check(load: Load) -> None:
    if load.concurrency < 1 or load.duration_s <= 0 or load.timeout_s <= 0 or load.warmup_s < 0:
        raise LoadError(
            "A closed loop needs at least one request in flight and positive times.",
            seen=str(load),
            next_step="concurrency >= 1, duration and timeout above 0, warm-up not below 0",
        )
    if load.arrivals is not None and load.max_in_flight < 1:
        raise LoadError(
            "An open loop needs room for at least one request in flight.",
            seen=str(load),
            next_step="max_in_flight >= 1",
        )
