"""What a run is compared with, and how strictly: four options to the plan's gate (pure)."""

from __future__ import annotations

from dataclasses import replace

from pytest_servebench.comparison.baselines import NO_BASELINE, PROMOTE, is_name
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeLimit, GateSettings, Severity
from pytest_servebench.comparison.fail_limits import parse_limits
from pytest_servebench.comparison.fingerprint import parse_allowed
from pytest_servebench.folders.homes import at_home
from pytest_servebench.options.given import Asked, Given, parse_member

_STRICTNESS = ("fail", "inconclusive", "allow-different")
"""Options that say how a comparison is judged."""


def parse_gate(asked: Asked) -> GateSettings | None:
    """Return what the run is compared with; None: with nothing.

    Raises `PlanError` for a wrong value, also where nothing is compared, and for a limit without a baseline:
    somebody who set it believes that it holds.
    """
    fail, inconclusive, allowed = (asked.get(key) for key in _STRICTNESS)
    settings = GateSettings(
        baseline="",
        limits=_limits(fail) if fail else DEFAULT_LIMITS,
        inconclusive=parse_member(inconclusive, Severity) if inconclusive else Severity.AUTO,
        allowed=_allowed(allowed) if allowed else frozenset(),
    )
    baseline = asked.get("baseline")
    if baseline is None:
        for given in filter(None, (fail, inconclusive, allowed)):
            raise given.wrong(
                "is about a comparison with a baseline, and none is given",
                next_step=f"make one ({PROMOTE}) and give --serve-baseline=NAME, or give "
                f"--serve-baseline={NO_BASELINE}",
            )
        return None
    word = _baseline(baseline)
    return None if word == NO_BASELINE else replace(settings, baseline=word)


def _baseline(given: Given) -> str:
    """Return a baseline's name, or a path, resolved against where it was written."""
    word = given.text.strip()
    if not word:
        raise given.wrong("has an empty value", next_step=f"give a baseline's name, a path, or {NO_BASELINE}")
    is_word = is_name(word) or word == NO_BASELINE
    return word if is_word else str(given.base / at_home(word, given.flag, given.source))


def _limits(given: Given) -> tuple[ChangeLimit, ...]:
    return parse_limits(given.text, flag=given.flag, where=given.source)


def _allowed(given: Given) -> frozenset[str]:
    return parse_allowed(given.text, flag=given.flag, where=given.source)
