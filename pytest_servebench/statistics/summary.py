"""Laboratory: the samples of one load to its summary, and whether that may be believed (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Constant, Poisson
from pytest_servebench.plan import Engine, Load
from pytest_servebench.results import Summary, Validity, Verification
from pytest_servebench.samples import Folded, Outcome, Samples
from pytest_servebench.statistics.drift import DriftLimits, drift_of
from pytest_servebench.statistics.intervals import intervals_of
from pytest_servebench.statistics.keeping_up import (
    CLIENT_CPU_SHARE,
    ArrivalLimits,
    busy_client,
    dropped_arrivals,
    growing_backlog,
    late_client,
    near_ceiling,
)
from pytest_servebench.statistics.slices import grouped, window_slices
from pytest_servebench.statistics.spread import Spread, spread_of

Instants = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NS_PER_MS = 1e6
_NS_PER_S = 1e9


FEWEST_REPLIES = 5
"""A window with fewer has seen chance, not a server: one reply would be every percentile at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityLimits:
    """Up to where a measurement is believed."""

    failed_share: float = 0.01
    """Highest share of errors and time-outs among the window's requests. No dropped arrival is allowed."""
    client_cpu_share: float = CLIENT_CPU_SHARE
    """Highest share of the cores it can use (ours: one) that a closed loop's client may use before it may
    be what limits the figures. An engine that tells no send lag is judged by it in an open loop too."""
    ceiling_share: float = 0.8
    """Highest share of the client's ceiling that a load may reach and be believed."""
    arrivals: ArrivalLimits = field(default_factory=ArrivalLimits)
    drift: DriftLimits = field(default_factory=DriftLimits)
    thirds_ratio: float = 2.0
    """How many times the correct replies of the slowest third of the window the fastest may have."""
    thirds_correct: int = 30
    """Correct replies each third must have on average before thirds are compared at all."""


DEFAULT_LIMITS = ValidityLimits()


def summarise(
    samples: Samples, *, items_per_request: int, timeout_s: float, open_loop: bool = False
) -> Summary:
    """Return the statistics of the requests that ended inside the window (begin < end <= its end).

    Response time is received - intended and service time received - sent, over correct replies
    only. An open loop's send lag and offered rate are those of the arrivals intended inside the
    window; where only their number is known (`Samples.arrivals_due`) there is no lag. The
    achieved rate counts what was sent inside the window. Percentiles are
    interpolated linearly between order statistics (numpy's default, Hyndman and Fan's
    type 7). Throughput is correct replies / window. All figures are None when no request
    ended in the window; response times also when none of them was correct. A client
    CPU time of 0 was not measured.
    """
    inside, folded = _inside(samples, timeout_s), samples.folded or Folded()
    window_s = _seconds(*samples.window_ns)
    counts = np.bincount(samples.outcome[inside], minlength=len(Outcome))
    counts += np.array(folded.inside.outcomes)
    correct = int(counts[Outcome.OK])
    rate = correct / window_s if counts.any() else None
    return Summary(
        window_s=window_s,
        correct=correct,
        wrong=int(counts[Outcome.WRONG]),
        errors=int(counts[Outcome.HTTP_ERROR] + counts[Outcome.TRANSPORT_ERROR]),
        timeouts=int(counts[Outcome.TIMEOUT]),
        dropped=int(counts[Outcome.DROPPED]),
        **_response_times(samples, inside & (samples.outcome == Outcome.OK)),
        **(_offers(samples, window_s) if open_loop else {}),
        achieved_per_s=_achieved_per_s(samples, window_s) if open_loop or counts.any() else None,
        throughput_per_s=rate,
        images_per_s=None if rate is None else rate * items_per_request,
        **_surely(samples),
        warmup_s=None if samples.started_ns is None else _seconds(samples.started_ns, samples.window_ns[0]),
        settled=samples.settled,
        client_cpu_share=_client_cpu_share(samples, window_s),
        client_cpu_shares={one.worker: one.client_cpu_s / window_s for one in samples.clients},
    )


def validity_of(
    summary: Summary,
    samples: Samples,
    *,
    load: Load,
    verifications: Sequence[Verification | None] = (),
    limits: ValidityLimits = DEFAULT_LIMITS,
) -> tuple[Validity, str]:
    """Return whether the run may be believed, and why not in one sentence.

    The gravest reason wins: wrong output, errors, nothing measured, a client that was itself the
    limit, dropped arrivals, a growing backlog, an unstable window (in thirds, or drifting), figures
    less precise than was asked for. A request that was sent before the window's end and failed after
    it counts among the errors: a server that hangs must not look like one that is merely slow.
    Arrivals that a punctual client had to drop are errors too, each of them: somebody was not served,
    and at the worst moment; those that a late client dropped are laid to the client.
    """
    late = _late_failures(samples, load.timeout_s)
    client = "" if load.arrivals is None else late_client(summary, limits.arrivals)
    if load.arrivals is None or load.engine is Engine.K6:
        client = client or busy_client(summary, samples.client_cores, limits.client_cpu_share)
    for validity, reason in (
        (Validity.WRONG_OUTPUT, _wrong_output(summary, verifications)),
        (Validity.ERRORS, _failures(summary, late, samples.first_error, limits)),
        (Validity.UNDECIDED, _too_little_ended(summary)),
        (Validity.CLIENT_LIMITED, client),
        (Validity.CLIENT_LIMITED, near_ceiling(summary, load, limits.ceiling_share)),
        (Validity.ERRORS, dropped_arrivals(summary, load)),
        (Validity.UNSTABLE, growing_backlog(samples, load, limits.arrivals)),
        (Validity.UNSTABLE, _unequal_thirds(samples, _at_once(summary, load), limits)),
        (Validity.UNSTABLE, _drift(samples, _at_once(summary, load), limits)),
        (Validity.UNDECIDED, _imprecise(samples, load)),
    ):
        if reason:
            return validity, reason
    return Validity.VALID, ""


def ended_ns(samples: Samples, timeout_s: float) -> Instants:
    """Return when each request ended, in nanoseconds.

    A reply ends when it is received. Without that instant, a time-out ends ``timeout_s``
    after it was sent, and a dropped arrival or a failed connection when it was sent or,
    if it never was, when it was intended.
    """
    begun = np.where(samples.sent_ns >= 0, samples.sent_ns, samples.intended_ns)
    waited = np.where(samples.outcome == Outcome.TIMEOUT, round(timeout_s * _NS_PER_S), 0)
    ended: Instants = np.where(samples.received_ns >= 0, samples.received_ns, begun + waited)
    return ended


def _inside(samples: Samples, timeout_s: float) -> Mask:
    begin, end = samples.window_ns
    if end <= begin:
        raise ValueError(f"the window must have a length: {samples.window_ns}")
    ended = ended_ns(samples, timeout_s)
    inside: Mask = (begin < ended) & (ended <= end)
    return inside


def _response_times(samples: Samples, correct: Mask) -> dict[str, Any]:
    """Return the response- and service-time fields of `Summary`; none of them without a correct reply."""
    inside = (samples.folded or Folded()).inside
    received_ns = samples.received_ns[correct]
    times = spread_of(received_ns - samples.intended_ns[correct], inside.response_times)
    service = spread_of(received_ns - samples.sent_ns[correct], inside.service_times)
    if times is None or service is None:
        return {}
    return {
        **_percentiles("response_time", times, (50, 95, 99)),
        **_percentiles("service_time", service, (50, 95, 99)),
        "response_time_mean_ms": times.mean_ms,
        "response_time_min_ms": times.min_ms,
        "response_time_max_ms": times.max_ms,
    }


def _offers(samples: Samples, window_s: float) -> dict[str, Any]:
    """Return the fields of `Summary` that only an open loop has; no lag without a request sent."""
    if samples.arrivals_due is not None:
        return {"offered_per_s": samples.arrivals_due / window_s}
    begin, end = samples.window_ns
    intended = (begin < samples.intended_ns) & (samples.intended_ns <= end)
    sent = intended & (samples.sent_ns >= 0)
    folded = samples.folded or Folded()
    offers = {"offered_per_s": (float(np.count_nonzero(intended)) + folded.offered) / window_s}
    lags = spread_of(samples.sent_ns[sent] - samples.intended_ns[sent], folded.inside.send_lags)
    return offers if lags is None else {**offers, **_percentiles("send_lag", lags, (50, 99))}


def _percentiles(name: str, spread: Spread, ranks: Sequence[int]) -> dict[str, float]:
    found = spread.percentiles_ms(ranks)
    return {f"{name}_p{rank}_ms": float(value) for rank, value in zip(ranks, found, strict=True)}


def _achieved_per_s(samples: Samples, window_s: float) -> float:
    begin, end = samples.window_ns
    sent = np.count_nonzero((begin < samples.sent_ns) & (samples.sent_ns <= end))
    return (float(sent) + (samples.folded or Folded()).sent) / window_s


def _surely(samples: Samples) -> dict[str, Any]:
    """Return the confidence intervals of `Summary`, as far as there are any."""
    found = intervals_of(window_slices(samples))
    if found is None:
        return {}
    p95_ci_ms = found.p95_ci_ms if isfinite(found.p95_ci_ms[1]) else None
    return {"throughput_ci_per_s": found.throughput_ci_per_s, "response_time_p95_ci_ms": p95_ci_ms}


def _seconds(begin_ns: int, end_ns: int) -> float:
    return (end_ns - begin_ns) / _NS_PER_S


def _client_cpu_share(samples: Samples, window_s: float) -> float | None:
    return samples.client_cpu_s / window_s if samples.client_cpu_s > 0 else None


def _ended(summary: Summary) -> int:
    return summary.correct + summary.wrong + _failed(summary)


def _failed(summary: Summary) -> int:
    return summary.errors + summary.timeouts


def _wrong_output(summary: Summary, verifications: Sequence[Verification | None]) -> str:
    mismatches = [text for v in verifications if v is not None for text in v.mismatches]
    if mismatches:
        compared = sum(v.compared for v in verifications if v is not None)
        count = f"{len(mismatches)} of {compared}"
        return f"{count} answers compared are not the reference's; first: {mismatches[0]}"
    if summary.wrong:
        return f"{summary.wrong} of {_ended(summary)} answers in the window are not the reference's"
    return ""


def _late_failures(samples: Samples, timeout_s: float) -> int:
    ended = ended_ns(samples, timeout_s)
    begun = np.where(samples.sent_ns >= 0, samples.sent_ns, samples.intended_ns)
    failed = np.isin(samples.outcome, (Outcome.HTTP_ERROR, Outcome.TRANSPORT_ERROR, Outcome.TIMEOUT))
    return int(np.count_nonzero(failed & (begun <= samples.window_ns[1]) & (ended > samples.window_ns[1])))


def _failures(summary: Summary, late: int, first_error: str, limits: ValidityLimits) -> str:
    failed, all_ended = _failed(summary) + late, _ended(summary) + late
    if failed == 0 or (summary.correct and failed <= limits.failed_share * all_ended):
        return ""
    first = f"; first: {first_error}" if first_error else ""
    return (
        f"{failed} of {all_ended} requests of the window failed, above {limits.failed_share:.3g} of them "
        f"({summary.errors} errors, {summary.timeouts} time-outs, "
        f"{late} sent before its end and failed after it){first}"
    )


def _too_little_ended(summary: Summary) -> str:
    if _ended(summary) >= FEWEST_REPLIES or summary.dropped:
        return ""
    return (
        f"{_ended(summary) or 'no'} request{'s' * (_ended(summary) > 1)} ended within the window of "
        f"{summary.window_s:.3g} s, at least {FEWEST_REPLIES} must; make it longer with --serve-duration"
    )


def _at_once(summary: Summary, load: Load) -> int | None:
    """Return how many requests are in flight on average (Little's law); None where the rate is to change."""
    if load.arrivals is None:
        return load.concurrency
    if not isinstance(load.arrivals, (Constant, Poisson)):
        return None
    mean_s = (summary.response_time_mean_ms or 0.0) / 1e3
    return round((summary.throughput_per_s or 0.0) * mean_s)


def _drift(samples: Samples, at_once: int | None, limits: ValidityLimits) -> str:
    return "" if at_once is None else drift_of(window_slices(samples), limits.drift, at_once)


def _imprecise(samples: Samples, load: Load) -> str:
    """Return how far the intervals are from the precision that was asked for, or nothing."""
    if load.precision is None:
        return ""
    found = intervals_of(window_slices(samples))
    if found is not None and found.width <= load.precision:
        return ""
    reached = (
        "too few replies tell how precise its figures are"
        if found is None
        else (
            f"the 95% confidence intervals reached +-{100 * found.throughput_width:.3g}% of the throughput "
            "and "
            + (
                f"+-{100 * found.p95_width:.3g}% of the p95"
                if isfinite(found.p95_width)
                else "no upper end for the p95"
            )
        )
    )
    return (
        f"within {_seconds(*samples.window_ns):.3g} s {reached}, "
        f"not the {100 * load.precision:.3g}% asked for; "
        "allow more time with --serve-duration, or a wider --serve-precision"
    )


def _unequal_thirds(samples: Samples, concurrency: int | None, limits: ValidityLimits) -> str:
    """Return why the window is not one steady state, or nothing.

    Deliberately blunt, because a random verdict is worse than none. A server that batches
    answers up to ``concurrency`` requests in one instant, so a third may have that many
    more or fewer than its share by the luck of where it is cut: both ends are given that
    much. And with few replies (a slow CPU and a short window have about 40) nothing is
    said: at an average below ``thirds_correct`` no ratio of three counts means anything.
    """
    if concurrency is None:
        return ""
    begin, end = samples.window_ns
    ended = samples.received_ns[samples.outcome == Outcome.OK]
    counts, _ = np.histogram(ended[(begin < ended) & (ended <= end)] - begin, bins=3, range=(0, end - begin))
    if samples.folded is not None:
        counts = np.array([third.correct for third in grouped(window_slices(samples), 3)])
    if counts.mean() < limits.thirds_correct:
        return ""
    if counts.max() - concurrency <= limits.thirds_ratio * (counts.min() + concurrency):
        return ""
    text = ", ".join(str(int(count)) for count in counts)
    return f"the thirds of the window hold {text} correct replies: more than {limits.thirds_ratio:g} to 1"
