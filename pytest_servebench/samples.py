"""Nouns of a load: what became of each request, and what is kept of those too many to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.statistics.histogram import Histogram


class Outcome(IntEnum):
    """How one request ended."""

    OK = 0
    HTTP_ERROR = 1
    """A complete reply with another status than success (HTTP other than 200, gRPC other than 0)."""
    TRANSPORT_ERROR = 2
    """No complete reply: refused, reset, closed early, or not the protocol."""
    TIMEOUT = 3
    DROPPED = 4
    """An arrival that was never sent because the in-flight cap was reached."""
    WRONG = 5
    """A complete reply whose answer is not the reference's; set by verification, after the window."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply. gRPC: ``status`` is the grpc-status, ``body`` the serialised message."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientShare:
    """What one of several workers did of a load."""

    worker: str
    """Its number and where it ran, e.g. ``2:ssh=bench@10.0.0.7``."""
    client_cpu_s: float
    """CPU time it spent inside the window."""
    sent: int
    """Requests it sent inside the window."""
    clock_uncertainty_ns: int = 0
    """By how much its instants may be off against the others'; 0: one clock. Durations are never off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One short part of a load's time; ``+`` joins two in a row, or those of two clients at one time.

    A request is sent in the slice in which it was, and ends in the one in which it did: always
    ``offered = sent + dropped``, and over a whole load ``sent = correct + failed``, but for what is
    in flight at its end.
    """

    begin_ns: int
    end_ns: int
    offered: int = 0
    """Requests that were due, sent or not."""
    sent: int = 0
    correct: int = 0
    """OK replies, before verification."""
    failed: int = 0
    """Requests that were sent and ended in an error or a time-out."""
    dropped: int = 0
    response_times: Histogram = field(default_factory=Histogram)
    """Of the correct replies that ended in it."""

    def __add__(self, other: Slice) -> Slice:
        return Slice(
            begin_ns=min(self.begin_ns, other.begin_ns),
            end_ns=max(self.end_ns, other.end_ns),
            offered=self.offered + other.offered,
            sent=self.sent + other.sent,
            correct=self.correct + other.correct,
            failed=self.failed + other.failed,
            dropped=self.dropped + other.dropped,
            response_times=self.response_times + other.response_times,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts and distributions of some requests; ``+`` is exact."""

    outcomes: tuple[int, ...] = (0,) * len(Outcome)
    """How many ended how, by `Outcome`."""
    response_times: Histogram = field(default_factory=Histogram)
    """Of correct replies, as the next."""
    service_times: Histogram = field(default_factory=Histogram)
    send_lags: Histogram = field(default_factory=Histogram)
    """Of those that were sent."""

    @property
    def requests(self) -> int:
        """All of them, those dropped too."""
        return sum(self.outcomes)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            outcomes=tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True)),
            response_times=self.response_times + other.response_times,
            service_times=self.service_times + other.service_times,
            send_lags=self.send_lags + other.send_lags,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What is left of requests whose rows are no longer in the arrays; ``+`` is exact.

    All of them ended before the window did.
    """

    outcomes: tuple[int, ...] = (0,) * len(Outcome)
    """How many ended how, by `Outcome`, the warm-up's too."""
    inside: Tally = field(default_factory=Tally)
    """Those that ended inside the window; ``send_lags`` are of those intended inside it."""
    offered: int = 0
    """How many were intended inside the window, sent or dropped."""
    sent: int = 0
    """How many were sent inside it."""
    in_flight_at_begin: int = 0
    """How many were in flight when it began."""
    stages: tuple[Tally, ...] = ()
    """A staged load's: of those that ended inside the window, by the stage they were intended in."""

    @property
    def requests(self) -> int:
        """How many were folded."""
        return sum(self.outcomes)

    def __add__(self, other: Folded) -> Folded:
        return Folded(
            outcomes=tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True)),
            inside=self.inside + other.inside,
            offered=self.offered + other.offered,
            sent=self.sent + other.sent,
            in_flight_at_begin=self.in_flight_at_begin + other.in_flight_at_begin,
            stages=tuple(a + b for a, b in zip_longest(self.stages, other.stages, fillvalue=Tally())),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Samples:
    """The requests of one load, in order of sending (dropped: of intent); arrays of equal length.

    The arrays hold every request up to a bound; of longer loads the latest ones and those whose
    replies were kept, and ``folded`` tells of the others.

    Instants are CLOCK_MONOTONIC nanoseconds; -1 where the instant did not happen.
    Warm-up requests are in the arrays and outside ``window_ns``.
    """

    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    request_index: npt.NDArray[np.int32]
    """Which of the encoded requests was sent."""
    window_ns: tuple[int, int]
    """Begin and end of the measured window; a sample belongs to the window it ends in."""
    started_ns: int | None = None
    """When the load began: its warm-up, and the zero of a schedule's offsets."""
    slices: tuple[Slice, ...] = ()
    """The load's time line from its start to the window's end, in order and without gaps; a slice
    begins where the window does. Of about equal length, longer ones for longer loads."""
    folded: Folded | None = None
    """Requests that are not in the arrays; None: all are."""
    settled: bool | None = None
    """Whether a steady warm-up ended because its slices agreed; None where that was not asked for."""
    replies: Mapping[int, Reply] = field(default_factory=dict)
    """Kept replies by sample position, for verification after the window."""
    client_cpu_s: float = 0.0
    """CPU time the client spent inside the window, all workers together."""
    clients: tuple[ClientShare, ...] = ()
    """What each worker did; empty where this process sent."""
    client_cores: int = 1
    """Cores that the client could have used at most: what its CPU time is judged against."""
    arrivals_due: int | None = None
    """Arrivals due in the window, from an engine that does not tell when each was due: its ``intended_ns``
    are when it sent, and nobody knows its lag. None: each has its instant."""
    engine_report: Mapping[str, Any] = field(default_factory=dict)
    """What an engine that is not ours says of its load."""
    first_error: str = ""
    """The first failure in words, with its status or errno."""

    def __len__(self) -> int:
        """Return how many requests the arrays hold."""
        return len(self.sent_ns)
