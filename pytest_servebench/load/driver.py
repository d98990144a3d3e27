"""The driver: sends encoded requests over HTTP or gRPC, and decides nothing about them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.book import Book
from pytest_servebench.load.closed_loop import ClosedLoop
from pytest_servebench.load.exchange import exchange_http
from pytest_servebench.load.grpc_sender import GrpcSender, OpenGrpcSender
from pytest_servebench.load.grpcio_sender import exchange_grpc
from pytest_servebench.load.http_sender import HttpSender, OpenHttpSender
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Reply, Samples


class LoadDriver:
    """Satisfies `interfaces.Driver`: picks the sender by the requests' protocol."""

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Send one request on a connection of its own and return the reply; raises `LoadError`."""
        if request.protocol is WireProtocol.GRPC:
            return exchange_grpc(endpoint, request, timeout_s)
        return exchange_http(endpoint, request, timeout_s)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Send ``requests`` round robin under ``load`` and return every sample.

        Warm-up goes over into the window without draining. At the window's end
        nothing more is sent, and requests in flight are awaited for a short drain;
        they end outside the window. An open loop goes through the same stages: its
        warm-up is the first part of its schedule. Raises `LoadError` when no load is possible.
        """
        protocol = _protocol_of(requests)
        _check(load)
        book = Book.for_load(load, len(requests))
        sender = _sender_for(load, protocol).for_load(endpoint, requests, load, book)
        try:
            window = ClosedLoop(sender, load, watch, book).run()
        finally:
            sender.close()
        return book.samples(window)


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
