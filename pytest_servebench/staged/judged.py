"""Whether the stages of a load that hold their rate held the objective (pure).

k6 judges the whole test, ramps and all, over everything since its start (its thresholds.go), so
that a long quiet stage can outweigh a broken busy one. Here each hold is judged alone, by the
requests that were due in it, and as surely as their number allows (`early_stopping`).
"""

from __future__ import annotations

from math import inf

from pytest_servebench.arrivals import Staged
from pytest_servebench.objective import ErrorLimit, Limit, Objective
from pytest_servebench.plan import Load
from pytest_servebench.results import Summary
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.staged.outcomes import StageKind, StageMiss, StageResult, StageVerdict
from pytest_servebench.staged.stages import Due, Span, due_in, spans_of, stages_of
from pytest_servebench.statistics.early_stopping import Finding, finding_of, requests_to_decide
from pytest_servebench.statistics.keeping_up import CLIENT_CPU_SHARE, ArrivalLimits, busy_client, late_client

ON_TIME_MS = 100.0
"""The reference's check on the time of each reply."""
_NS_PER_S = 1e9
_ROUNDING_S = 1e-6


def stage_results(samples: Samples, load: Load) -> tuple[StageResult, ...]:
    """Return the stages of a staged load that has run, judged where there is an objective.

    Outcomes are those after verification. Nothing for other arrivals, nor for stages whose
    rates are still to be found.
    """
    if not isinstance(load.arrivals, Staged) or load.arrivals.peak_share is not None:
        return ()
    started_ns = _started_ns(samples, load)
    # A steady warm-up may have ended before its time.
    warmup_s = min(load.warmup_s, (samples.window_ns[0] - started_ns) / _NS_PER_S)
    spans = spans_of(load.arrivals, warmup_s)
    which = stages_of(samples.intended_ns, spans, started_ns)
    ended_s = (samples.window_ns[1] - started_ns) / _NS_PER_S
    folded = () if samples.folded is None else samples.folded.stages
    return tuple(
        _result(
            span,
            due_in(samples, which == place, *folded[span.number - 1 : span.number]),
            ended_s,
            load,
            samples,
        )
        for place, span in enumerate(spans)
    )


def _started_ns(samples: Samples, load: Load) -> int:
    if samples.started_ns is not None:
        return samples.started_ns
    return samples.window_ns[0] - round(load.warmup_s * _NS_PER_S)


def _result(span: Span, due: Due, ended_s: float, load: Load, samples: Samples) -> StageResult:
    ran_s = min(max(0.0, ended_s - span.begin_s), span.duration_s)
    lag_known = samples.arrivals_due is None
    blind = "" if lag_known else _client_without_lag(span, due, ran_s, samples)
    verdict, reason, misses = verdict_on(span, due, ran_s, load.objective, blind=blind)
    return StageResult(
        number=span.number,
        kind=span.kind,
        begin_per_s=span.begin_per_s,
        end_per_s=span.end_per_s,
        begin_s=span.begin_s,
        duration_s=span.duration_s,
        ran_s=ran_s,
        offered=due.offered,
        correct=due.correct,
        wrong=due.outcomes[Outcome.WRONG],
        errors=due.outcomes[Outcome.HTTP_ERROR] + due.outcomes[Outcome.TRANSPORT_ERROR],
        timeouts=due.outcomes[Outcome.TIMEOUT],
        dropped=due.outcomes[Outcome.DROPPED],
        offered_per_s=due.offered / ran_s if ran_s else None,
        achieved_per_s=due.sent / ran_s if ran_s else None,
        response_time_p50_ms=due.percentile_ms(50),
        response_time_p95_ms=due.percentile_ms(95),
        response_time_p99_ms=due.percentile_ms(99),
        send_lag_p99_ms=due.send_lags.percentile_ms(99) if lag_known else None,
        status_share=_share(due.correct + due.outcomes[Outcome.WRONG], due),
        on_time_share=_share(due.times.within(ON_TIME_MS), due),
        compared=due.compared,
        verdict=verdict,
        reason=reason,
        misses=misses,
    )


def _share(count: int, due: Due) -> float | None:
    return count / due.offered if due.offered else None


def verdict_on(
    span: Span, due: Due, ran_s: float, objective: Objective | None, *, blind: str = ""
) -> tuple[StageVerdict, str, tuple[StageMiss, ...]]:
    """Return the verdict on a stage that ran for ``ran_s``, why it is no ``pass``, and the limits it failed.

    Only a stage that holds its rate has one. A stage that was cut short decides nothing, unless it had
    failed already, and neither does a late client, unless the service times alone fail: its lateness is
    no part of those. ``blind`` is why a client whose lateness nobody knows may be to blame: then its
    service times prove nothing either.
    """
    if not ran_s:
        return StageVerdict.NOT_RUN, f"{span} was not run: the load ended before it", ()
    if span.kind is not StageKind.HOLD or objective is None:
        return StageVerdict.NOT_JUDGED, "", ()
    if blind:
        return StageVerdict.UNDECIDED, f"{span}: {blind}", ()
    client = _late_client(due, ran_s)
    counted = due.without_lag if client else due
    failed = limits_found(counted, objective, Finding.FAIL)
    if failed:
        lateness = " (by service times alone, as the client was late)" if client else ""
        texts = {limit: _missed_text(counted, limit) for limit in failed}
        misses = tuple(
            _miss(counted, limit, f"{span} missed {text}{lateness}") for limit, text in texts.items()
        )
        return StageVerdict.FAIL, f"{span} missed {'; and '.join(texts.values())}{lateness}", misses
    doubt = client or _too_short(span, due, ran_s, objective)
    return (StageVerdict.UNDECIDED, f"{span}: {doubt}", ()) if doubt else (StageVerdict.PASS, "", ())


def _miss(due: Due, limit: Limit, sentence: str) -> StageMiss:
    if isinstance(limit, ErrorLimit):
        seen = due.missed(limit) / due.offered
        return StageMiss(metric="error_share", limit=limit.share, seen=seen, sentence=sentence)
    return StageMiss(
        metric=f"response_time_p{limit.percentile}_ms",
        limit=limit.limit_ms,
        seen=due.percentile_ms(limit.percentile),
        sentence=sentence,
    )


def _too_short(span: Span, due: Due, ran_s: float, objective: Objective) -> str:
    """Return why a stage that did not fail has not passed either, or nothing."""
    if ran_s < span.duration_s - _ROUNDING_S:
        return f"the load ended after {ran_s:.3g} of its {span.duration_s:g} s"
    unsure = limits_found(due, objective, Finding.UNDECIDED)
    return "; and ".join(_unsure_text(due, one) for one in unsure)


def limits_found(due: Due, objective: Objective, finding: Finding) -> tuple[Limit, ...]:
    """Return the limits of which the requests say ``finding``."""
    return tuple(
        limit
        for limit in objective.limits
        if finding_of(due.missed(limit), due.offered, limit.miss_share) is finding
    )


def _late_client(due: Due, ran_s: float) -> str:
    """Return why the client did not do its part in a stage: by the rules for a whole window."""
    p95_ms = due.percentile_ms(95)
    seen = Summary(
        window_s=ran_s,
        correct=due.correct,
        send_lag_p99_ms=due.send_lags.percentile_ms(99),
        response_time_p95_ms=inf if p95_ms is None else p95_ms,
    )
    return late_client(seen, ArrivalLimits())


def _client_without_lag(span: Span, due: Due, ran_s: float, samples: Samples) -> str:
    """Return why a client that does not tell its lateness may not have done its part, or nothing.

    Its requests are known by when they were sent, so that what it owes to a hold is the rate's word; its
    CPU time is known of the whole window only.
    """
    if not ran_s or span.kind is not StageKind.HOLD:
        return ""
    window_s = (samples.window_ns[1] - samples.window_ns[0]) / _NS_PER_S
    seen = Summary(
        window_s=ran_s,
        correct=due.correct,
        dropped=due.outcomes[Outcome.DROPPED],
        offered_per_s=span.end_per_s,
        achieved_per_s=due.sent / ran_s,
        client_cpu_share=samples.client_cpu_s / window_s,
    )
    return late_client(seen, ArrivalLimits()) or busy_client(seen, samples.client_cores, CLIENT_CPU_SHARE)


def _missed_text(due: Due, limit: Limit) -> str:
    missed = due.missed(limit)
    share = f"{missed} of {due.offered} requests ({missed / due.offered:.1%})"
    if isinstance(limit, ErrorLimit):
        return f"{limit}: {share} had no right answer ({_kinds(due)})"
    seen_ms = due.percentile_ms(limit.percentile)
    seen = "" if seen_ms is None else f"p{limit.percentile} {seen_ms:.4g} ms, "
    return f"{limit}: {seen}{share} took longer or had no right answer"


def _kinds(due: Due) -> str:
    words = {
        "errors": due.outcomes[Outcome.HTTP_ERROR] + due.outcomes[Outcome.TRANSPORT_ERROR],
        "time-outs": due.outcomes[Outcome.TIMEOUT],
        "wrong answers": due.outcomes[Outcome.WRONG],
        "dropped": due.outcomes[Outcome.DROPPED],
    }
    return ", ".join(f"{count} {word}" for word, count in words.items() if count)


def _unsure_text(due: Due, limit: Limit) -> str:
    missed = due.missed(limit)
    needed = requests_to_decide(missed, due.offered, limit.miss_share)
    more = "no number of requests decides" if needed is None else f"about {needed} requests decide"
    return f"{limit} is undecided: {missed} of {due.offered} requests missed it; if it goes on so, {more}"
