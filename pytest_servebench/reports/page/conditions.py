"""Under which conditions a case was measured: all that its records tell, in groups (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.backend import backend_of
from pytest_servebench.reports.bottleneck import bottleneck_of
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.page.cases import PageCase
from pytest_servebench.reports.page.doubts import is_good, reasons_of
from pytest_servebench.reports.page.fields_shown import label, shown, shown_over
from pytest_servebench.reports.row import Row

SERVED = (
    "backend",
    "served",
    "launcher",
    "device",
    "container",
    "model",
    "weights",
    "artifact_sha256",
    "cold_start_s",
    "restarted",
    "lane",
    "cpu_set",
    "waited_s",
    "monitoring",
    "quick",
    "settings",
)
WINDOW = (
    "window_s",
    "warmup_s",
    "settled",
    "offered_per_s",
    "achieved_per_s",
    "throughput_per_s",
    "images_per_s",
    "images_per_s_per_gpu",
    "counts",
    "first_error",
    "samples",
    "scaling",
    "serving_efficiency",
    "serving_efficiency_absent",
    "raw",
)
TIMES = ("response_time_ms", "service_time_ms", "send_lag_ms")
INTERVALS = ("response_time_p95_ci_ms", "throughput_ci_per_s", "within_run")
CLIENT = (
    "client_cpu_share",
    "client_cpu_shares",
    "workers",
    "ceiling_per_s",
    "ceiling_absent",
    "k6",
)
REPLICATE_FIGURES: Mapping[str, Callable[[Row], float | None]] = {
    "p50 ms": lambda row: row.response_time_p50_ms,
    "p95 ms": lambda row: row.response_time_p95_ms,
    "p99 ms": lambda row: row.response_time_p99_ms,
    "images/s": lambda row: row.images_per_s,
    "cold start s": lambda row: row.cold_start_s,
}

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionGroup:
    """Some of the conditions, a word and its value each."""

    title: str
    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """All of a case."""

    case: PageCase
    groups: tuple[ConditionGroup, ...]
    absent: Pairs
    """Reasons why figures are missing, each with these figures."""
    good: bool
    """Whether it may be believed, and no limit was broken."""
    doubts: tuple[str, ...]
    """Reasons not to believe it, and what else was at work, a sentence each."""
    replicate_heads: tuple[tuple[str, bool], ...] = ()
    """Of each column its words, and whether it is of numbers."""
    replicates: tuple[tuple[str, ...], ...] = ()


def conditions_of(case: PageCase) -> Conditions:
    """Return all conditions of a case; where replicates differ, from which to which."""
    records = case.records
    telemetry = [record.get("telemetry") or {} for record in records]
    served = [record.get("served") or {} for record in records]
    groups = {
        "Load": _fields([record["load"] for record in records]),
        "Case": _fields([record["case"] for record in records], ("id", "repeat")),
        "Server": _named([{**record, "backend": backend_of(record)} for record in records], SERVED),
        "Window": _named(records, WINDOW),
        "Bottleneck": _bottleneck(case.row),
        "Response times": _named(records, TIMES),
        "Intervals": (*_across(case.row), *_named(records, INTERVALS)),
        "Verification": _fields([record.get("verification") or {} for record in records]),
        "Client": _named(records, CLIENT),
        "Telemetry": _known(telemetry),
        "Capacity": _fields([record.get("capacity") or {} for record in records], ("trials",)),
        "Machine and versions": _fields([record.get("machine") or {} for record in records]),
    }
    return Conditions(
        case=case,
        groups=tuple(ConditionGroup(title=title, pairs=pairs) for title, pairs in groups.items() if pairs),
        absent=_absent(telemetry),
        good=is_good(case.row),
        doubts=tuple(dict.fromkeys((*reasons_of(case.row), *_warnings((*served, *telemetry))))),
        replicate_heads=(
            ("repeat", False),
            *((name, True) for name in REPLICATE_FIGURES),
            ("verdict", False),
        ),
        replicates=_replicates(case.row),
    )


def _bottleneck(row: Row) -> Pairs:
    """Return what kept the case from more, why that is said, and where its time went."""
    found = bottleneck_of(row.evidence)
    pairs = (("limited by", str(found.kind)), ("because", found.why), ("and", found.beside))
    return tuple((name, text) for name, text in pairs if text)


def _fields(found: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> Pairs:
    """Return every field but those ``without``."""
    names = dict.fromkeys(name for each in found for name in each if name not in without)
    return tuple((label(name), shown_over(name, [each.get(name) for each in found])) for name in names)


def _named(records: Sequence[Record], names: Sequence[str]) -> Pairs:
    """Return these fields of the records; one that is empty everywhere says nothing."""
    found = {name: [each.get(name) for each in records] for name in names}
    return tuple(
        (label(name), shown_over(name, values))
        for name, values in found.items()
        if any(value not in (None, "", {}, []) for value in values)
    )


def _known(telemetry: Sequence[Mapping[str, Any]]) -> Pairs:
    """Return what was read; what was not is told with its reason."""
    names = dict.fromkeys(name for each in telemetry for name in each if name not in {"absent", "warnings"})
    return _named(telemetry, tuple(names))


def _absent(telemetry: Sequence[Mapping[str, Any]]) -> Pairs:
    reasons: dict[str, dict[str, None]] = {}
    for each in telemetry:
        for name, why in each.get("absent", {}).items():
            reasons.setdefault(str(why), {})[label(name)] = None
    return tuple((why, "; ".join(names)) for why, names in reasons.items())


def _warnings(telemetry: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in telemetry:
        yield from each.get("warnings", ())


def _across(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the intervals over repeats, or why there are none."""
    figures = {"p95, ms": lambda one: one.response_time_p95_ms, "images/s": lambda one: one.images_per_s}
    for name, value in figures.items():
        across = row.across(value)
        if across is not None and across.interval is not None:
            low, high = (number(each, decimals([each])) for each in across.interval)
            yield f"{name}, over repeats", f"95% [{low}, {high}] of {across.replicates} server starts"
    if not row.replicates:
        yield "over repeats", "none: it was measured once, so nothing tells how starts differ"
    elif not row.restarted:
        yield "over repeats", "none: the server was not restarted, so nothing tells how starts differ"


def _replicates(row: Row) -> tuple[tuple[str, ...], ...]:
    columns = []
    for value in REPLICATE_FIGURES.values():
        values = [value(one) for one in row.replicates]
        places = decimals([each for each in values if each is not None])
        columns.append([number(each, places) for each in values])
    return tuple(
        (shown("repeat", one.repeat), *(column[at] for column in columns), one.verdict)
        for at, one in enumerate(row.replicates)
    )
