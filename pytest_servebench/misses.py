"""How many requests of an open loop missed an objective, and what that says (pure)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_servebench.early_stopping import Finding, finding_of, requests_to_decide, requests_to_pass
from pytest_servebench.objective import Limit, Objective, TimeLimit
from pytest_servebench.samples import Outcome, Samples

Times = npt.NDArray[np.float64]
"""Response times in milliseconds, in order of the arrivals; infinite for a request without a right answer."""

FEW_MISSES = 5
"""So many misses of a limit on times should not keep a rate that holds it from being found out."""

NARROW = 2.0
"""A limit failed narrowly when at most so many times the misses that it allows were seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the arrivals of one window say of an objective."""

    requests: int
    over: int
    """Requests beyond the first limit on times, those without a right answer among them."""
    failed: int
    """Requests without a right answer."""
    percentile_ms: float | None
    """The response time at the percentile of the first limit on times; None when failures reach so far."""
    finding: Finding
    """FAIL when one limit does not hold, PASS when all do, else UNDECIDED."""
    narrow: bool
    """Whether a FAIL is one by so little that a queue's bad moment may be all there is to it."""
    needed: int | None
    """About how many requests decide when misses go on like this; None when no number does."""


def times_of(samples: Samples) -> Times:
    """Return the response times of the arrivals that were due inside the window.

    Due, not ended: an arrival whose reply comes after the window, or never, is not left out.
    """
    return _times_since(samples.intended_ns, samples, _due(samples))


def service_times_of(samples: Samples) -> Times:
    """Return the service times of the same arrivals, those that were sent: the server's part alone."""
    return _times_since(samples.sent_ns, samples, _due(samples) & (samples.sent_ns >= 0))


def _due(samples: Samples) -> npt.NDArray[np.bool_]:
    begin, end = samples.window_ns
    due: npt.NDArray[np.bool_] = (begin < samples.intended_ns) & (samples.intended_ns <= end)
    return due


def _times_since(begun_ns: npt.NDArray[np.int64], samples: Samples, chosen: npt.NDArray[np.bool_]) -> Times:
    times_ms = (samples.received_ns[chosen] - begun_ns[chosen]) / 1e6
    return np.where(samples.outcome[chosen] == Outcome.OK, times_ms, np.inf)


def assess(times_ms: Times, objective: Objective) -> Assessment:
    """Return what ``times_ms`` say of ``objective``, which has a limit at least."""
    of = len(times_ms)
    missed = [(_missed(times_ms, limit), limit.miss_share) for limit in objective.limits]
    needed = [requests_to_decide(count, of, share) for count, share in missed]
    finding = joined([finding_of(count, of, share) for count, share in missed])
    return Assessment(
        requests=of,
        over=_missed(times_ms, objective.times[0]) if objective.times else 0,
        failed=int(np.isinf(times_ms).sum()),
        percentile_ms=_percentile_ms(times_ms, objective),
        finding=finding,
        narrow=finding is Finding.FAIL and all(count <= NARROW * share * of for count, share in missed),
        needed=None if None in needed else max(count for count in needed if count is not None),
    )


def fewest_requests(objective: Objective) -> int:
    """Return how many requests a window should have at the least, so that it may decide."""
    return max(
        requests_to_pass(FEW_MISSES if isinstance(limit, TimeLimit) else 0, limit.miss_share)
        for limit in objective.limits
    )


def joined(findings: list[Finding]) -> Finding:
    """Return what several limits say together."""
    if Finding.FAIL in findings:
        return Finding.FAIL
    return Finding.UNDECIDED if Finding.UNDECIDED in findings else Finding.PASS


def _missed(times_ms: Times, limit: Limit) -> int:
    if not isinstance(limit, TimeLimit):
        return int(np.isinf(times_ms).sum())
    held = times_ms <= limit.limit_ms if limit.inclusive else times_ms < limit.limit_ms
    return int(len(times_ms) - held.sum())


def _percentile_ms(times_ms: Times, objective: Objective) -> float | None:
    """Return the order statistic itself: between a time and infinity nothing can be interpolated."""
    if not objective.times or not len(times_ms):
        return None
    found = float(np.percentile(times_ms, objective.times[0].percentile, method="inverted_cdf"))
    return found if np.isfinite(found) else None
