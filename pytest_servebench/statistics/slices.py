"""A load's time line: made of samples, made coarser, and laid side by side (pure)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from pytest_servebench.samples import Outcome, Samples, Slice
from pytest_servebench.statistics.histogram import Histogram

STEP_NS = 100_000_000
"""A slice's length in loads of up to a minute."""


def paired(slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices joined two by two from the first on; an odd last one stays."""
    return [
        slices[at] + slices[at + 1] if at + 1 < len(slices) else slices[at] for at in range(0, len(slices), 2)
    ]


def coarsened(slices: Sequence[Slice], at_most: int) -> tuple[Slice, ...]:
    """Return the same time line in at most so many slices."""
    found = list(slices)
    while len(found) > at_most:
        found = paired(found)
    return tuple(found)


def joined(slices: Iterable[Slice]) -> Slice:
    """Return one slice over all of them; there must be one. Quicker than adding them up."""
    parts = list(slices)
    return Slice(
        begin_ns=min(part.begin_ns for part in parts),
        end_ns=max(part.end_ns for part in parts),
        offered=sum(part.offered for part in parts),
        sent=sum(part.sent for part in parts),
        correct=sum(part.correct for part in parts),
        failed=sum(part.failed for part in parts),
        dropped=sum(part.dropped for part in parts),
        response_times=Histogram.merged(part.response_times for part in parts),
    )


def grouped(slices: Sequence[Slice], groups: int) -> tuple[Slice, ...]:
    """Return ``slices`` joined into so many groups in a row, their numbers of slices alike to one."""
    edges = [round(at * len(slices) / groups) for at in range(groups + 1)]
    return tuple(joined(slices[first:end]) for first, end in pairwise(edges))


def window_slices(samples: Samples) -> tuple[Slice, ...]:
    """Return the slices of the measured window; cut from the arrays where the time line has none there.

    Then, too, nothing may have been folded.
    """
    begin_ns, end_ns = samples.window_ns
    inside = tuple(one for one in samples.slices if begin_ns <= one.begin_ns and one.end_ns <= end_ns)
    return inside or _cut(samples)


def side_by_side(lines: Sequence[Sequence[Slice]]) -> tuple[Slice, ...]:
    """Return the time line of several clients together, whose slices began at about the same instants.

    Its edges are those of the line with the fewest slices; a slice of another line goes whole to
    the part that its middle lies in.
    """
    lines = [line for line in lines if line]
    if not lines:
        return ()
    guide = min(lines, key=len)
    begins = [one.begin_ns for one in guide]
    parts: list[list[Slice]] = [[one] for one in guide]
    for line in (one for one in lines if one is not guide):
        for one in line:
            at = bisect_right(begins, (one.begin_ns + one.end_ns) // 2) - 1
            parts[max(0, at)].append(one)
    return tuple(_within(joined(part), one) for part, one in zip(parts, guide, strict=True))


def _within(total: Slice, guide: Slice) -> Slice:
    """Return the counts of ``total`` between the edges of ``guide``, so that a line has no overlaps."""
    return Slice(
        begin_ns=guide.begin_ns,
        end_ns=guide.end_ns,
        offered=total.offered,
        sent=total.sent,
        correct=total.correct,
        failed=total.failed,
        dropped=total.dropped,
        response_times=total.response_times,
    )


def _cut(samples: Samples) -> tuple[Slice, ...]:
    begin_ns, end_ns = samples.window_ns
    count = max(1, min(600, (end_ns - begin_ns) // STEP_NS))
    edges = np.linspace(begin_ns, end_ns, count + 1).astype(np.int64)
    sent = np.histogram(samples.sent_ns, edges + 1)[0]
    dropped_rows = samples.outcome == Outcome.DROPPED
    dropped = np.histogram(samples.intended_ns[dropped_rows], edges + 1)[0]
    ended = samples.received_ns >= 0
    correct = ended & (samples.outcome == Outcome.OK)
    failed = np.histogram(samples.received_ns[ended & ~correct & ~dropped_rows], edges + 1)[0]
    times_ns, received_ns = (samples.received_ns - samples.intended_ns)[correct], samples.received_ns[correct]
    order = np.argsort(received_ns, kind="stable")
    at = np.searchsorted(received_ns[order], edges, side="right")
    return tuple(
        Slice(
            begin_ns=int(edges[k]),
            end_ns=int(edges[k + 1]),
            offered=int(sent[k] + dropped[k]),
            sent=int(sent[k]),
            correct=int(at[k + 1] - at[k]),
            failed=int(failed[k]),
            dropped=int(dropped[k]),
            response_times=Histogram.of(times_ns[order[at[k] : at[k + 1]]]),
        )
        for k in range(count)
    )
