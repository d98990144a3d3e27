"""The search for a server's capacity: from the trials so far to the next one (pure).

Probes grow from a start rate by a factor until one does not pass (or shrink until one does), then
halve the gap between the highest rate that passed and the lowest above it that did not, until they
are within a resolution. The gap is halved in ratio, not in difference, since a resolution is a share
of the rate: the same number of trials then does at 5 requests a second and at 5,000. A sustained
run at the answer has the last word, because a short one ends before queues have grown; if it does
not pass, the search steps back by the resolution, then by three and by nine of them.

A server need not be monotonic: MLPerf LoadGen's FindPeakPerformance says so of its own search, a
batching server may hold 200/s and not 150/s. What is claimed is that the answer held and that the
rate reported beside it did not; every number of trials is bounded, whatever the server does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import sqrt

from pytest_servebench.statistics.early_stopping import Finding
from pytest_servebench.words import Word


class Ending(Word):
    """How a search ended."""

    FOUND = "found"
    AT_LEAST = "at_least"
    """The client was the limit: the server may hold more."""
    NONE_HOLDS = "none_holds"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """How far and how finely a search looks."""

    factor: float = 2.0
    """By which a rate grows or shrinks while there is no other edge."""
    resolution: float = 0.05
    """The search ends once the lowest rate that did not pass is at most so much above one that did."""
    most_probes: int = 16
    most_shrinks: int = 6
    """How often the rate shrinks before no rate is said to hold."""
    most_sustained: int = 4
    """Sustained runs in all, the first one and those after a step back; 0: no rate is claimed."""


SMOKE = SearchLimits(most_probes=1, most_shrinks=0, most_sustained=0)
"""One probe, to see that the server answers an open loop too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What to try next."""

    rate_per_s: float
    sustained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rate that was tried, and what came of it."""

    rate_per_s: float
    sustained: bool = False
    finding: Finding
    client_limited: bool = False
    """The client was late, so that nothing, or only that the rate held, is said of the server."""
    requests: int = 0
    """Arrivals due inside the window."""
    over: int = 0
    """Those beyond the objective's first limit on times, those without a right answer among them."""
    failed: int = 0
    """Those without a right answer."""
    needed: int | None = None
    """About how many requests decide when misses go on like this; None when no number does, or is known."""
    percentile_ms: float | None = None
    """Response time at the percentile of the first limit; None when failures reach so far."""
    duration_s: float = 0.0
    looks: int = 1
    """Runs that it took: one that is undecided or fails narrowly is repeated once, longer."""
    seed: int = 0
    reason: str = ""
    """Why the run at this rate may not be believed, if so."""

    @property
    def verdict(self) -> str:
        """What is said of the rate: ``pass``, ``fail``, ``undecided`` or ``client_limited``."""
        return "client_limited" if self.client_limited else str(self.finding)

    @property
    def too_few(self) -> bool:
        """Whether nothing but the number of requests keeps it from passing: fewer a second decide less."""
        undecided = self.finding is Finding.UNDECIDED and not self.client_limited
        return undecided and not self.over and not self.failed and (self.needed or 0) > self.requests

    @property
    def passes(self) -> bool:
        """Whether the objective held, and the run may be believed."""
        return self.finding is Finding.PASS and not self.client_limited


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a search found."""

    objective: str
    ending: Ending
    start_per_s: float
    """Rate of the first probe: half the throughput of a short closed loop."""
    last_passing_per_s: float | None
    """Highest rate at which a sustained run held the objective: the capacity."""
    first_failing_per_s: float | None
    """Lowest rate above it that failed; None when none did. One in between may be undecided."""
    trials: tuple[Trial, ...]
    reason: str
    """What was found, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search so far: everything else follows from its trials."""

    start_per_s: float
    limits: SearchLimits = field(default_factory=SearchLimits)
    trials: tuple[Trial, ...] = ()

    def told(self, trial: Trial) -> Search:
        """Return the search with one more trial."""
        return replace(self, trials=(*self.trials, trial))

    @property
    def probes(self) -> tuple[Trial, ...]:
        """The short trials."""
        return tuple(trial for trial in self.trials if not trial.sustained)

    @property
    def sustained(self) -> tuple[Trial, ...]:
        """The sustained runs."""
        return tuple(trial for trial in self.trials if trial.sustained)

    @property
    def low_per_s(self) -> float | None:
        """Highest rate at which a probe passed."""
        return max((trial.rate_per_s for trial in self.probes if trial.passes), default=None)

    @property
    def client_limited(self) -> bool:
        """Whether the client was the limit anywhere."""
        return any(trial.client_limited for trial in self.trials)

    def above(self, rate_per_s: float) -> float | None:
        """Return the lowest rate above ``rate_per_s`` that did not pass."""
        rates = (trial.rate_per_s for trial in self.trials if not trial.passes)
        return min((rate for rate in rates if rate > rate_per_s), default=None)


def next_attempt(search: Search) -> Attempt | None:
    """Return what to try next; None when the search is over."""
    if search.sustained:
        return _step_back(search)
    probes, low = search.probes, search.low_per_s
    if not probes:
        return _attempt(search.start_per_s)
    if low is None:
        return None if search.client_limited else _shrink(search)
    high = search.above(low)
    enough = search.client_limited or len(probes) >= search.limits.most_probes
    if enough or (high is not None and high <= low * (1 + search.limits.resolution)):
        return Attempt(rate_per_s=low, sustained=True) if search.limits.most_sustained else None
    return _attempt(low * search.limits.factor if high is None else sqrt(low * high))


def _shrink(search: Search) -> Attempt | None:
    if len(search.probes) > search.limits.most_shrinks or search.probes[-1].too_few:
        return None
    return _attempt(min(trial.rate_per_s for trial in search.probes) / search.limits.factor)


def _step_back(search: Search) -> Attempt | None:
    """Return a lower rate to sustain, or None after a pass, a client that was late, or too many tries."""
    last, tries = search.sustained[-1], len(search.sustained)
    if last.passes or last.client_limited or tries >= search.limits.most_sustained:
        return None
    steps = 3 ** (tries - 1)
    return _attempt(last.rate_per_s / (1 + search.limits.resolution) ** steps, sustained=True)


def _attempt(rate_per_s: float, *, sustained: bool = False) -> Attempt:
    """Three digits are finer than the resolution, and can be read and asked for again."""
    return Attempt(rate_per_s=float(f"{rate_per_s:.3g}"), sustained=sustained)


def capacity_of(search: Search, objective: str) -> Capacity:
    """Return what a search that is over, or was cut short, has found."""
    sustained = search.sustained
    held = max((trial.rate_per_s for trial in sustained if trial.finding is Finding.PASS), default=None)
    ending = _ending(search, held)
    failing = (t.rate_per_s for t in search.trials if t.finding is Finding.FAIL and not t.client_limited)
    return Capacity(
        objective=objective,
        ending=ending,
        start_per_s=search.start_per_s,
        last_passing_per_s=held,
        first_failing_per_s=min((rate for rate in failing if rate > (held or 0.0)), default=None),
        trials=search.trials,
        reason=_sentence(search, objective, ending, held),
    )


def _ending(search: Search, held: float | None) -> Ending:
    if search.client_limited:
        return Ending.AT_LEAST
    if held is None:
        probes = search.probes
        none = probes and search.low_per_s is None and probes[-1].finding is Finding.FAIL
        return Ending.NONE_HOLDS if none else Ending.UNDECIDED
    return Ending.UNDECIDED if search.above(held) is None else Ending.FOUND


def _sentence(search: Search, objective: str, ending: Ending, held: float | None) -> str:
    if ending is Ending.FOUND:
        assert held is not None
        beyond = min((t for t in search.trials if t.rate_per_s > held and not t.passes), key=_rate_per_s)
        word = "failed" if beyond.finding is Finding.FAIL else "was undecided"
        return f"{held:g}/s held {objective}, {beyond.rate_per_s:g}/s {word}{_remark(search)}"
    if ending is Ending.AT_LEAST:
        return _lower_bound(search, objective, held)
    if ending is Ending.NONE_HOLDS:
        return f"no rate holds {objective}: {_figures(search.probes[-1], objective)}"
    if held is not None:
        return f"{held:g}/s held {objective} and no rate tried failed, so the capacity is at least {held:g}/s"
    if search.sustained:
        return f"no sustained run held {objective}; the last one: {_figures(search.sustained[-1], objective)}"
    return _without_end(search, objective)


def _without_end(search: Search, objective: str) -> str:
    if search.trials and (short := search.trials[-1]).too_few:
        return (
            f"to decide {objective} takes {short.needed} requests, and in the {short.duration_s:.3g} s at "
            f"{short.rate_per_s:g}/s there were {short.requests}, without a miss: probe for longer"
        )
    last = f"; the last one: {_figures(search.trials[-1], objective)}" if search.trials else ""
    return f"the search for the rate that holds {objective} came to no end{last}"


def _lower_bound(search: Search, objective: str, held: float | None) -> str:
    late = next(trial for trial in search.trials if trial.client_limited)
    why = f": {late.reason}" if late.reason else ""
    if held is None:
        return f"nothing is said of {late.rate_per_s:g}/s or more, because the client was late{why}"
    where = "in that run" if late.rate_per_s == held else f"at {late.rate_per_s:g}/s"
    known = f"{held:g}/s held {objective}, so the capacity is at least that{_remark(search)}"
    return f"{known}; the client was late {where}{why}"


def _rate_per_s(trial: Trial) -> float:
    return trial.rate_per_s


def _remark(search: Search) -> str:
    back = [f"{t.rate_per_s:g}/s" for t in search.sustained if not t.passes and not t.client_limited]
    if back:
        return f" (stepped back: the sustained run at {', '.join(back)} did not hold it)"
    spent = len(search.probes) >= search.limits.most_probes
    return f" (no closer, because a search has {len(search.probes)} probes)" if spent else ""


def _figures(trial: Trial, objective: str) -> str:
    figure = objective.partition("<")[0]  # of the first limit, which is one on times if there is any
    time = "" if trial.percentile_ms is None else f", {figure} {trial.percentile_ms:.4g} ms"
    return (
        f"at {trial.rate_per_s:g}/s {trial.over} of {trial.requests} requests were over the limit, "
        f"{trial.failed} of them without a right answer{time} ({trial.verdict})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long trials are: as long as decides, within bounds that follow from the time asked for."""

    duration_s: float
    """A probe's least time."""
    fewest: int
    """Requests that a probe should have (`misses.fewest_requests`)."""
    longest: float = 15.0
    """A probe's most time, in ``duration_s``, for rates so low that ``fewest`` take long."""
    sustain: float = 4.0
    """A sustained run's time, in that of a probe at its rate."""
    stretch: float = 4.0
    """How much longer an undecided trial is at its second look, at most."""

    def first_s(self, attempt: Attempt) -> float:
        """Return how long the first look at a rate is."""
        probe_s = max(self.duration_s, 1.1 * self.fewest / attempt.rate_per_s)
        return min(probe_s, self.longest * self.duration_s) * (self.sustain if attempt.sustained else 1.0)

    def second_s(self, attempt: Attempt, needed: int | None) -> float:
        """Return how long the second look is, at which about ``needed`` requests decide (None: no number)."""
        first_s = self.first_s(attempt)
        wanted_s = 1.1 * needed / attempt.rate_per_s if needed is not None else first_s * self.stretch
        return min(max(2 * first_s, wanted_s), self.stretch * first_s)
