"""gRPC with messages serialised beforehand, through grpcio: one thread and one channel per request in flight.

Threads with blocking calls cost the least CPU of grpcio's ways to call. grpcio's
share of the work stays in C; the rows are written by the steering thread alone.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pytest_servebench.clock import monotonic_ns, process_cpu_ns
from pytest_servebench.errors import LoadError, MissingPieceError
from pytest_servebench.load.book import Book
from pytest_servebench.load.connection import authority_of
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome, Reply

PAUSE_S = 0.05
"""How long a channel rests after a transport error, so that errors do not spin."""
JOIN_S = 5.0
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share one connection
    ("grpc.enable_retries", 0),  # a retried call would hide its failure
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)

_NO_ANSWER = (
    "failed to connect to all addresses",
    "Failed to connect",
    "Socket closed",
    "Cancelling all calls",
    "Connection reset",
    "Broken pipe",
    "GOAWAY",
    "RST_STREAM",
    "Stream removed",
    "Endpoint clos",
    "Channel closed",
    "recvmsg",
)
"""What grpcio says when there was no status from the server."""

Ended = tuple[int, int, int, Outcome, "bytes | str"]
"""A finished call: request index, sent, received, outcome, and the message or the failure in words."""


def exchange_grpc(endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
    """Call once on a channel of its own; a status other than 0 is a reply, no status a `LoadError`."""
    grpc = _grpc()
    authority = authority_of(endpoint, request.port_role)
    with grpc.insecure_channel(authority, options=_OPTIONS) as channel:
        try:
            body = channel.unary_unary(request.path)(
                request.body, timeout=timeout_s, metadata=_metadata(request), wait_for_ready=False
            )
        except grpc.RpcError as error:
            outcome, text = _failure(grpc, error)
            if outcome is Outcome.HTTP_ERROR:
                return Reply(error.code().value[0], {"grpc-message": error.details() or ""}, b"")
            raise LoadError(
                "A gRPC call was not answered.",
                where=f"{authority}{request.path}",
                seen=text,
                next_step="see the server's log, and whether it still runs",
            ) from error
    return Reply(0, {}, body)


class GrpcioSender:
    """The reference that our own gRPC is checked against; a closed loop.

    Keeps ``concurrency`` calls outstanding over as many channels, round robin over the requests.
    """

    def __init__(self, authority: str, requests: Sequence[WireRequest], load: Load, book: Book) -> None:
        self.troubled = False
        """Whether a transport error happened since somebody last looked."""
        self._grpc = _grpc()
        self._authority = authority
        self._timeout_s = load.timeout_s
        self._book = book
        self._paths = {request.path for request in requests}
        self._requests = itertools.cycle(
            [(i, request.path, request.body, _metadata(request)) for i, request in enumerate(requests)]
        )
        self._ended: deque[Ended] = deque()
        self._stopping = threading.Event()
        self._trouble = threading.Event()
        self._given_up: tuple[str, Outcome] | None = None
        self._channels = [
            self._grpc.insecure_channel(authority, options=_OPTIONS) for _ in range(load.concurrency)
        ]
        self._threads: list[threading.Thread] = []

    @classmethod
    def for_load(
        cls, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, book: Book
    ) -> GrpcioSender:
        """Return a sender of ``requests``; raises `LoadError`, or `MissingPieceError` without grpcio."""
        return cls(authority_of(endpoint, requests[0].port_role), requests, load, book)

    def cpu_ns(self) -> int:
        """Return the CPU time of the process: grpcio's own threads send too."""
        return process_cpu_ns()

    def turns(self, until_ns: int) -> None:
        """Let the threads work until ``until_ns`` or a transport error, then write down what ended."""
        left_ns = until_ns - monotonic_ns()
        if left_ns > 0 and self._trouble.wait(left_ns / 1e9):
            self._trouble.clear()
            self.troubled = True
        self._write()

    def resume(self, now_ns: int) -> None:  # noqa: ARG002 (the pauses lie in the threads)
        """Start the threads, the first time."""
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, args=(slot,), name=f"grpc-load-{slot}", daemon=True)
                for slot in range(len(self._channels))
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Start no further calls."""
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        """How many threads may have a call without outcome."""
        return sum(thread.is_alive() for thread in self._threads)

    def give_up_overdue(self, sent_until_ns: int, text: str) -> int | None:  # noqa: ARG002 (see below)
        """Do nothing: every call carries its deadline, and grpcio ends it."""
        return None

    def abandon(self, text: str, outcome: Outcome) -> None:
        """Cancel every call and count it as failed now."""
        self._given_up = (text, outcome)
        self.close()

    def close(self) -> None:
        """Cancel what is outstanding, end the threads and write down the rest; may be called twice."""
        self._stopping.set()
        for channel in self._channels:
            channel.close()
        for thread in self._threads:
            thread.join(JOIN_S)
        self._write()

    def _work(self, slot: int) -> None:
        """Call, and call again, on one channel: the body of each thread."""
        channel = self._channels[slot]
        calls = {path: channel.unary_unary(path) for path in self._paths}
        while not self._stopping.is_set():
            self._ended.append(ended := self._call(calls))
            if ended[3] is Outcome.TRANSPORT_ERROR:
                self._trouble.set()
                self._stopping.wait(PAUSE_S)

    def _call(self, calls: dict[str, Callable[..., bytes]]) -> Ended:
        index, path, body, metadata = next(self._requests)
        sent_ns = monotonic_ns()
        try:
            message = calls[path](body, timeout=self._timeout_s, metadata=metadata)
        except self._grpc.RpcError as error:
            received_ns = monotonic_ns()
            outcome, text = _failure(self._grpc, error)
        except ValueError as error:  # the channel was closed before the call began
            received_ns = monotonic_ns()
            outcome, text = Outcome.TRANSPORT_ERROR, str(error)
        else:
            return index, sent_ns, monotonic_ns(), Outcome.OK, message
        if self._given_up is not None and outcome is Outcome.TRANSPORT_ERROR:
            text, outcome = self._given_up
        return index, sent_ns, received_ns, outcome, f"{text} (from {self._authority})"

    def _write(self) -> None:
        while self._ended:
            index, sent_ns, received_ns, outcome, what = self._ended.popleft()
            if isinstance(what, bytes):
                self._book.correct(index, sent_ns, received_ns, Reply(0, {}, what))
            else:
                self._book.failed(index, sent_ns, received_ns, outcome, what)


def _grpc() -> Any:  # noqa: ANN401 (grpcio has no types)
    try:
        import grpc
    except ImportError as error:
        raise MissingPieceError(
            "gRPC needs the package grpcio.",
            seen=str(error),
            next_step='pip install "pytest-servebench[triton]"',
        ) from error
    return grpc


def _metadata(request: WireRequest) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in request.headers)


def _failure(grpc: Any, error: Any) -> tuple[Outcome, str]:  # noqa: ANN401 (grpcio has no types)
    """Tell a status that the server sent from one that grpcio made up for want of an answer.

    grpcio gives both the same shape (1.85 dropped "received from peer" from its debug
    text), so its own sentences are what can be known.
    """
    code, details = error.code(), error.details() or ""
    text = f"gRPC {code.value[0]} {code.name}: {details}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome.TIMEOUT, text
    if any(phrase in details for phrase in _NO_ANSWER):
        return Outcome.TRANSPORT_ERROR, text
    return Outcome.HTTP_ERROR, text
