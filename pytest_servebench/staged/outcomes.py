"""Nouns that come out of a staged load: what became of each stage, and how its rates came about."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.words import Word


class StageKind(Word):
    """What the rate of a stage does."""

    RAMP = "ramp"
    HOLD = "hold"
    PAUSE = "pause"
    """It stays at 0."""


class StageVerdict(Word):
    """What the objective says of a stage."""

    PASS = "pass"  # noqa: S105 (a verdict, no secret)
    FAIL = "fail"
    UNDECIDED = "undecided"
    """Too few requests to tell, or a client that was late: neither is a pass."""
    NOT_JUDGED = "not judged"
    """It is no hold, or there is no objective."""
    NOT_RUN = "not run"
    """The load ended before it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMiss:
    """One limit of the objective that a stage did not hold."""

    metric: str
    """What was limited: ``response_time_p95_ms``, or ``error_share`` (0 to 1)."""
    limit: float
    seen: float | None
    """None: the percentile lies among requests without a right answer."""
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """One stage of a staged load: what became of the requests that were due in it, whenever they ended.

    A request without a right answer is slower than any other: a percentile that lies among such
    requests is None, and so is every figure of a stage in which nothing was due.
    """

    number: int
    """Its place among the stages as they are written, from 1."""
    kind: StageKind
    begin_per_s: float
    end_per_s: float
    begin_s: float
    """From the load's start; the part that lies in the warm-up is left out."""
    duration_s: float
    """How long it is meant to be."""
    ran_s: float
    """How long it was; 0: it was not reached."""
    offered: int
    """Arrivals that were due."""
    correct: int
    wrong: int
    errors: int
    timeouts: int
    dropped: int
    offered_per_s: float | None = None
    achieved_per_s: float | None = None
    """Of the requests due in it, how many per second were sent."""
    response_time_p50_ms: float | None = None
    response_time_p95_ms: float | None = None
    response_time_p99_ms: float | None = None
    send_lag_p99_ms: float | None = None
    status_share: float | None = None
    """Check: share of the arrivals that were answered with the status of success."""
    on_time_share: float | None = None
    """Check: share of the arrivals that were answered rightly within 100 ms."""
    compared: int = 0
    """Check: answers compared with the reference; ``wrong`` of them were not equal."""
    verdict: StageVerdict = StageVerdict.NOT_JUDGED
    reason: str = ""
    """Why it is not ``pass``, in one sentence."""
    misses: tuple[StageMiss, ...] = ()
    """The limits that it failed; none unless its verdict is ``fail``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How staged rates were fitted to a server, by a closed loop just before them."""

    capacity_per_s: float
    """Correct responses per second of the closed loop."""
    in_flight: int
    window_s: float
    share: float
    """What the highest rate was to be of the capacity."""
    factor: float
    """What the rates were multiplied by for that."""
    arrivals: str
    """The stages that were then run, as text."""
    doubt: str = ""
    """Why the closed loop may not be believed, in one sentence."""
