"""How many requests of an open loop missed an objective, and what that says (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from pytest_servebench.objective import Objective, TimeLimit
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.staged.stages import Due, due_in
from pytest_servebench.statistics.early_stopping import (
    Finding,
    finding_of,
    requests_to_decide,
    requests_to_pass,
)

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


def times_of(samples: Samples) -> Due:
    """Return what became of the arrivals that were due inside the window, with their response times.

    Due, not ended: an arrival whose reply comes after the window, or never, is not left out. Of requests
    without rows those that ended inside the window count, a few that were due in the warm-up among them:
    no more than were in flight when it began.
    """
    begin, end = samples.window_ns
    due = (begin < samples.intended_ns) & (samples.intended_ns <= end)
    return due_in(samples, due, samples.folded.inside if samples.folded is not None else None)


def service_times_of(samples: Samples) -> Due:
    """Return the same of those that were sent, with their service times: the server's part alone."""
    due = times_of(samples).without_lag
    sent = (0 if ended is Outcome.DROPPED else due.outcomes[ended] for ended in Outcome)
    return replace(due, outcomes=tuple(sent))


def assess(due: Due, objective: Objective) -> Assessment:
    """Return what the arrivals ``due`` say of ``objective``, which has a limit at least."""
    of = due.offered
    missed = [(due.missed(limit), limit.miss_share) for limit in objective.limits]
    needed = [requests_to_decide(count, of, share) for count, share in missed]
    finding = joined([finding_of(count, of, share) for count, share in missed])
    return Assessment(
        requests=of,
        over=due.missed(objective.times[0]) if objective.times else 0,
        failed=of - due.correct,
        percentile_ms=_percentile_ms(due, objective),
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


def _percentile_ms(due: Due, objective: Objective) -> float | None:
    """Return the order statistic itself: between a time and infinity nothing can be interpolated."""
    if not objective.times or not due.offered:
        return None
    place = ceil(objective.times[0].percentile * due.offered / 100) - 1
    if place >= due.times.count:
        return None
    return float(due.times.values_ms[np.searchsorted(due.times.up_to, place, side="right")])
