"""What another precision than fp32 brings, and what it costs in right answers (pure).

For each stack and format that was measured in both: all else that was asked is the same, the load too; of
several loads the largest. Only cases that may be believed are compared: a precision whose answers were beyond
their tolerance has no speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_servebench.comparison.intervals import Ratio
from pytest_servebench.plan import Precision
from pytest_servebench.reports.findings.measured import Measured, Value, once, ratio
from pytest_servebench.reports.numbers import number_of, three_digits
from pytest_servebench.reports.row import Row

BY_CHANCE = "one start each, so nothing says how much of it is chance"


def precisions_of(cases: Sequence[Measured]) -> tuple[str, ...]:
    """Return a sentence for each stack, format and precision that was measured beside fp32."""
    groups: dict[str, list[Measured]] = {}
    for case in once(cases):
        if case.row.is_believed:
            groups.setdefault(case.alike("precision"), []).append(case)
    largest: dict[object, tuple[Measured, Measured]] = {}
    for group in groups.values():
        for over, under in _beside_fp32(group):
            row = over.row
            key = (row.stack, row.model, row.form, row.device, row.payload, row.protocol)
            if key not in largest or _size(over) > _size(largest[key][0]):
                largest[key] = (over, under)
    return tuple(_told(over, under) for over, under in largest.values())


def _beside_fp32(group: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    plain = next((case for case in group if case.row.precision == Precision.FP32), None)
    if plain is not None:
        yield from ((case, plain) for case in group if case is not plain)


def _size(case: Measured) -> tuple[int, int]:
    return case.in_flight, case.row.max_batch_size


def _told(over: Measured, under: Measured) -> str:
    row = over.row
    repeated = all(each.row.replicates for each in (over, under))
    parts = [
        _times(over, under, _images, "the images/s", "images/s"),
        _times(over, under, _p95, "the p95", "ms"),
        _answers(over, under),
    ]
    told = ", ".join(filter(None, parts))
    asked = f"{row.payload} over {row.protocol}, max batch {row.max_batch_size}, {row.load}, on {row.device}"
    what = f"{row.stack} {row.format}, {row.precision} against {under.row.precision}"
    return f"{what}: {told} ({asked}{'' if repeated else f'; {BY_CHANCE}'})"


def _images(row: Row) -> float | None:
    return row.images_per_s


def _p95(row: Row) -> float | None:
    return row.response_time_p95_ms


def _times(over: Measured, under: Measured, value: Value, what: str, unit: str) -> str:
    found = ratio(over, under, value)
    if found is None:
        return ""
    figures = f"{three_digits(value(over.row))} against {three_digits(value(under.row))} {unit}"
    return f"{three_digits(found.value)} times {what} ({figures}{_interval(found)})"


def _interval(found: Ratio) -> str:
    return "" if found.interval is None else f"; 95%: {' to '.join(map(three_digits, found.interval))} times"


def _answers(over: Measured, under: Measured) -> str:
    """Return how far answers lay from the reference at most, on either side, and what is allowed."""
    worst, plain = _worst(over), _worst(under)
    if worst is None:
        return ""
    beside = "" if plain is None else f", in {under.row.precision} {plain:.2g}"
    allowed = _largest(over, "tolerance")
    of = "" if allowed is None else f" ({allowed:g} is allowed)"
    return f"largest difference of an answer {worst:.2g}{of}{beside}"


def _worst(case: Measured) -> float | None:
    return _largest(case, "worst_difference")


def _largest(case: Measured, name: str) -> float | None:
    """Return the largest number of that name in what was verified before and during all replicates."""
    checks = (
        (record.get("verification") or {}).get(when) for record in case.valid for when in ("before", "during")
    )
    found = [each for check in checks if (each := number_of(check, name)) is not None]
    return max(found, default=None)
