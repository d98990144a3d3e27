"""Judges whether figures of cases have become worse, by more than a limit and by more than chance (pure).

A regression takes all of: the exact one-sided rank test over run-level figures is significant; the
medians differ by more than the limit, and by more than the floor; and the change survives the correction for
as many comparisons as were made, by one of two tests. Rank tests of 5 against 5 repeats end at p = 1/252,
where no correction for 60 comparisons could ever fire; so Welch's t-test on logarithms is corrected too,
which has no such end. But one stuck run of ten blinds that one, and no rank test. docs/verdicts.md tells it
in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pytest_servebench.comparison.changes import Change, ChangeLimit, ChangeVerdict, Doubt, Severity
from pytest_servebench.comparison.conditions import is_capacity
from pytest_servebench.comparison.doubts import (
    Objection,
    Sides,
    Values,
    is_replicate,
    objection_to_case,
    objection_to_count,
    objection_to_figure,
)
from pytest_servebench.comparison.figures import FIGURES, Figure, figure_named
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.sentences import sentence
from pytest_servebench.comparison.significance import SIGNIFICANCE, adjusted, rank_p, shift_of, welch_p

__all__ = ["changes_of", "failing", "sentence"]

ROUNDING = 1e-9
"""Share by which a change may exceed its limit and still be it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One figure of one case, before the verdict."""

    case: str
    figure: Figure
    limit: ChangeLimit | None
    sides: Sides
    objection: Objection | None
    left_out: ChangeLimit | None = None
    """A limit that was given, and does not hold for this case."""

    @property
    def values(self) -> Values:
        before, now = self.sides
        return tuple(map(self.figure.of, before)), tuple(map(self.figure.of, now))

    @property
    def samples(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Both sides' figures where a test of them means something: all above 0, all of replicates."""
        before, now = (tuple(each for each in side if each is not None and each > 0) for side in self.values)
        whole = len(before) == len(self.sides[0]) > 0 and len(now) == len(self.sides[1]) > 0
        return (before, now) if whole and all(map(is_replicate, (*self.sides[0], *self.sides[1]))) else None

    @property
    def is_judged(self) -> bool:
        return self.limit is not None and self.objection is None

    def ordered(self, *, worse: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the sides so that the second is greater where it became worse, or else better."""
        assert self.samples is not None
        before, now = self.samples
        return (before, now) if worse is not self.figure.higher_is_better else (now, before)


def changes_of(
    before: Sequence[Record],
    now: Sequence[Record],
    *,
    limits: Sequence[ChangeLimit],
    figures: Sequence[str] = (),
    allowed: frozenset[str] = frozenset(),
) -> tuple[Change, ...]:
    """Return what has changed: one `Change` for each case of either side and each figure.

    Figures are those with a limit and, without one, each of ``figures``, in the order of
    `figures.FIGURES`; cases are in the order of ``now``, then those that only ``before`` has. Records of
    one case, from however many files, are its replicates. ``allowed`` names facts of the fingerprint,
    and conditions, that may differ. Raises `PlanError` for an unknown figure.
    """
    limited = {figure_named(limit.figure).name: limit for limit in limits}
    asked = {*limited, *(figure_named(name).name for name in figures)}
    sides = replicates_of(before), replicates_of(now)
    comparisons = _some_limited(
        each
        for case in dict.fromkeys([*sides[1], *sides[0]])
        for each in _comparisons(
            case,
            (sides[0].get(case, ()), sides[1].get(case, ())),
            [(figure, limited.get(figure.name)) for figure in FIGURES.values() if figure.name in asked],
            allowed,
        )
    )
    family = [each for each in comparisons if each.is_judged]
    corrected = [_corrected([each.ordered(worse=worse) for each in family]) for worse in (True, False)]
    judged = {id(each): _judged(each, *both) for each, *both in zip(family, *corrected, strict=True)}
    return tuple(judged.get(id(each)) or _unjudged(each) for each in comparisons)


def failing(changes: Iterable[Change], severity: Severity) -> tuple[Change, ...]:
    """Return the changes that make the exit code 1; one without a limit never does."""
    return tuple(change for change in changes if change.limit is not None and _fails(change, severity))


def _fails(change: Change, severity: Severity) -> bool:
    if change.verdict is not ChangeVerdict.INCONCLUSIVE:
        return change.fails
    return severity is Severity.FAIL or (severity is Severity.AUTO and change.doubt is not Doubt.NOISE)


def _corrected(family: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[float]:
    """Return the p of each comparison, corrected for all of them: of the test that it survives best."""
    each_test = [adjusted([test(*sides) for sides in family]) for test in (welch_p, rank_p)]
    return [min(both) for both in zip(*each_test, strict=True)]


def _comparisons(
    case: str, sides: Sides, figures: Sequence[tuple[Figure, ChangeLimit | None]], allowed: frozenset[str]
) -> list[_Comparison]:
    of_case = objection_to_case(sides, allowed)
    searched = any(map(is_capacity, (*sides[0], *sides[1])))
    found = []
    for figure, limit in figures:
        left_out = searched and figure.is_response_time and limit is not None
        bare = _Comparison(case=case, figure=figure, limit=None, sides=sides, objection=None)
        objection = of_case or objection_to_figure(figure, bare.values, sides, allowed)
        if objection is None and limit is not None and not left_out:
            objection = objection_to_count(sides)
        found.append(
            _Comparison(
                case=case,
                figure=figure,
                limit=None if left_out else limit,
                sides=sides,
                objection=objection,
                left_out=limit if left_out else None,
            )
        )
    return found


def _some_limited(comparisons: Iterable[_Comparison]) -> list[_Comparison]:
    """Return them; where no limit holds for any of them, those that one was given for are doubts."""
    found = list(comparisons)
    if any(one.limit for one in found):
        return found
    doubt = Objection(
        doubt=Doubt.MISSING, reason=_SEARCHED, remedy="limit throughput: it is the rate that was found"
    )
    return [
        replace(one, limit=one.left_out, objection=one.objection or doubt) if one.left_out else one
        for one in found
    ]


_SEARCHED = "the rate of requests was looked for, and response times are whatever it makes them"


def _judged(one: _Comparison, worse_corrected: float, better_corrected: float) -> Change:
    """Return the verdict on a comparison that nothing speaks against."""
    assert one.limit is not None
    worse, better = _is_beyond(one, worse=True), _is_beyond(one, worse=False)
    p_worse, p_better = (rank_p(*one.ordered(worse=side)) for side in (True, False))
    if worse and p_worse < SIGNIFICANCE and worse_corrected <= SIGNIFICANCE:
        return _change(one, ChangeVerdict.REGRESSION)
    if worse:
        return _change(one, ChangeVerdict.INCONCLUSIVE, _noise(one, p_worse))
    if better and p_better < SIGNIFICANCE and better_corrected <= SIGNIFICANCE:
        return _change(one, ChangeVerdict.IMPROVEMENT)
    return _change(one, ChangeVerdict.PASS)


def _unjudged(one: _Comparison) -> Change:
    if one.objection is not None:
        return _change(one, ChangeVerdict.INCONCLUSIVE, one.objection)
    return _change(one, ChangeVerdict.NOT_LIMITED)


def _is_beyond(one: _Comparison, *, worse: bool) -> bool:
    """Return whether the median became worse by more than limit and floor; or the baseline's would have.

    A change for the better is the same with the sides swapped, so that neither direction is easier.
    """
    assert one.limit is not None
    assert one.samples is not None
    medians = [median(side) for side in one.samples]
    before, now = medians if worse else reversed(medians)
    floor = one.figure.floor if one.limit.floor is None else one.limit.floor
    if abs(now - before) <= floor * (1 + ROUNDING):
        return False
    if one.figure.higher_is_better:
        return now < before * (1 - one.limit.share) * (1 - ROUNDING)
    return now > before * (1 + one.limit.share) * (1 + ROUNDING)


def _noise(one: _Comparison, p_worse: float) -> Objection:
    seen = f"its p of {p_worse:.2g} is not below {SIGNIFICANCE}"
    if p_worse < SIGNIFICANCE:
        seen = "it does not survive the correction for so many comparisons"
    return Objection(
        doubt=Doubt.NOISE,
        reason=f"beyond the limit, but {seen}, so that it may be chance",
        remedy=f"give --serve-repeats={2 * max(map(len, one.sides))}",
    )


def _change(one: _Comparison, verdict: ChangeVerdict, objection: Objection | None = None) -> Change:
    baseline, now = (
        median(known) if (known := [value for value in side if value is not None]) else None
        for side in one.values
    )
    told = baseline is not None and now is not None and baseline > 0
    return Change(
        case=one.case,
        figure=one.figure.name,
        unit=one.figure.unit,
        verdict=verdict,
        doubt=objection.doubt if objection else None,
        reason=objection.reason if objection else _SEARCHED if one.left_out else "",
        remedy=objection.remedy if objection else "",
        baseline=baseline,
        now=now,
        change=now / baseline - 1 if told and now is not None and baseline is not None else None,
        interval=shift_of(*one.samples).interval if one.samples else None,
        limit=one.limit.share if one.limit else None,
        p_value=rank_p(*one.ordered(worse=True)) if one.samples else None,
        replicates=(len(one.sides[0]), len(one.sides[1])),
    )
