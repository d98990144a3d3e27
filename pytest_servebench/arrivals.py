"""Arrivals as nouns: when requests begin, whatever the server does. No arrivals: a closed loop.

They print as the text that asks for them (``--serve-arrivals=poisson:50``).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

CLOSED = "closed"
"""The word for no arrivals: a closed loop."""
AUTO: Literal["auto"] = "auto"
"""The word for rates that follow from a capacity measured just before."""
Scale: TypeAlias = float | Literal["auto"]
"""What staged rates are multiplied by."""
PEAK_SHARE = 0.7
"""``auto``: what the highest rate becomes, as a share of the capacity; above, every stack queues."""
_DIGITS = 4
"""Digits of a factor that was measured: as many as its text has, so that text and rates agree."""
LABEL_LENGTH = 32
_UNFIT = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Constant:
    """One arrival every ``1 / per_s`` seconds, without end."""

    per_s: float

    def __str__(self) -> str:
        return f"constant:{self.per_s:g}"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals of a mean rate, without end: what many users who do not know each other make."""

    per_s: float

    def __str__(self) -> str:
        return f"poisson:{self.per_s:g}"


@dataclass(frozen=True, slots=True)
class Stage:
    """A linear ramp to ``per_s`` within ``duration_s``; a jump when that is 0."""

    duration_s: float
    per_s: float

    def __str__(self) -> str:
        return f"{self.duration_s:g}s:{self.per_s:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Ramps one after another, the first from ``start_per_s``; evenly spaced, or ``random`` as in Poisson."""

    stages: tuple[Stage, ...]
    start_per_s: float = 0.0
    random: bool = False
    name: str = ""
    """A word that stands for exactly these stages, e.g. ``reference``."""
    peak_share: float | None = None
    """Set: the rates tell the shape only, and their highest is to become this share of a capacity
    that is measured just before (`at_capacity`)."""

    def __str__(self) -> str:
        kind = "poisson-stages" if self.random else "stages"
        text = self.name or f"{kind}:{self.start_per_s:g}:{','.join(map(str, self.stages))}"
        return text if self.peak_share is None else f"{text} x {AUTO}"

    @property
    def length_s(self) -> float:
        """How long all stages take."""
        return sum(stage.duration_s for stage in self.stages)

    def lasting(self, length_s: float) -> Staged:
        """Return the same rates within another time: every stage is shortened or lengthened alike."""
        if length_s == self.length_s:
            return self
        factor = length_s / self.length_s
        stages = tuple(Stage(stage.duration_s * factor, stage.per_s) for stage in self.stages)
        return replace(self, stages=stages, name=f"{self.name} in {length_s:g}s" if self.name else "")

    @property
    def peak_per_s(self) -> float:
        """The highest rate."""
        return max(self.start_per_s, *(stage.per_s for stage in self.stages))

    def highest_per_s(self, until_s: float) -> float:
        """Return the highest rate up to an instant of the schedule, within a ramp the one it has got to."""
        highest_per_s = rate_per_s = self.start_per_s
        for stage in self.stages:
            if until_s < stage.duration_s:
                reached_per_s = rate_per_s + (stage.per_s - rate_per_s) * until_s / stage.duration_s
                return max(highest_per_s, reached_per_s)
            until_s, rate_per_s = until_s - stage.duration_s, stage.per_s
            highest_per_s = max(highest_per_s, rate_per_s)
        return highest_per_s

    def scaled(self, scale: Scale) -> Staged:
        """Return the same stages with every rate multiplied; ``auto`` leaves that to `at_capacity`."""
        if scale == AUTO:
            return replace(self, peak_share=PEAK_SHARE)
        return replace(
            self,
            start_per_s=self.start_per_s * scale,
            stages=tuple(Stage(stage.duration_s, stage.per_s * scale) for stage in self.stages),
            name=f"{self.name} x {scale:g}" if self.name and scale != 1 else self.name,
            peak_share=None,
        )

    def at_capacity(self, per_s: float) -> tuple[Staged, float]:
        """Return the stages whose highest rate is `peak_share` of ``per_s``, and the factor that took."""
        factor = float(f"{(self.peak_share or 1.0) * per_s / self.peak_per_s:.{_DIGITS}g}")
        return self.scaled(factor), factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The arrivals of a recorded trace, as a file of offsets in seconds has them."""

    path: Path
    length_s: float
    """From the start to the last arrival."""

    def __str__(self) -> str:
        return f"replay:{self.path.name}"


@dataclass(frozen=True, slots=True)
class Listed:
    """Arrivals at given nanoseconds from the start, in order: a trace where its file is not."""

    offsets_ns: tuple[int, ...]

    def __str__(self) -> str:
        return f"listed:{len(self.offsets_ns)}"


@dataclass(frozen=True, slots=True)
class Share:
    """Every ``every``-th arrival of ``whole``, beginning with number ``first``: what one worker sends."""

    whole: Constant | Poisson | Staged | Replay | Listed
    first: int
    every: int

    def __str__(self) -> str:
        return f"{self.whole} [{self.first}::{self.every}]"


Arrivals: TypeAlias = Constant | Poisson | Staged | Replay | Listed | Share

REFERENCE = Staged(
    stages=(Stage(120, 100), Stage(300, 100), Stage(120, 500), Stage(300, 500), Stage(120, 0)),
    name="reference",
)
"""The staged load test of the reference: ramp to 100/s, hold, ramp to 500/s, hold, ramp down; 16 minutes."""


def label_of(arrivals: Arrivals) -> str:
    """Return stable text for test ids and file names, e.g. ``poisson-50``; a long one ends in its digest."""
    if isinstance(arrivals, Staged) and arrivals.peak_share is not None:
        return f"{label_of(replace(arrivals, peak_share=None))}-x-{AUTO}"
    text = f"replay:{arrivals.path.stem}" if isinstance(arrivals, Replay) else str(arrivals)
    label = _UNFIT.sub("-", text).strip("-")
    if len(label) <= LABEL_LENGTH:
        return label
    return f"{label.partition('-')[0]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def text_of(arrivals: Arrivals | None) -> str:
    """Return the text that asks for ``arrivals``; ``closed`` for none."""
    return CLOSED if arrivals is None else str(arrivals)
