"""The reference's claims, put to the user's own figures (pure).

A claim is tested on pairs of cases that were asked the same but for what it is about, under a closed loop
that keeps at least a full batch in flight. Its figure is a ratio of images/s with a 95% interval over repeats
(Welch's, on logarithms: `comparison.intervals.ratio_across`). One start of each server tells nothing of how
starts differ, so without repeats nothing is confirmed and nothing refuted; the ratio is told all the same.

A comparison is

- `refuted` where the interval has no value in common with the claimed range;
- `confirmed` where it has one, lies beyond half of the way (in ratios) from "no difference" to that range,
  and is no wider (its ends as a ratio) than its upper end: an interval as wide as the effect tells nothing;
- `not measurable here` otherwise.

A claim speaks of all stacks: one comparison refutes it, and it is confirmed where every comparison confirms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, sqrt

from pytest_servebench.comparison.intervals import Interval, Ratio, across_runs, overlap
from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.findings.finding import Answer, Claim, Comparison
from pytest_servebench.reports.findings.measured import Measured, once, ratio
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.split import COMPUTE, Split, joined_splits, largest_part, split_of

BATCHING, FORMATS, BEST_BATCH, BOTTLENECK = "dynamic-batching", "onnx-faster", "best-batch", "bottleneck"
NO_REPEATS = "one start of each server tells nothing of how starts differ: repeat them with --serve-repeats=5"
TOO_FEW = "more of --serve-repeats would tell"
NO_DIFFERENCE = 1.0
BEST_SIZES = (16, 32)
HALF = 0.5
"""Of the service time: what has more of it is the bottleneck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two cases, and what is claimed of the first one's images/s over the second one's."""

    cases: str
    over: Measured
    under: Measured
    claimed: Interval


def claims_of(cases: Sequence[Measured]) -> tuple[Claim, ...]:
    """Return the four claims with their answers, in the reference's order."""
    loaded = [c for c in once(cases) if c.row.is_believed and _fills_batches(c) and c.row.images_per_s]
    return (
        _claim(
            BATCHING,
            "dynamic batching gives 2 to 3 times the throughput",
            [_compared(pair) for pair in _batching(loaded)],
            missing="no stack was measured with max batch 1 and a larger one under one load of at least that"
            " many in flight: --serve-batch-size=1,8 --serve-concurrency=8",
        ),
        _claim(
            FORMATS,
            "ONNX is 15 to 20% faster than PyTorch",
            [_compared(pair) for pair in _formats(loaded)],
            missing="no stack was measured with formats onnx and pytorch under one load that fills"
            " its batches: --serve-format=onnx,pytorch --serve-batch-size=8 --serve-concurrency=8",
        ),
        _claim(
            BEST_BATCH,
            "the best batch is 16 to 32",
            list(_best_batch(loaded)),
            missing="no stack was measured with a max batch from 16 to 32 and another one under one load of"
            " at least that many in flight: --serve-batch-size=1,8,16,32 --serve-concurrency=32",
        ),
        _claim(
            BOTTLENECK,
            "the model's computation is the bottleneck",
            list(_bottlenecks(loaded)),
            missing="no server told its queue and compute times under a load that fills its batches:"
            " --serve-batch-size=8 --serve-concurrency=8",
            unit="of the service time",
        ),
    )


def answer_of(found: Ratio | None, claimed: Interval) -> Answer:
    """Return what a ratio says of a claimed range, by the rule above."""
    if found is None or found.interval is None:
        return Answer.NOT_MEASURABLE
    low, high = found.interval
    if not overlap(found.interval, claimed):
        return Answer.REFUTED
    tells = low > sqrt(claimed[0]) and high / low <= claimed[1]
    return Answer.CONFIRMED if tells else Answer.NOT_MEASURABLE


def _images(row: Row) -> float | None:
    return row.images_per_s


def _fills_batches(case: Measured) -> bool:
    return case.in_flight >= max(2, case.row.max_batch_size)


def _compared(pair: Pair) -> Comparison:
    found = ratio(pair.over, pair.under, _images)
    answer = answer_of(found, pair.claimed)
    figures = f"{_median(pair.over)} against {_median(pair.under)} images/s"
    return Comparison(
        cases=pair.cases,
        answer=answer,
        told=f"{_times(found)} ({figures})",
        why="" if answer is not Answer.NOT_MEASURABLE else _why_not(found),
        value=None if found is None else found.value,
        interval=None if found is None else found.interval,
    )


def _why_not(found: Ratio | None) -> str:
    if found is None or found.interval is None:
        return NO_REPEATS
    low, high = found.interval
    holds = low <= NO_DIFFERENCE <= high
    doubt = "no difference and the claimed one are both possible" if holds else "the interval is too wide"
    return f"{doubt}: {TOO_FEW}"


def _times(found: Ratio | None) -> str:
    if found is None:
        return "no ratio"
    if found.interval is None:
        return f"{three_digits(found.value)} times"
    return f"{three_digits(found.value)} times, {' to '.join(map(three_digits, found.interval))}"


def _median(case: Measured) -> str:
    return three_digits(case.row.images_per_s)


def _batching(cases: Sequence[Measured]) -> Iterator[Pair]:
    """Yield, for each stack and format, the larger max batch that serves most, over max batch 1.

    Under the load with most in flight: the claim gets its best chance, so what refutes it is not the choice.
    """
    for group in _alike(cases, "max_batch_size"):
        single = [case for case in group if case.row.max_batch_size == 1]
        larger = [case for case in group if case.row.max_batch_size > 1]
        if single and larger:
            over = max(larger, key=lambda case: case.row.images_per_s or 0)
            words = f"{over.name}{_way(over)}, max batch {over.row.max_batch_size} against 1, {over.row.load}"
            yield Pair(cases=words, over=over, under=single[0], claimed=(2.0, 3.0))


def _formats(cases: Sequence[Measured]) -> Iterator[Pair]:
    """Yield, for each stack, ONNX over PyTorch under the load with most in flight, at the largest batch."""
    for group in _alike(cases, "format"):
        by_format = {case.row.format: case for case in group}
        if {ModelFormat.ONNX, ModelFormat.PYTORCH} <= by_format.keys():
            over, under = by_format[ModelFormat.ONNX], by_format[ModelFormat.PYTORCH]
            words = f"{over.row.form} against {under.row.form}, max batch {over.row.max_batch_size}"
            cases_told = f"{over.row.stack}{_way(over)}, {words}, {over.row.load}"
            yield Pair(cases=cases_told, over=over, under=under, claimed=(1.15, 1.2))


def _best_batch(cases: Sequence[Measured]) -> Iterator[Comparison]:
    """Yield, for each stack and format, its best max batch from 16 to 32 against the best of the others.

    Confirmed where one from 16 to 32 is beyond chance better than every other, refuted where another is
    beyond chance better than every one of these.
    """
    for group in _alike(cases, "max_batch_size"):
        claimed = [case for case in group if BEST_SIZES[0] <= case.row.max_batch_size <= BEST_SIZES[1]]
        others = [case for case in group if case not in claimed]
        if claimed and others:
            yield _sizes_compared(claimed, others)


def _sizes_compared(claimed: Sequence[Measured], others: Sequence[Measured]) -> Comparison:
    best, other = (max(side, key=lambda case: case.row.images_per_s or 0) for side in (claimed, others))
    found = ratio(best, other, _images)
    answer = Answer.NOT_MEASURABLE
    if all(_is_more(best, each) for each in others):
        answer = Answer.CONFIRMED
    elif all(_is_more(other, each) for each in claimed):
        answer = Answer.REFUTED
    alone = found is None or found.interval is None
    why = NO_REPEATS if alone else f"the best sizes cannot be told apart: {TOO_FEW}"
    every = sorted((*claimed, *others), key=lambda case: case.row.max_batch_size)
    sizes = ", ".join(f"{case.row.max_batch_size}: {_median(case)}" for case in every)
    told = f"max batch {best.row.max_batch_size} serves {_times(found)} what {other.row.max_batch_size} does"
    return Comparison(
        cases=f"{best.name}{_way(best)}, {best.row.load}",
        answer=answer,
        told=f"{told} (images/s by max batch {sizes})",
        why=why if answer is Answer.NOT_MEASURABLE else "",
        value=None if found is None else found.value,
        interval=None if found is None else found.interval,
    )


def _is_more(one: Measured, other: Measured) -> bool:
    found = ratio(one, other, _images)
    return found is not None and found.interval is not None and found.interval[0] > NO_DIFFERENCE


def _bottlenecks(cases: Sequence[Measured]) -> Iterator[Comparison]:
    """Yield, for each stack, what limits the case that serves most."""
    for stack in dict.fromkeys(case.row.stack for case in cases):
        case = max((c for c in cases if c.row.stack == stack), key=lambda c: c.row.images_per_s or 0)
        split = joined_splits([split_of(record) for record in case.valid])
        if isinstance(split, Split):
            yield _limit_told(case, split)


def _limit_told(case: Measured, joined: Split) -> Comparison:
    """Return whether the computation, and waiting for it, takes more than half of the service time."""
    part = largest_part(joined, case.row.stack, case.row.payload)
    waits = part == COMPUTE and joined.is_full
    splits = [split for record in case.valid if isinstance(split := split_of(record), Split)]
    shares = [_waited_share(split, waits=waits) for split in splits]
    across = across_runs(shares) if case.row.replicates and case.row.restarted else None
    interval = None if across is None else across.interval
    answer, why = Answer.NOT_MEASURABLE, NO_REPEATS
    if interval is not None:
        above, below = interval[0] > HALF, interval[1] < HALF
        answer = Answer.CONFIRMED if above else Answer.REFUTED if below else Answer.NOT_MEASURABLE
        why = "" if above or below else f"the interval holds a half: {TOO_FEW}"
    share = sorted(shares)[len(shares) // 2] if across is None else across.median
    bounds = "" if interval is None else f", {min(interval[0], 1):.0%} to {min(interval[1], 1):.0%}"
    what = "computation and waiting for it" if waits else "computation"
    return Comparison(
        cases=f"{case.name}, max batch {case.row.max_batch_size}, {case.row.load}",
        answer=answer,
        told=f"{part}; {what} {share:.0%} of the service time{bounds}",
        why=why,
        value=share,
        interval=None if interval is None else (interval[0], min(interval[1], 1.0)),
    )


def _waited_share(split: Split, *, waits: bool) -> float:
    """Return the computation's share of the time; with the queue's where it is one for the computation."""
    return min(1.0, (split.compute_ms + split.queue_ms * waits) / split.service_ms)


def _alike(cases: Sequence[Measured], but: str) -> Iterator[list[Measured]]:
    """Yield cases alike but for one field; of what is served and asked so, those under the largest load."""
    groups: dict[str, list[Measured]] = {}
    for case in cases:
        groups.setdefault(case.alike(but), []).append(case)
    best: dict[object, list[Measured]] = {}
    for group in groups.values():
        row = group[0].row
        served = (row.stack, row.model, row.precision, row.device, row.payload, row.protocol)
        key = served if but == "format" else (*served, row.format)
        if len(group) > 1 and (key not in best or _size(group) > _size(best[key])):
            best[key] = group
    yield from best.values()


def _size(group: Sequence[Measured]) -> tuple[int, int]:
    return max((case.in_flight, case.row.max_batch_size) for case in group)


def _way(case: Measured) -> str:
    """Return how a case was asked, where it is not as usual."""
    usual = {"tensor", "http"}
    return "".join(f" {word}" for word in (case.row.payload, case.row.protocol) if word not in usual)


def _claim(
    name: str, text: str, comparisons: Sequence[Comparison], *, missing: str, unit: str = "times"
) -> Claim:
    """Return a claim with the answer of all its comparisons together."""
    if not comparisons:
        return Claim(name=name, text=text, answer=Answer.NOT_MEASURABLE, reason=missing, unit=unit)
    answers = {each.answer for each in comparisons}
    answer = Answer.CONFIRMED if answers == {Answer.CONFIRMED} else Answer.NOT_MEASURABLE
    answer = Answer.REFUTED if Answer.REFUTED in answers else answer
    ordered = sorted(comparisons, key=lambda each: each.answer is not answer)
    telling = _most_telling([each for each in comparisons if each.answer is answer])
    return Claim(
        name=name,
        text=text,
        answer=answer,
        reason="; ".join([*(f"{each.cases}: {each.told}" for each in ordered), *_whys(ordered)]),
        value=telling.value,
        unit=unit,
        interval=telling.interval,
        comparisons=tuple(ordered),
    )


def _whys(comparisons: Sequence[Comparison]) -> list[str]:
    """Return why some are not measurable, each reason once."""
    return list(dict.fromkeys(each.why for each in comparisons if each.why))


def _most_telling(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the one with the least figure: the weakest that confirms, the clearest that refutes."""
    return min(comparisons, key=lambda each: log(each.value) if each.value else 0.0)
