"""Why two sides cannot be compared, and what would help: asked before any test (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.changes import Doubt
from pytest_servebench.comparison.conditions import condition_differences
from pytest_servebench.comparison.figures import Figure
from pytest_servebench.comparison.fingerprint import ALL, differences
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.significance import is_enough, repeats_needed, smallest_p

SHOWN = 3
"""Differences that are named; of the others the number."""
VALID = "valid"

Sides = tuple[tuple[Record, ...], tuple[Record, ...]]
"""A case's replicates: the baseline's, and now's."""
Values = tuple[tuple["float | None", ...], tuple["float | None", ...]]
"""One figure of them, in the same order."""

_SIDES = ("the baseline", "the run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A doubt with its reason and its remedy."""

    doubt: Doubt
    reason: str
    remedy: str = ""


def objection_to_case(sides: Sides, allowed: frozenset[str]) -> Objection | None:
    """Return why nothing of a case can be compared: it is missing, different, or not valid."""
    return _missing_case(sides) or _different(sides, allowed) or _invalid(sides)


def objection_to_figure(
    figure: Figure, values: Values, sides: Sides, allowed: frozenset[str]
) -> Objection | None:
    """Return why one figure of a case cannot be: a replicate has none, none that has a share, or another."""
    return _missing_figure(figure, values) or _other_kind(figure, sides, allowed)


def _other_kind(figure: Figure, sides: Sides, allowed: frozenset[str]) -> Objection | None:
    seen = [sorted({figure.kind(record) for record in side} - {""}) for side in sides]
    if ALL in allowed or len({*seen[0], *seen[1]}) <= 1:
        return None
    before, now = (" or ".join(kinds) or "not known" for kinds in seen)
    return Objection(
        doubt=Doubt.DIFFERENT,
        reason=f"{figure.name} was {before}, is {now}",
        remedy="limit a figure that both sides read alike, or measure again",
    )


def _missing_figure(figure: Figure, values: Values) -> Objection | None:
    for side, its_values in zip(_SIDES, values, strict=True):
        without = [number for number, value in enumerate(its_values, 1) if value is None]
        if without:
            return Objection(
                doubt=Doubt.MISSING,
                reason=f"{side} has no {figure.name}{_in_repeats(without, len(its_values))}",
                remedy="limit a figure that every run has, or measure again",
            )
        nothing = [number for number, value in enumerate(its_values, 1) if value is not None and value <= 0]
        if nothing:
            return Objection(
                doubt=Doubt.INVALID,
                reason=f"{side} has no {figure.name} above 0{_in_repeats(nothing, len(its_values))}:"
                " there is no share of it",
                remedy="limit a figure that every run has, or measure again",
            )
    return None


def objection_to_count(sides: Sides) -> Objection | None:
    """Return why no change at all could be significant: there are too few replicates, or none are."""
    for side, records in zip(_SIDES, sides, strict=True):
        if not all(is_replicate(record) for record in records):
            return Objection(
                doubt=Doubt.TOO_FEW,
                reason=f"the server of {side} was not started for each repeat: that is one run, however often"
                " it was measured",
                remedy="let servebench start the server, on both sides",
            )
    before, now = map(len, sides)
    if is_enough(before, now):
        return None
    return Objection(
        doubt=Doubt.TOO_FEW,
        reason=f"{before} v {now} repeats give no p below {smallest_p(before, now):.2g}",
        remedy=_more_repeats(before, now),
    )


def is_replicate(record: Record) -> bool:
    """Return whether its server was started for it; a record that does not tell has one that was."""
    return record.get("restarted") is not False


def _more_repeats(before: int, now: int) -> str:
    both, here = repeats_needed(), repeats_needed(before)
    if here <= both:
        return f"give --serve-repeats={max(here, now)}"
    return f"give --serve-repeats={both} here and for the baseline, or {here} here"


def _missing_case(sides: Sides) -> Objection | None:
    if not sides[0]:
        return Objection(
            doubt=Doubt.MISSING,
            reason="the baseline has no such case",
            remedy="promote a baseline that has it",
        )
    if not sides[1]:
        return Objection(
            doubt=Doubt.MISSING,
            reason="the run has no such case",
            remedy="measure it, or promote a baseline without it",
        )
    return None


def _different(sides: Sides, allowed: frozenset[str]) -> Objection | None:
    facts = list(differences(*sides, allowed))
    loads = list(condition_differences(*sides, allowed))
    if not facts and not loads:
        return None
    seen = [*loads, *facts]
    more = f"; and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
    names = [*map(_name, loads), *(map(_name, facts) if len(facts) <= SHOWN else [ALL])]
    return Objection(
        doubt=Doubt.DIFFERENT,
        reason="; ".join(seen[:SHOWN]) + more,
        remedy=("measure both under the same load" if loads else "promote a baseline from this machine")
        + f", or --serve-allow-different={','.join(names)}",
    )


def _name(difference: str) -> str:
    """Return the name that may be allowed to differ, of a difference in words."""
    return difference.partition(" was ")[0]


def _invalid(sides: Sides) -> Objection | None:
    for side, records in zip(_SIDES, sides, strict=True):
        for number, record in enumerate(records, 1):
            validity = record.get("validity")
            if validity != VALID:
                which = f"repeat {number} of {len(records)} of {side}" if len(records) > 1 else side
                why = f" ({record['reason']})" if record.get("reason") else ""
                return Objection(
                    doubt=Doubt.INVALID,
                    reason=f"{which} is {validity or 'of unknown validity'}{why}",
                    remedy="measure again once its cause is gone",
                )
    return None


def _in_repeats(numbers: Sequence[int], count: int) -> str:
    if count == 1:
        return ""
    if len(numbers) == count:
        return " in any repeat"
    return f" in repeat{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} of {count}"
