"""Entries of pytest-benchmark for samples that were taken elsewhere.

pytest-benchmark offers no way in for them (its issue 52), so this file builds its
``Metadata`` and ``Stats``, which are private; `recording` appends what comes out to
its session. These two files are the only ones that know pytest-benchmark, and
`check_pytest_benchmark` says so when a version no longer fits.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias

from pytest_servebench.errors import MissingPieceError

Private: TypeAlias = Any
"""An object of pytest-benchmark's private API."""


def entries_of(parcel: Mapping[str, Any]) -> list[Private]:
    """Return the pytest-benchmark entries of one case.

    The response times are the main entry. Stock pytest-benchmark has no column for a
    percentile and takes OPS for 1 / mean, so two siblings carry the 95th percentile
    and the seconds per correct request, in one round each: with one value, every
    column of every stock table, also ``min``, shows the figure that was measured.
    (Percentiles of sub-windows would give a spread, but windows of one run are no
    replicates, and the spread would be read as if they were.) OPS is the true
    throughput in all three.
    """
    record, head = parcel["record"], parcel["label"]
    p95_ms, throughput_per_s = record["response_time_ms"]["p95"], record["throughput_per_s"]
    if not parcel["data"] or not throughput_per_s:
        return [_entry(parcel, head, [], None, {"servebench": record}, has_error=True)]
    main = _entry(parcel, head, parcel["data"], throughput_per_s, {"servebench": record})
    main.stats.exact = (parcel["mean_s"], parcel["stddev_s"])
    figures = {"p95": None if p95_ms is None else p95_ms / 1e3, "request_interval": 1 / throughput_per_s}
    of = {"servebench_of": main.fullname}
    return [main] + [
        _entry(parcel, f"{head}:{name}", [value], throughput_per_s, dict(of))
        for name, value in figures.items()
        if value is not None
    ]


def _entry(
    parcel: Mapping[str, Any],
    label: str,
    data: list[float],
    throughput_per_s: float | None,
    extra_info: dict[str, Any],
    *,
    has_error: bool = False,
) -> Private:
    """Return one entry, ``label`` put before the brackets of its name.

    An entry without samples is how pytest-benchmark itself keeps a benchmark that
    failed: no table and no ``benchmarks`` list shows it, and a session with no other
    entry is saved all the same, with its records.
    """
    from pytest_benchmark.stats import Metadata

    name, bracket, tail = parcel["name"].partition("[")
    named = f"{name}{label}{bracket}{tail}"
    figure = label.partition(":")[2] or "response time"
    fixture = SimpleNamespace(
        name=named,
        fullname=parcel["fullname"].removesuffix(parcel["name"]) + named,
        group=f"{parcel['group']}: {figure.replace('_', ' ')}",
        param=parcel["param"],
        params=parcel["params"],
        extra_info=extra_info,
        cprofile_stats=None,
        has_error=has_error,
    )
    options = {"timer": "servebench"}
    entry = Metadata(fixture, iterations=1, options=options)  # type: ignore[no-untyped-call]
    entry.stats = _served_stats()(data, throughput_per_s)
    return entry


@functools.cache
def _served_stats() -> Private:
    """Return pytest-benchmark's Stats with a true OPS.

    Imported here, so that a version without it gets our message and not an import
    error in every pytest of the environment.
    """
    from pytest_benchmark.stats import Stats

    class ServedStats(Stats):
        """Samples that overlapped in time, perhaps thinned: throughput, mean and spread are given."""

        def __init__(self, data: list[float], throughput_per_s: float | None) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.data = data
            self.throughput_per_s = throughput_per_s
            self.exact: tuple[float, float] | None = None

        @property
        def ops(self) -> float | None:
            """Correct requests per second."""
            return self.throughput_per_s

        @property
        def mean(self) -> float:
            """Mean of all samples, those thinned away included."""
            return float(super().mean) if self.exact is None else self.exact[0]

        @property
        def stddev(self) -> float:
            """Standard deviation of all samples, those thinned away included."""
            return float(super().stddev) if self.exact is None else self.exact[1]

    return ServedStats


def check_pytest_benchmark() -> None:
    """Write one entry and read it back; raises `MissingPieceError` when the private API has changed."""
    sample = {
        "record": {"response_time_ms": {"p95": 2.0}, "throughput_per_s": 500.0},
        "name": "t[a]",
        "fullname": "t.py::t[a]",
        "label": "",
        "group": "g",
        "param": "a",
        "params": {},
        "data": [0.001, 0.002],
        "mean_s": 0.0015,
        "stddev_s": 0.0,
    }
    try:
        saved = [entry.as_dict() for entry in entries_of(sample)]
        seen = [(each["fullname"], each["stats"]["data"], each["stats"]["ops"]) for each in saved]
    except Exception as problem:
        raise _unknown_version(f"{type(problem).__name__}: {problem}") from problem
    expected = [
        ("t.py::t[a]", [0.001, 0.002], 500.0),
        ("t.py::t:p95[a]", [0.002], 500.0),
        ("t.py::t:request_interval[a]", [0.002], 500.0),
    ]
    if seen != expected:
        raise _unknown_version(f"entries {seen}")


def _unknown_version(seen: str) -> MissingPieceError:
    from importlib.metadata import version

    return MissingPieceError(
        f"pytest-benchmark {version('pytest-benchmark')} cannot be written to by this pytest-servebench",
        where="pytest_servebench/entries.py, which uses Metadata and Stats",
        seen=seen,
        next_step="pip install 'pytest-benchmark>=5.3.1,<6', or record nothing with -p no:benchmark",
    )
