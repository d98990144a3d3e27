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
    tied: tuple[str, ...] = ()
    """Others that it cannot be told from: intervals overlap or, without repeats, figures are equal."""
    certain: bool = False
    """Whether the intervals of the best and of all others are apart; never without repeats."""

    @property
    def is_level(self) -> bool:
        """Whether nobody is ahead: another has the same figure, and no repeats tell them apart."""
        return bool(self.tied) and self.interval is None

    @property
    def level(self) -> str:
        """The cases with that figure: ``triton onnx and fastapi onnx``."""
        return f"{', '.join((self.case, *self.tied[:-1]))} and {self.tied[-1]}" if self.tied else self.case


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One pair of cases that a claim was tested on, or one case, and what its figures say."""

    cases: str
    """Which, in words: ``triton onnx, max batch 8 against 1, 16 in flight``."""
    answer: Answer
    told: str
    """The figures."""
    why: str = ""
    """Of one that is not measurable: why, and what would tell."""
    value: float | None = None
    interval: tuple[float, float] | None = None


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
    """Of the comparison that decides: the one farthest from what is claimed."""
    unit: str = ""
    interval: tuple[float, float] | None = None
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a run has found."""

    overall: tuple[str, ...] = ()
    """The best of all configurations, whatever they were asked, a sentence each."""
    winners: tuple[Winner, ...] = ()
    trade_offs: tuple[str, ...] = ()
    """A sentence each."""
    precisions: tuple[str, ...] = ()
    """What other precisions than fp32 bring and cost, a sentence each."""
    claims: tuple[Claim, ...] = ()
    bottlenecks: tuple[tuple[str, str], ...] = field(default=())
    """By case, a sentence that names what limits it and the split it was told from."""

    def claim(self, name: str) -> Claim:
        """Return the claim of a name; raises KeyError for one that there is not."""
        return {claim.name: claim for claim in self.claims}[name]
