"""The capacity of a served model, measured: one server, many short open loops, and a sustained one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_servebench.arrivals import Poisson
from pytest_servebench.asking import Question
from pytest_servebench.capacity import (
    SMOKE,
    Attempt,
    Capacity,
    Ending,
    Pace,
    Search,
    SearchLimits,
    Trial,
    capacity_of,
    next_attempt,
)
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Watch
from pytest_servebench.objective import Objective
from pytest_servebench.plan import Case, Engine, Load
from pytest_servebench.pool import Ready, ServerPool
from pytest_servebench.results import CaseResult, Validity
from pytest_servebench.rooms import Rooms
from pytest_servebench.runner import loaded, measured
from pytest_servebench.statistics.early_stopping import Finding
from pytest_servebench.statistics.misses import (
    Assessment,
    assess,
    fewest_requests,
    service_times_of,
    times_of,
)
from pytest_servebench.statistics.summary import DEFAULT_LIMITS

START_SHARE = 0.5
"""Of a closed loop's throughput, where the search starts: random arrivals queue where a loop does not."""

LAST_WORDS = (Validity.WRONG_OUTPUT, Validity.ERRORS)
"""What a search keeps of its last run, whatever it found itself."""


def find_capacity(
    case: Case, rooms: Rooms, pool: ServerPool, watch: Watch, *, smoke: bool = False
) -> CaseResult:
    """Return the run that confirmed the highest Poisson rate that holds the case's objective.

    Its `CaseResult.capacity` has the whole search; without a rate that holds, the result is that of
    the last run, and is not valid. ``smoke`` sends one probe after the first loop, as short as the loop,
    and claims no rate: its result is that probe's. Raises what `runner.run_case` raises, and
    `PlanError` for a case without an objective, or for an engine that keeps no samples.
    """
    if case.objective is None:
        raise PlanError(
            "a capacity is that within an objective, and this case has none",
            where=case.id,
            next_step='mark the benchmark with servebench(objective="p95<=50ms,errors<2%")',
        )
    if case.load.engine is not Engine.SERVEBENCH:
        raise PlanError(
            "the search for a capacity looks at every request, which only servebench's own engine keeps",
            where=case.id,
            seen=f"load engine {case.load.engine}",
            next_step=f"use the load engine {Engine.SERVEBENCH}",
        )
    objective = case.objective
    return measured(
        case,
        rooms,
        pool,
        lambda before, question, ready: _Survey(objective, question, ready, rooms, watch, smoke).of(before),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Survey:
    """One ready server, and what is asked of it."""

    objective: Objective
    question: Question
    ready: Ready
    rooms: Rooms
    watch: Watch
    smoke: bool

    def of(self, before: CaseResult) -> CaseResult:
        """Return the result of the search on the server that ``before`` has verified."""
        load = self.question.case.load
        start = self._run(before, load)
        if start.validity in LAST_WORDS or not start.summary or not start.summary.throughput_per_s:
            return replace(start, reason=f"in the closed loop before the search: {start.reason}")
        search = Search(
            start_per_s=float(f"{START_SHARE * start.summary.throughput_per_s:.3g}"),
            limits=SMOKE if self.smoke else SearchLimits(),
        )
        result = start
        while (attempt := next_attempt(search)) is not None:
            result, trial = self._try(before, attempt, seed=load.seed + 2 * len(search.trials) + 1)
            if trial is None:
                break
            search = search.told(trial)
        capacity = capacity_of(search, str(self.objective))
        return replace(result, capacity=capacity) if self.smoke else _told(result, capacity)

    def _try(self, before: CaseResult, attempt: Attempt, seed: int) -> tuple[CaseResult, Trial | None]:
        """Return the run at a rate, looked at twice if need be; no trial when the search cannot go on."""
        fewest = 0 if self.smoke else fewest_requests(self.objective)
        pace = Pace(duration_s=self.question.case.load.duration_s, fewest=fewest)
        load = self._load(attempt, pace.first_s(attempt), seed)
        result, looks = self._run(before, load), 1
        trial, seen = self._trial(result, attempt, looks)
        if (
            not self.smoke
            and seen is not None
            and trial is not None
            and not decided(trial, seen, result.validity)
        ):
            load = self._load(attempt, pace.second_s(attempt, seen.needed), seed + 1)
            result, looks = self._run(before, load), 2
            trial, _ = self._trial(result, attempt, looks)
        return result, trial

    def _load(self, attempt: Attempt, duration_s: float, seed: int) -> Load:
        # A window that ends when it is precise enough could end before the queue has grown.
        arrivals = Poisson(attempt.rate_per_s)
        given = self.question.case.load
        return replace(given, arrivals=arrivals, duration_s=duration_s, seed=seed, precision=None)

    def _run(self, before: CaseResult, load: Load) -> CaseResult:
        case = replace(self.question.case, load=load)
        errors = self.objective.errors
        limits = DEFAULT_LIMITS if errors is None else replace(DEFAULT_LIMITS, failed_share=errors.share)
        question = replace(self.question, case=case)
        return loaded(replace(before, case=case), question, self.ready, self.rooms, self.watch, limits=limits)

    def _trial(
        self, result: CaseResult, attempt: Attempt, looks: int
    ) -> tuple[Trial | None, Assessment | None]:
        """Return what a run says of its rate; nothing when answers were wrong or the server is gone."""
        samples = result.samples
        gone = self.ready.server.exit_code() is not None
        if samples is None or gone or result.validity is Validity.WRONG_OUTPUT:
            return None, None
        seen = assess(times_of(samples), self.objective)
        finding, client_limited = finding_of_run(
            result.validity,
            seen.finding,
            service=assess(service_times_of(samples), self.objective).finding,
            sustained=attempt.sustained,
        )
        load = result.case.load
        trial = Trial(
            rate_per_s=attempt.rate_per_s,
            sustained=attempt.sustained,
            finding=finding,
            client_limited=client_limited,
            requests=seen.requests,
            over=seen.over,
            failed=seen.failed,
            needed=seen.needed,
            percentile_ms=seen.percentile_ms,
            duration_s=load.duration_s,
            looks=looks,
            seed=load.seed,
            reason=result.reason,
        )
        return trial, seen


def finding_of_run(
    validity: Validity, finding: Finding, *, service: Finding, sustained: bool
) -> tuple[Finding, bool]:
    """Return what a run says of its rate, and whether the client was the limit.

    ``finding`` is that of the response times, ``service`` that of the service times alone. Errors (a
    dropped arrival is one) are no doubt but an answer: somebody was not served. A late client does not
    hide one either: where the service times fail, the server fails without its help; where the
    response times pass, of which its lateness is a part, the objective held in spite of it. That does
    for a probe; a sustained run is to be published, so it must be believed in all.
    """
    if validity is Validity.ERRORS:
        return Finding.FAIL, False
    if validity is Validity.CLIENT_LIMITED:
        if service is Finding.FAIL:
            return Finding.FAIL, False
        passes = finding is Finding.PASS
        return (Finding.PASS if passes else Finding.UNDECIDED), sustained or not passes
    if validity is not Validity.VALID and finding is Finding.PASS:
        return Finding.UNDECIDED, False
    return finding, False


def decided(trial: Trial, seen: Assessment, validity: Validity) -> bool:
    """Return whether one look is enough.

    A probe that passed by luck is found out by the sustained run; one that failed by bad luck would
    never be asked again, and those behind one slow request in a queue are slow together. One that
    failed while the client was late too may have failed by what else the machine did.
    """
    disturbed = trial.finding is Finding.FAIL and validity is Validity.CLIENT_LIMITED
    doubtful = (seen.narrow or disturbed) and not trial.sustained
    return not trial.client_limited and trial.finding is not Finding.UNDECIDED and not doubtful


def _told(result: CaseResult, capacity: Capacity) -> CaseResult:
    """Return the last run with what the search found, and its word on whether that may be believed."""
    found = replace(result, capacity=capacity)
    if result.summary is not None:
        found = replace(found, summary=replace(result.summary, capacity_per_s=capacity.last_passing_per_s))
    if capacity.ending is Ending.FOUND:
        return found
    if result.validity in LAST_WORDS:
        return replace(found, reason=f"{capacity.reason}; {result.reason}")
    limited = capacity.ending is Ending.AT_LEAST
    validity = Validity.CLIENT_LIMITED if limited else Validity.UNDECIDED
    return replace(found, validity=validity, reason=capacity.reason)
