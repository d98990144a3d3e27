"""Whether client and server kept up with the arrivals of an open loop; each doubt is a sentence (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from pytest_servebench.arrivals import Constant, Poisson, Staged
from pytest_servebench.plan import Load
from pytest_servebench.results import Summary
from pytest_servebench.samples import Samples

MORE_WORKERS = "send from more processes with --serve-load-workers=N"
OWN_ENGINE = "lower the load, or send it with --serve-load-engine=servebench, which costs less"
LEAVE_A_CORE = "leave it a core of its own (fewer --serve-threads, or the server on another machine)"
IDLE_SHARE = 0.5
"""A client that used less of a core than this was late because others kept it from running."""


def _remedy(summary: Summary) -> str:
    share = summary.client_cpu_share
    kept_away = share is not None and share / max(1, len(summary.client_cpu_shares)) < IDLE_SHARE
    first = LEAVE_A_CORE if kept_away else MORE_WORKERS
    used = f"it used {share:.0%} of a core; " if kept_away else ""
    return f"the client, not the server, may be what limits these figures: {used}{first}, or lower the rate"


CLIENT_CPU_SHARE = 0.9
"""Highest share of its cores that a client may use before it may be what limits the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalLimits:
    """Up to where an open loop is believed."""

    send_lag_ms: float = 1.0
    """Up to here the p99 send lag is never held against the client."""
    send_lag_share: float = 0.05
    """Above `send_lag_ms`, the highest p99 send lag as a share of the p95 response time."""
    achieved_share: float = 0.98
    """Lowest share of the arrivals, those dropped aside, that the client must send within the window."""
    backlog_share: float = 0.1
    """Highest share of the window's requests by which those in flight may grow."""
    backlog_sigmas: float = 3.0
    """And how many standard deviations of chance the growth must exceed."""


def late_client(summary: Summary, limits: ArrivalLimits) -> str:
    """Return why the client did not do its part, or nothing.

    Its CPU says nothing: it polls on purpose before each arrival. Its lateness says it all.
    """
    lag_ms, p95_ms = summary.send_lag_p99_ms, summary.response_time_p95_ms or 0.0
    if lag_ms is not None and lag_ms > max(limits.send_lag_ms, limits.send_lag_share * p95_ms):
        return (
            f"the client sent late: p99 send lag {lag_ms:.3g} ms, above {limits.send_lag_ms:g} ms "
            f"and {limits.send_lag_share:.0%} of the p95 response time; {_remedy(summary)}"
        )
    offered = (summary.offered_per_s or 0.0) * summary.window_s - summary.dropped
    achieved = (summary.achieved_per_s or 0.0) * summary.window_s
    # One arrival at either edge may lie in the window with one of its two instants only.
    if achieved + 1 < limits.achieved_share * offered:
        return (
            f"the client sent {achieved:.0f} of {offered:.0f} arrivals within the window, "
            f"below {limits.achieved_share:.0%}; {_remedy(summary)}"
        )
    return ""


def busy_client(summary: Summary, cores: int, most_share: float) -> str:
    """Return why the client may be the limit, or nothing; of several workers the busiest tells."""
    alone = {"the client": summary.client_cpu_share or 0.0}
    shares = {f"worker {name}": share for name, share in summary.client_cpu_shares.items()} or alone
    name, share = max(shares.items(), key=lambda item: item[1])
    limit = most_share * cores
    if share <= limit:
        return ""
    of_these = f" of the {cores} it can use" if cores > 1 else ""
    # Who uses several cores is an engine that is not ours, and has no workers.
    remedy = MORE_WORKERS if cores == 1 else OWN_ENGINE
    return (
        f"{name} used {share:.0%} of a core{of_these}, above {limit:.0%}: "
        f"it may be what limits these figures, not the server; {remedy}"
    )


def near_ceiling(summary: Summary, load: Load, share: float) -> str:
    """Return how near the load came to all that the client can send, or nothing.

    A closed loop is held to the ceiling by its throughput, an open one by what it offered: stages by
    the highest rate that they came to, because their mean hides the hold in which the client was late.
    """
    words, rate = _rate_to_send(summary, load)
    if rate is None or summary.ceiling_per_s is None or rate <= share * summary.ceiling_per_s:
        return ""
    return (
        f"{words} were {rate:.0f} requests/s, above {share:.0%} of the "
        f"{summary.ceiling_per_s:.0f} that this client sends to a server that does nothing; "
        f"{_remedy(summary)}"
    )


def _rate_to_send(summary: Summary, load: Load) -> tuple[str, float | None]:
    if load.arrivals is None:
        return "answered", summary.throughput_per_s
    if not isinstance(load.arrivals, Staged) or summary.offered_per_s is None:
        return "offered", summary.offered_per_s
    warmup_s = load.warmup_s if summary.warmup_s is None else summary.warmup_s
    return "offered at the highest", load.arrivals.highest_per_s(warmup_s + summary.window_s)


def dropped_arrivals(summary: Summary, load: Load) -> str:
    """Return how many arrivals found no room, or nothing."""
    if not summary.dropped:
        return ""
    offered = (summary.offered_per_s or 0.0) * summary.window_s
    return (
        f"{summary.dropped} of {offered:.0f} arrivals were dropped, because {load.max_in_flight} requests "
        "were in flight and unanswered: the server does not keep up with the arrivals, and the response "
        "times of the others flatter it; lower the rate (for a passing stall, raise --serve-max-in-flight)"
    )


def growing_backlog(samples: Samples, load: Load, limits: ArrivalLimits) -> str:
    """Return how the requests in flight grew from the window's begin to its end, or nothing.

    Where the rate is steady and the server keeps up, both numbers are draws of one law of about
    Poisson's shape, whose difference has a variance of about their sum. A rate that is meant to
    change may well leave more in flight.
    """
    if not isinstance(load.arrivals, (Constant, Poisson)):
        return ""
    begin, end = (_in_flight(samples, at_ns) for at_ns in samples.window_ns)
    sent = np.count_nonzero(
        (samples.window_ns[0] < samples.sent_ns) & (samples.sent_ns <= samples.window_ns[1])
    )
    if samples.folded is not None:
        begin, sent = begin + samples.folded.in_flight_at_begin, sent + samples.folded.sent
    growth = end - begin
    if growth <= max(limits.backlog_share * sent, limits.backlog_sigmas * sqrt(begin + end)):
        return ""
    return (
        f"requests in flight grew from {begin} to {end} within the window, in which {sent} were sent: the "
        "server does not keep up with the arrivals, so that response times depend on how long one "
        "measures; lower the rate"
    )


def _in_flight(samples: Samples, at_ns: int) -> int:
    sent = (samples.sent_ns >= 0) & (samples.sent_ns <= at_ns)
    return int(np.count_nonzero(sent & ~((samples.received_ns >= 0) & (samples.received_ns <= at_ns))))
