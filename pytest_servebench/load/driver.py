"""The driver: sends encoded requests over HTTP or gRPC, and decides nothing about them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.closed_loop import ClosedLoop
from pytest_servebench.load.connection import authority_of, resolve
from pytest_servebench.load.exchange import exchange_http
from pytest_servebench.load.kept import KeptReplies
from pytest_servebench.load.sample_log import SampleLog
from pytest_servebench.load.sender import HttpSender
from pytest_servebench.load.window import Window
from pytest_servebench.load.wire import EncodedRequest, http_bytes, read_reply
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Reply, Samples


class LoadDriver:
    """Satisfies `interfaces.Driver`: picks the sender by the requests' protocol."""

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Send one request on a connection of its own and return the reply; raises `LoadError`."""
        if request.protocol is WireProtocol.GRPC:
            from pytest_servebench.load.grpc_sender import exchange_grpc

            return exchange_grpc(endpoint, request, timeout_s)
        return exchange_http(endpoint, request, timeout_s)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Send ``requests`` round robin under ``load`` and return every sample.

        Warm-up goes over into the window without draining. At the window's end
        nothing more is sent, and requests in flight are awaited for a short drain;
        they end outside the window. Raises `LoadError` when no load is possible.
        """
        protocol, role = _one_of(requests)
        _check(load)
        if protocol is WireProtocol.GRPC:
            from pytest_servebench.load.grpc_sender import run_grpc

            return run_grpc(endpoint, requests, load, watch)
        authority = authority_of(endpoint, role)
        log = SampleLog()
        kept = KeptReplies(load.verify_share, load.seed, len(requests))
        sender = HttpSender(
            resolve(endpoint, role, load.timeout_s),
            [EncodedRequest(http_bytes(request, authority), request.method) for request in requests],
            load.concurrency,
            log,
            kept,
        )
        try:
            window = ClosedLoop(sender, load, watch, log, kept).run()
        finally:
            sender.close()
        return _samples(log, kept, window, sender.first_error)


def _one_of(requests: Sequence[WireRequest]) -> tuple[WireProtocol, str]:
    ways = {(request.protocol, request.port_role) for request in requests}
    if len(ways) != 1:
        raise LoadError(
            "A load needs requests that all travel the same way.",
            seen=", ".join(sorted(f"{protocol} on port {role}" for protocol, role in ways)) or "no requests",
            next_step="give at least one request, all of one protocol and one port",
        )
    return ways.pop()


def _check(load: Load) -> None:
    if load.concurrency < 1 or load.duration_s <= 0 or load.timeout_s <= 0 or load.warmup_s < 0:
        raise LoadError(
            "A closed loop needs at least one request in flight and positive times.",
            seen=str(load),
            next_step="concurrency >= 1, duration and timeout above 0, warm-up not below 0",
        )


def _samples(log: SampleLog, kept: KeptReplies, window: Window, first_error: str) -> Samples:
    rows = log.rows()
    replies = {
        int(rows.position[row]): reply if isinstance(reply, Reply) else read_reply(reply)
        for row, reply in kept.by_row().items()
    }
    return Samples(
        intended_ns=rows.intended_ns,
        sent_ns=rows.sent_ns,
        received_ns=rows.received_ns,
        outcome=rows.outcome,
        request_index=rows.request_index,
        window_ns=(window.begin_ns, window.end_ns),
        replies=dict(sorted(replies.items())),
        client_cpu_s=window.client_cpu_s,
        first_error=first_error,
    )
