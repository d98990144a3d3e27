"""Nouns of a comparison: what is limited, what has changed, and what is said of it. All frozen."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.words import Word


class ChangeVerdict(Word):
    """What is said of one figure of one case."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    PASS = "pass"  # noqa: S105 (a verdict, no secret)
    INCONCLUSIVE = "inconclusive"
    NOT_LIMITED = "not_limited"
    """The figures of both sides are there, and nobody asked for a verdict on them."""


class Doubt(Word):
    """Why a change is inconclusive."""

    MISSING = "missing"
    """One side has no such case, or no such figure of it."""
    DIFFERENT = "different"
    """The sides were measured on different machines, of different things, or under different loads."""
    INVALID = "invalid"
    """Runs of one side are not valid."""
    TOO_FEW = "too_few"
    """So few replicates that no change at all could be significant."""
    NOISE = "noise"
    """The change is beyond the limit, and might be chance."""


class Severity(Word):
    """What an inconclusive change does to the exit code."""

    AUTO = "auto"
    """Fails, but for noise: where nothing could be compared nothing is green."""
    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLimit:
    """How much worse one figure may become."""

    figure: str
    """A word of `figures.FIGURES`."""
    share: float
    """0.1: ten per cent of the baseline's median."""
    floor: float | None = None
    """Absolute change, in the figure's unit, below which nothing is a regression; None: the figure's own."""


DEFAULT_LIMITS = (ChangeLimit(figure="p95", share=0.05), ChangeLimit(figure="throughput", share=0.05))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a run is compared with, and what may have changed."""

    baseline: str
    """A promoted baseline's name, or a path."""
    limits: tuple[ChangeLimit, ...] = DEFAULT_LIMITS
    inconclusive: Severity = Severity.AUTO
    allowed: frozenset[str] = frozenset()
    """Facts of the fingerprint that may differ; ``all`` allows every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one case, now against before."""

    case: str
    """As `replicates.case_name` has it."""
    figure: str
    unit: str
    verdict: ChangeVerdict
    doubt: Doubt | None = None
    reason: str = ""
    """Why it is inconclusive, in one sentence."""
    remedy: str = ""
    """What would make it conclusive; empty where nothing is to be done."""
    baseline: float | None = None
    """Median of the baseline's replicates."""
    now: float | None = None
    change: float | None = None
    """now / baseline - 1: of a response time 0.1 is ten per cent slower."""
    interval: tuple[float, float] | None = None
    """95% confidence interval of ``change``; None: so few replicates give none."""
    limit: float | None = None
    """The share that was allowed; None: the figure was only compared."""
    p_value: float | None = None
    """One-sided, of the direction that is worse."""
    replicates: tuple[int, int] = (0, 0)
    """Of the baseline, and now."""

    @property
    def fails(self) -> bool:
        """Whether it is a regression."""
        return self.verdict is ChangeVerdict.REGRESSION
