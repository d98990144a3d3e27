"""The reference's table beside the user's own figures (pure).

The reference measured ResNet50 on an RTX 4090. Its hardware, load and weights are not the user's, so the two
stand side by side, and nothing here says that one is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.findings.measured import Measured, measured_cases
from pytest_servebench.reports.findings.races import configuration
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.reports.row import Row

MODEL = "resnet50"
SOURCE = "the reference, on an RTX 4090"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """What the reference says of one stack."""

    stack: str
    p50_ms: float
    p95_ms: float
    images_per_s: float
    gpu_utilization_percent: float
    memory_gb: float
    max_batch_size: int


REFERENCE = (
    ReferenceRow(
        stack="fastapi",
        p50_ms=12,
        p95_ms=15,
        images_per_s=2800,
        gpu_utilization_percent=68,
        memory_gb=1.2,
        max_batch_size=8,
    ),
    ReferenceRow(
        stack="triton",
        p50_ms=5,
        p95_ms=8,
        images_per_s=5200,
        gpu_utilization_percent=89,
        memory_gb=1.8,
        max_batch_size=32,
    ),
    ReferenceRow(
        stack="torchserve",
        p50_ms=8,
        p95_ms=12,
        images_per_s=3400,
        gpu_utilization_percent=74,
        memory_gb=2.1,
        max_batch_size=16,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideReference:
    """One stack of the reference, and the user's own case of it that serves most."""

    reference: ReferenceRow
    own: Row | None = None
    case: str = ""
    """Which one it is: format, batch and load."""
    absent: str = ""
    """Why there is none; empty: there is one."""


def beside_reference(records: Sequence[Record]) -> tuple[BesideReference, ...]:
    """Return each stack of the reference with the user's row of it that has most images/s.

    Only rows that may be believed, of the reference's model and under a closed loop.
    """
    cases = measured_cases(records)
    return tuple(_beside(reference, cases) for reference in REFERENCE)


def _beside(reference: ReferenceRow, cases: Sequence[Measured]) -> BesideReference:
    of_stack = [case for case in cases if case.row.stack == reference.stack]
    of_model = [case for case in of_stack if case.row.model == MODEL]
    loaded = [case for case in of_model if case.row.is_believed and case.in_flight and case.row.images_per_s]
    if loaded:
        best = max(loaded, key=lambda case: case.row.images_per_s or 0)
        return BesideReference(reference=reference, own=best.row, case=configuration(best))
    if not of_stack:
        absent = "not measured"
    elif not of_model:
        absent = f"only {', '.join(sorted({case.row.model for case in of_stack}))} was measured, not {MODEL}"
    else:
        absent = "no valid run with a fixed number of requests in flight"
    return BesideReference(reference=reference, absent=absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceTable:
    """Both tables as one: of each stack a line of the reference, and one of the user's."""

    words: str
    """What must be known to read it."""
    lines: tuple[tuple[str, ...], ...]
    measured: bool
    """Whether any of the user's lines has figures."""


HEADER = ("stack", "whose", "p50 ms", "p95 ms", "images/s", "GPU %", "memory GB", "max batch")
WORDS = 2
"""Columns of words; the others are of numbers."""


def reference_table(records: Sequence[Record]) -> ReferenceTable:
    """Return the reference's figures beside those of a run."""
    beside = beside_reference(records)
    machines = dict.fromkeys(_machine(record) for record in records if record.get("machine"))
    yours = "; ".join(machines) or NOT_AVAILABLE
    return ReferenceTable(
        words=f"Other hardware, another load and other weights: {SOURCE}; yours, on {yours}."
        " Neither is a measure for the other.",
        lines=tuple(tuple(of(each)) for each in beside for of in (_of_reference, _of_own)),
        measured=any(each.own is not None for each in beside),
    )


def _of_reference(each: BesideReference) -> list[str]:
    row = each.reference
    figures = (row.p50_ms, row.p95_ms, row.images_per_s, row.gpu_utilization_percent, row.memory_gb)
    return [row.stack, SOURCE, *(f"{value:,g}" for value in figures), str(row.max_batch_size)]


def _of_own(each: BesideReference) -> list[str]:
    row = each.own
    if row is None:
        return [each.reference.stack, f"yours: {each.absent}", *[NOT_AVAILABLE] * 6]
    figures = (row.response_time_p50_ms, row.response_time_p95_ms, row.images_per_s)
    more = (row.gpu_utilization_percent, row.memory_gb)
    told = [NOT_AVAILABLE if value is None else three_digits(value) for value in (*figures, *more)]
    return [row.stack, f"yours: {each.case}", *told, str(row.max_batch_size)]


def _machine(record: Record) -> str:
    """Return what served: the GPU where there was one, else the CPU."""
    telemetry, machine = record.get("telemetry") or {}, record["machine"]
    cpu = f"{machine.get('cpu') or 'an unknown CPU'}, {machine.get('cores_usable') or '?'} cores"
    return str(telemetry.get("gpu_name") or cpu)
