"""Nouns of ``servebench doctor``: what was looked at, what was found, and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_servebench.words import Word


class CheckState(Word):
    """How one thing that was looked at is."""

    OK = "ok"
    WARNING = "warning"
    """It runs, and figures may suffer."""
    MISSING = "missing"
    """It is not there, or cannot be used as it is."""
    NOT_AVAILABLE = "n/a"
    """It could not be seen, or this machine has no use for it; ``seen`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    section: str
    subject: str
    state: CheckState
    seen: str
    remedy: str = ""
    """What mends it, one command or hint a line; empty where there is nothing to mend."""
    is_needed: bool = False
    """Whether what was asked for cannot run while it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A stack that serves a format, brought up by a launcher."""

    stack: str
    format: str
    launcher: str
    precisions: tuple[str, ...] = ()
    """Those that it would compute in, on the device it would run on; none where it would not run."""
    why_not: str = ""
    """Why it would not run; empty: it would."""
    remedy: str = ""

    @property
    def runs(self) -> bool:
        """Whether it would run here."""
        return not self.why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether what was asked for can run, and where it would."""

    asked: Mapping[str, str]
    """Options by name: ``stack``, ``launcher``, ``device``."""
    launcher: str = ""
    """The one that would be used; empty: there is none for what was asked."""
    launcher_reason: str = ""
    device: str = ""
    device_reason: str = ""
    why_not: str = ""
    """Why it cannot run, a reason a line; empty: it can."""
    remedy: str = ""
    """What mends that, one command or hint a line."""
    command: str
    """What to type to run it."""

    @property
    def can_run(self) -> bool:
        """Whether nothing that is known stands in its way."""
        return not self.why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All that the doctor found."""

    outcome: Outcome
    servings: tuple[Serving, ...] = ()
    checks: tuple[Check, ...] = field(default=())

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections, in order."""
        return tuple(dict.fromkeys(check.section for check in self.checks))
