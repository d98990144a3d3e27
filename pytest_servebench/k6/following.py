"""Watches a k6 that runs: tells how far it is, and ends it when its server is gone or it does not end."""

from __future__ import annotations

import numpy as np

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Clock, Watch
from pytest_servebench.k6.output import K6Output
from pytest_servebench.k6.process import K6Process
from pytest_servebench.k6.scenario import GRACE_S
from pytest_servebench.plan import Load
from pytest_servebench.results import Progress

TICK_S = 0.05
PROGRESS_NS = 250_000_000
START_AND_END_S = 60.0
"""How long k6 may take beside its load: to make its virtual users, and to sum up."""
_RECENT_ROWS = 4096
_RECENT_NS = 1_000_000_000


def follow(process: K6Process, load: Load, watch: Watch, clock: Clock) -> str | None:
    """Return when k6 has ended: why the server is gone, or None; raises `LoadError`.

    The watch is asked for the server after requests that broke.
    """
    began_ns = clock.now_ns()
    length_s = load.warmup_s + load.duration_s + load.timeout_s + GRACE_S
    limit_ns = began_ns + round((length_s + START_AND_END_S) * 1e9)
    told_ns = broken = 0
    while not process.ended():
        process.take(TICK_S)
        now_ns, output = clock.now_ns(), process.output
        if output.broken > broken:
            broken = output.broken
            gone = watch.server_gone()
            if gone is not None:
                process.end()
                return gone
        if now_ns - told_ns >= PROGRESS_NS:
            told_ns = now_ns
            watch.progress(progress_of(output, load))
        if now_ns > limit_ns:
            raise LoadError(
                "k6 did not end.",
                seen=f"it runs {(now_ns - began_ns) / 1e9:.0f} s after its start; {process.tail()}",
                next_step="see whether the machine is overloaded; fewer users make less work for it",
            )
    return None


def progress_of(output: K6Output, load: Load) -> Progress:
    """Return how far the load is, by the stamps of its requests; throughput is that of the last second."""
    if not len(output):
        return Progress(
            stage="warm-up",
            elapsed_s=0.0,
            remaining_s=load.warmup_s + load.duration_s,
            completed=0,
            errors=0,
            throughput_per_s=0.0,
            response_time_p95_ms=None,
        )
    # No views: an array that is viewed cannot grow.
    ended = np.array(output.ended_ns[-_RECENT_ROWS:], dtype=np.int64)
    times = np.array(output.duration_ns[-_RECENT_ROWS:], dtype=np.int64)
    start_ns, now_ns = output.ended_ns[0] - output.duration_ns[0], int(ended.max())
    elapsed_s = (now_ns - start_ns) / 1e9
    span_s = min(elapsed_s, (now_ns - int(ended.min())) / 1e9, _RECENT_NS / 1e9) or 1.0
    return Progress(
        stage="warm-up" if elapsed_s < load.warmup_s else "measuring",
        elapsed_s=elapsed_s,
        remaining_s=max(0.0, load.warmup_s + load.duration_s - elapsed_s),
        completed=output.correct,
        errors=len(output) - output.correct + len(output.dropped_ns),
        throughput_per_s=int(np.count_nonzero(ended > now_ns - round(span_s * 1e9))) / span_s,
        response_time_p95_ms=float(np.percentile(times, 95)) / 1e6,
    )
