"""Court: a case's result and its thresholds to a verdict (pure).

Missing is not passing: a run that is not valid, or a figure that is not there,
is inconclusive, and no limit at all is ungated. Neither is a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pytest_servebench.errors import PlanError
from pytest_servebench.plan import Threshold
from pytest_servebench.results import Breach, CaseResult, Judgement, Summary, Validity, Verdict
from pytest_servebench.staged.outcomes import StageKind, StageMiss, StageResult, StageVerdict
from pytest_servebench.words import did_you_mean, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A summary figure that can have a limit."""

    field: str
    """Its name in `results.Summary` and in `plan.Threshold.metric`."""
    at_most: bool
    """True: the limit is a ceiling; False: a floor."""
    unit: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "p50_ms": Metric(field="response_time_p50_ms", at_most=True, unit="ms"),
        "p95_ms": Metric(field="response_time_p95_ms", at_most=True, unit="ms"),
        "p99_ms": Metric(field="response_time_p99_ms", at_most=True, unit="ms"),
        "images_per_s": Metric(field="images_per_s", at_most=False, unit="images/s"),
        "requests_per_s": Metric(field="throughput_per_s", at_most=False, unit="requests/s"),
        "capacity_per_s": Metric(field="capacity_per_s", at_most=False, unit="requests/s"),
    },
)
"""What a thresholds file may limit, by the word used there."""

_BY_FIELD = {metric.field: metric for metric in METRICS.values()}


def judge(result: CaseResult, thresholds: Sequence[Threshold], *, ungated_reason: str = "") -> Verdict:
    """Return the verdict on ``result``.

    In this order: no thresholds and no stage with an objective, ``ungated``; a stage that missed
    its objective and did not answer wrongly, ``fail``; run not valid,
    ``inconclusive``; a limit not held, ``fail`` (even when another figure is missing); a figure or
    limit that is no number, or a stage that is undecided, ``inconclusive``; else ``pass``.
    ``ungated_reason`` says why there is no limit, when the caller knows. Raises `PlanError` for
    a metric that is not in `METRICS`.
    """
    stages = _by_stages(result)
    if (
        stages is not None
        and stages.judgement is Judgement.FAIL
        and result.validity is not Validity.WRONG_OUTPUT
    ):
        limits = () if result.summary is None else _compare(result.summary, thresholds).breaches
        return replace(stages, breaches=(*stages.breaches, *(limits if result.publishable else ())))
    if not thresholds and stages is None:
        return Verdict(
            judgement=Judgement.UNGATED,
            reason=ungated_reason or f"no limit was given for {result.case.id}",
        )
    if result.validity is not Validity.VALID or result.summary is None:
        why = result.reason or "no summary"
        return Verdict(
            judgement=Judgement.INCONCLUSIVE,
            reason=f"the run cannot be judged: {result.validity}: {why}",
        )
    verdict = _compare(result.summary, thresholds)
    return verdict if stages is None or verdict.judgement is not Judgement.PASS else stages


def _by_stages(result: CaseResult) -> Verdict | None:
    """Return what the stages that hold their rate say together; None when none is judged.

    A stage that was not run is as open as one with too few requests: only if all passed did they.
    """
    failed = [stage for stage in result.stages if stage.verdict is StageVerdict.FAIL]
    if failed:
        breaches = tuple(_stage_breach(result, stage, miss) for stage in failed for miss in stage.misses)
        return Verdict(judgement=Judgement.FAIL, breaches=breaches)
    holds = [stage for stage in result.stages if stage.kind is StageKind.HOLD]
    if not holds or result.case.load.objective is None:
        return None
    open_ones = [stage.reason for stage in holds if stage.verdict is not StageVerdict.PASS]
    if open_ones:
        return Verdict(judgement=Judgement.INCONCLUSIVE, reason="; ".join(open_ones))
    return Verdict(judgement=Judgement.PASS)


def _stage_breach(result: CaseResult, stage: StageResult, miss: StageMiss) -> Breach:
    return Breach(
        metric=f"stage_{stage.number}_{miss.metric}",
        limit=miss.limit,
        seen=miss.seen,
        profile=str(result.case.load.objective),
        sentence=miss.sentence,
    )


def _compare(summary: Summary, thresholds: Sequence[Threshold]) -> Verdict:
    seen = [(threshold, _figure(summary, threshold)) for threshold in thresholds]
    breaches = tuple(_breach(t, value) for t, value in seen if value is not None and _exceeds(t, value))
    if breaches:
        return Verdict(judgement=Judgement.FAIL, breaches=breaches)
    absent = [t.metric for t, value in seen if value is None or math.isnan(t.limit)]
    if absent:
        return Verdict(
            judgement=Judgement.INCONCLUSIVE,
            reason=f"no figure to compare with the limit: {listed(absent)}",
        )
    return Verdict(judgement=Judgement.PASS)


def _figure(summary: Summary, threshold: Threshold) -> float | None:
    if threshold.metric not in _BY_FIELD:
        raise PlanError(
            f"a threshold names the metric {threshold.metric!r}{did_you_mean(threshold.metric, _BY_FIELD)}",
            where=f"profile {threshold.profile}",
            next_step=f"use one of: {listed(_BY_FIELD)}",
        )
    value = getattr(summary, threshold.metric)
    return None if value is None or math.isnan(value) else float(value)


def _exceeds(threshold: Threshold, value: float) -> bool:
    return value > threshold.limit if threshold.at_most else value < threshold.limit


def _breach(threshold: Threshold, value: float) -> Breach:
    unit = _BY_FIELD[threshold.metric].unit
    seen, limit = _distinct_texts(value, threshold.limit)
    side = "above" if threshold.at_most else "below"
    return Breach(
        metric=threshold.metric,
        limit=threshold.limit,
        seen=value,
        profile=threshold.profile,
        sentence=(
            f"{threshold.metric} {seen} {unit} is {_distance(value, threshold.limit)}{side} "
            f"the limit {limit} {unit} (profile {threshold.profile})"
        ),
    )


def _distance(value: float, limit: float) -> str:
    """Return ``22.4% ``, or nothing where a share of the limit means nothing."""
    if limit <= 0 or math.isinf(value):
        return ""
    percent = abs(value - limit) / limit * 100
    return f"{percent:.1f}% " if percent >= 0.1 else "less than 0.1% "  # noqa: PLR2004 (what .1f can show)


def _distinct_texts(value: float, limit: float) -> tuple[str, str]:
    """Return both with as many digits as it takes to see that they differ."""
    for digits in (1, 3, 6):
        texts = _text(value, digits), _text(limit, digits)
        if texts[0] != texts[1]:
            return texts
    return repr(value), repr(limit)


def _text(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
