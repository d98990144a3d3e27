"""The nouns of findings; every figure in them was measured, or the finding says that it was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Answer(str, Enum):
    """What the measured figures say of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_MEASURABLE = "not measurable here"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The best of cases that were asked alike, in one figure."""

    figure: str
    """In words: ``lowest p95``."""
    asked: str
    """What the cases that raced share, in words."""
    case: str
    """Stack, format and whatever else tells it from the others."""
    value: float
    unit: str
    interval: tuple[float, float] | None = None
    """95%, over repeats; None: it was not repeated."""
    runner_up: str = ""
    margin: float | None = None
    """How much better than the runner-up, as a share of that one's value."""
    certain: bool = False
    """Whether the intervals of the best and of all others are apart; never without repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim, and what the user's own figures say of it."""

    name: str
    """``dynamic-batching``."""
    text: str
    """As the reference has it."""
    answer: Answer
    reason: str
    """The figures in a sentence; of one that is not measurable, what is missing and how to measure it."""
    value: float | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a run has found."""

    winners: tuple[Winner, ...] = ()
    trade_offs: tuple[str, ...] = ()
    """A sentence each."""
    claims: tuple[Claim, ...] = ()
    bottlenecks: tuple[tuple[str, str], ...] = field(default=())
    """By case, a sentence that names what limits it and the split it was told from."""
