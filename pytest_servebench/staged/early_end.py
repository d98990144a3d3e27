"""Whether a staged load need not go on, because a stage that holds its rate has missed the objective (pure).

k6's ``abortOnFail`` with ``delayAbortEval`` (its metrics/engine and thresholds.go) looks every 2 s at
everything since the start; here each hold is looked at alone, and ramps are not.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.arrivals import Staged
from pytest_servebench.objective import Limit, TimeLimit
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.staged.outcomes import StageKind
from pytest_servebench.staged.stages import Span, spans_of
from pytest_servebench.statistics.early_stopping import Finding, finding_of

_NS_PER_S = 1e9


def missed_hold(window: Sequence[Slice], load: Load) -> Span | None:
    """Return the first hold that missed the load's objective by now, or None.

    ``window`` are the slices since the warm-up's end. A request counts in the hold in which it ended.
    Nothing is missed before ``abort_after_s`` of the load have passed, or where that is None.
    """
    if load.abort_after_s is None or load.objective is None or not window:
        return None
    if not isinstance(load.arrivals, Staged):
        return None
    started_ns = window[0].begin_ns - round(load.warmup_s * _NS_PER_S)
    if window[-1].end_ns - started_ns < load.abort_after_s * _NS_PER_S:
        return None
    for span in spans_of(load.arrivals, load.warmup_s):
        parts = _within(window, span, started_ns) if span.kind is StageKind.HOLD else []
        if any(_missed(parts, limit) for limit in load.objective.limits):
            return span
    return None


def _within(window: Sequence[Slice], span: Span, started_ns: int) -> list[Slice]:
    begin_ns, end_ns = (started_ns + round(at_s * _NS_PER_S) for at_s in (span.begin_s, span.end_s))
    return [one for one in window if begin_ns <= one.begin_ns and one.end_ns <= end_ns]


def _missed(parts: Sequence[Slice], limit: Limit) -> bool:
    wrong = sum(one.failed + one.dropped for one in parts)
    of = wrong + sum(one.correct for one in parts)
    if isinstance(limit, TimeLimit):
        wrong += sum(one.response_times.count_above(limit.limit_ns) for one in parts)
    return finding_of(wrong, of, limit.miss_share) is Finding.FAIL
