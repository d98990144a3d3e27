"""What the best costs: trade-offs in a sentence each, where the difference is worth one (pure).

A difference is worth a sentence from 10% on; where cases are repeated, only when their intervals are
apart, too. Both sides of a trade-off must be worth it: what is gained, and what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_servebench.reports.findings.measured import Measured, Value
from pytest_servebench.reports.findings.races import apart, configuration
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.row import Row

WORTH = 1.1
"""From this ratio on a difference is worth a sentence."""


def _images(row: Row) -> float | None:
    return row.images_per_s


def _p95(row: Row) -> float | None:
    return row.response_time_p95_ms


def _memory(row: Row) -> float | None:
    return row.memory_gb


def trade_offs_of(cases: Sequence[Measured]) -> tuple[str, ...]:
    """Return a sentence for each trade-off among cases that may be believed."""
    believed = [case for case in cases if case.row.is_believed]
    groups: dict[object, list[Measured]] = {}
    for case in believed:
        groups.setdefault(case.row.group, []).append(case)
    among = [sentence for group in groups.values() for sentence in _among(group)]
    return tuple(dict.fromkeys([*among, *_of_load(believed)]))


def _among(group: Sequence[Measured]) -> Iterator[str]:
    """Yield what the fastest of cases asked alike costs against the others."""
    served = [case for case in group if case.row.images_per_s is not None and case.in_flight]
    if not served:
        return
    fastest = max(served, key=lambda case: case.row.images_per_s or 0)
    for value, what, unit in ((_p95, "p95", "ms"), (_memory, "memory", "GB")):
        told = [case for case in served if value(case.row) is not None]
        least = min(told, key=lambda case: value(case.row) or 0, default=fastest)
        cost, gain = _worth(value, fastest, least), _worth(_images, fastest, least)
        if cost and gain:
            yield (
                f"{fastest.name} serves {three_digits(gain)} times the images/s of {least.name} for"
                f" {three_digits(cost)} times its {what} ({_both(_images, fastest, least)} images/s,"
                f" {_both(value, fastest, least)} {unit};"
                f" {fastest.row.benchmark}, max batch {fastest.row.max_batch_size}, {fastest.row.load})"
            )


def _of_load(cases: Sequence[Measured]) -> Iterator[str]:
    """Yield, for the fastest configuration of each stack, what more in flight brought and cost."""
    for stack in dict.fromkeys(case.row.stack for case in cases):
        of_stack = [c for c in cases if c.row.stack == stack and c.in_flight and c.row.images_per_s]
        if not of_stack:
            continue
        fastest = max(of_stack, key=lambda case: case.row.images_per_s or 0)
        fewer = [case for case in of_stack if _server(case) == _server(fastest)]
        calm = min(fewer, key=lambda case: case.in_flight)
        gain, cost = _worth(_images, fastest, calm), _worth(_p95, fastest, calm)
        if gain and cost and calm.in_flight < fastest.in_flight:
            yield (
                f"{configuration(fastest)} serves {three_digits(gain)} times the images/s of {calm.row.load}"
                f" for {three_digits(cost)} times its p95 ({_both(_images, fastest, calm)} images/s,"
                f" {_both(_p95, fastest, calm)} ms)"
            )


def _server(case: Measured) -> object:
    row = case.row
    asked_so = (row.model, row.payload, row.protocol, row.device)
    return (case.name, row.max_batch_size, row.items_per_request, *asked_so)


def _worth(value: Value, one: Measured, other: Measured) -> float | None:
    """Return how many times as great a figure is; None where it is not worth a sentence, or may be chance."""
    great, small = value(one.row), value(other.row)
    if not great or not small or great / small < WORTH or not apart(value, one, other):
        return None
    return great / small


def _both(value: Value, one: Measured, other: Measured) -> str:
    return f"{three_digits(value(one.row))} against {three_digits(value(other.row))}"
