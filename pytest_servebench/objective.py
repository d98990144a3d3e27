"""An objective: what a request must be like for its sender to be content, as ``p95<=50ms,errors<2%``.

It prints as the text that asks for it (``--serve-objective``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from pytest_servebench.errors import PlanError

PERCENTILES = (50, 90, 95, 99)
GRAMMAR = (
    "limits separated by commas: a percentile of the response time (p50, p90, p95, p99) with a time "
    "(us, ms, s), and errors with a share in percent, each after < or <=, as in p95<=50ms,errors<2%"
)
LEAST_PERCENT = Decimal("0.01")
"""A smaller share takes more than 46,000 requests at each rate to be proved; 0 takes none."""
LONGEST_NS = 3600 * 10**9
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3}
"""The largest first: a time is printed in the first unit of which it holds a whole one."""
_LIMIT = re.compile(
    r"(?P<figure>[a-z0-9]+)\s*(?P<sign><=?)\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>us|ms|s|%)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """A percentile of the response time must not exceed a limit, as in ``p95<=50ms``.

    A request that was not answered rightly has no response time and exceeds every limit.
    """

    percentile: int
    limit_ns: int
    inclusive: bool = True
    """Whether exactly the limit still holds (``<=``)."""

    @property
    def miss_share(self) -> float:
        """How many requests may exceed the limit, as a share of all."""
        return (100 - self.percentile) / 100

    @property
    def limit_ms(self) -> float:
        """The limit in milliseconds."""
        return self.limit_ns / 1e6

    def holds(self, seen_ms: float) -> bool:
        """Return whether a response time, or a percentile of many, is within the limit."""
        return seen_ms <= self.limit_ms if self.inclusive else seen_ms < self.limit_ms

    def __str__(self) -> str:
        return f"p{self.percentile}{_sign(self.inclusive)}{_time_text(self.limit_ns)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLimit:
    """A share of requests that must not go wrong, as in ``errors<2%``.

    Whatever is no right answer counts: failures, wrong answers, time-outs and dropped arrivals.
    """

    share: float
    inclusive: bool = False
    """Whether exactly the share still holds (``<=``)."""

    @property
    def miss_share(self) -> float:
        """How many requests may go wrong, as a share of all."""
        return self.share

    def holds(self, seen_share: float) -> bool:
        """Return whether a share of requests that went wrong is within the limit."""
        return seen_share <= self.share if self.inclusive else seen_share < self.share

    def __str__(self) -> str:
        return f"errors{_sign(self.inclusive)}{_percent_text(self.share)}%"


Limit: TypeAlias = TimeLimit | ErrorLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Limits that must hold together. A dropped arrival misses every one of them."""

    times: tuple[TimeLimit, ...] = ()
    errors: ErrorLimit | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits, those on times first."""
        return self.times if self.errors is None else (*self.times, self.errors)

    @property
    def label(self) -> str:
        """The objective as text for test ids and file names, e.g. ``p95-50ms-errors-2``."""
        return re.sub(r"[^a-z0-9.]+", "-", str(self)).strip("-")

    def __str__(self) -> str:
        return ",".join(map(str, self.limits))


def parse_objective(text: str, *, flag: str = "an objective", where: str = "") -> Objective:
    """Return the objective in ``text``; ``flag`` and ``where`` name it in the `PlanError` for a wrong one."""
    times: dict[int, TimeLimit] = {}
    errors: ErrorLimit | None = None
    for part in (piece.strip() for piece in text.split(",")):
        try:
            limit = _limit(part)
        except ValueError as error:
            raise _wrong(flag, where, text, str(error)) from error
        if isinstance(limit, ErrorLimit):
            if errors is not None:
                raise _wrong(flag, where, text, "limits errors twice")
            errors = limit
        elif limit.percentile in times:
            raise _wrong(flag, where, text, f"limits p{limit.percentile} twice")
        else:
            times[limit.percentile] = limit
    return Objective(times=tuple(times.values()), errors=errors)


def _wrong(flag: str, where: str, text: str, what: str) -> PlanError:
    return PlanError(f"{flag} {what}", where=where, seen=repr(text), next_step=f"give {GRAMMAR}")


def _limit(part: str) -> Limit:
    """Return one limit; raises `ValueError` with what is wrong, as said of the option."""
    match = _LIMIT.fullmatch(part)
    if match is None:
        raise ValueError(f"has no limit in {part!r}")
    inclusive, unit, number = match["sign"] == "<=", match["unit"], Decimal(match["number"])
    if match["figure"] == "errors":
        return _error_limit(part, number, unit, inclusive=inclusive)
    percentile = int(match["figure"][1:]) if re.fullmatch(r"p\d\d", match["figure"]) else 0
    if percentile not in PERCENTILES:
        raise ValueError(f"does not know {match['figure']!r}")
    if unit not in _UNITS_NS:
        raise ValueError(f"limits a time by a share in {part!r}")
    limit_ns = int(number * _UNITS_NS[unit])
    if not 0 < limit_ns <= LONGEST_NS:
        raise ValueError(f"has a time that is not above 0 and at most 1 h in {part!r}")
    return TimeLimit(percentile=percentile, limit_ns=limit_ns, inclusive=inclusive)


def _error_limit(part: str, number: Decimal, unit: str, *, inclusive: bool) -> ErrorLimit:
    if unit != "%":
        raise ValueError(f"limits errors by a time in {part!r}")
    share = float(number / 100)
    if share > 1:
        raise ValueError(f"has a share above 100% in {part!r}")
    if share == 0 and not inclusive:
        raise ValueError(f"has a share that nothing is below in {part!r} (errors<=0% is none at all)")
    if 0 < number < LEAST_PERCENT:
        raise ValueError(f"has a share below {LEAST_PERCENT}% in {part!r} (errors<=0% is none at all)")
    return ErrorLimit(share=share, inclusive=inclusive)


def _sign(inclusive: bool) -> str:
    return "<=" if inclusive else "<"


def _percent_text(share: float) -> str:
    """Return the share so that reading it gives the same number: the shortest text of the float."""
    return f"{(Decimal(repr(float(share))) * 100).normalize():f}"


def _time_text(time_ns: int) -> str:
    unit = next((one for one, long_ns in _UNITS_NS.items() if time_ns >= long_ns), "us")
    return f"{Decimal(time_ns) / _UNITS_NS[unit]:f}{unit}"


DEFAULT_OBJECTIVE = Objective(
    times=(TimeLimit(percentile=95, limit_ns=50 * 10**6),), errors=ErrorLimit(share=0.02)
)
"""That of the reference's load test, ``p95<=50ms,errors<2%``."""
