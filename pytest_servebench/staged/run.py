"""A staged load, measured: its rates fitted to the server where that was asked for, then every stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_servebench.arrivals import Staged
from pytest_servebench.asking import Question
from pytest_servebench.interfaces import Watch
from pytest_servebench.plan import Case, Load
from pytest_servebench.pool import Ready, ServerPool
from pytest_servebench.results import CaseResult, Validity
from pytest_servebench.rooms import Rooms
from pytest_servebench.runner import loaded, measured
from pytest_servebench.staged.outcomes import Scaling
from pytest_servebench.statistics.summary import DEFAULT_LIMITS, ValidityLimits

LONGEST_S = 4.0
SHORTEST_S = 0.5
CLOSED_LOOP_SHARE = 0.1
"""Of the stages' time, within the two bounds above, for the closed loop that measures the capacity."""
WARMUP_SHARE = 0.25
"""Of the closed loop's measured time."""
UNUSABLE = (Validity.WRONG_OUTPUT, Validity.ERRORS, Validity.UNDECIDED)
"""A closed loop of this validity has no capacity to tell."""


def is_staged(case: Case) -> bool:
    """Return whether a case's load has stages."""
    return isinstance(case.load.arrivals, Staged)


def run_staged(case: Case, rooms: Rooms, pool: ServerPool, watch: Watch) -> CaseResult:
    """Return what a staged load showed, stage by stage; a result's case is the one that was asked for.

    Raises what `runner.run_case` raises.
    """
    return measured(
        case,
        rooms,
        pool,
        lambda before, question, ready: _Staging(question, ready, rooms, watch).of(before),
    )


def closed_loop_of(case: Case) -> Load:
    """Return the load that measures a capacity: twice the batch size in flight, for a tenth of the stages."""
    load = case.load
    duration_s = min(max(CLOSED_LOOP_SHARE * (load.warmup_s + load.duration_s), SHORTEST_S), LONGEST_S)
    return replace(
        load,
        arrivals=None,
        objective=None,
        abort_after_s=None,
        concurrency=2 * case.deployment.max_batch_size,
        warmup_s=WARMUP_SHARE * duration_s,
        duration_s=duration_s,
        steady=False,
        precision=None,
    )


def limits_of(load: Load) -> ValidityLimits:
    """Return up to where a staged run is believed: failures that its objective allows are no doubt."""
    errors = None if load.objective is None else load.objective.errors
    if errors is None:
        return DEFAULT_LIMITS
    return replace(DEFAULT_LIMITS, failed_share=max(DEFAULT_LIMITS.failed_share, errors.share))


@dataclass(frozen=True, slots=True, eq=False)
class _Staging:
    """One ready server, and the stages it is asked to hold."""

    question: Question
    ready: Ready
    rooms: Rooms
    watch: Watch

    def of(self, before: CaseResult) -> CaseResult:
        """Return the result of every stage on the server that ``before`` has verified."""
        load, scaling = self.question.case.load, None
        arrivals = load.arrivals
        assert isinstance(arrivals, Staged)
        if arrivals.peak_share is not None:
            closed = closed_loop_of(self.question.case)
            probe = self._run(before, closed, DEFAULT_LIMITS)
            if probe.validity in UNUSABLE:
                reason = f"in the closed loop that measures the capacity before the stages: {probe.reason}"
                return replace(before, validity=probe.validity, reason=reason)
            load, scaling = _fitted(load, arrivals, probe, closed.concurrency)
        # A window that ends when it is precise enough would leave stages out, and a ramp never settles.
        result = self._run(before, replace(load, steady=False, precision=None), limits_of(load))
        return replace(result, scaling=scaling)

    def _run(self, before: CaseResult, load: Load, limits: ValidityLimits) -> CaseResult:
        question = replace(self.question, case=replace(self.question.case, load=load))
        return loaded(before, question, self.ready, self.rooms, self.watch, limits=limits)


def _fitted(load: Load, arrivals: Staged, probe: CaseResult, in_flight: int) -> tuple[Load, Scaling]:
    """Return the load at rates that the capacity seen allows, and how they came about."""
    assert probe.summary is not None
    assert probe.summary.throughput_per_s
    assert arrivals.peak_share is not None
    capacity_per_s = probe.summary.throughput_per_s
    fitted, factor = arrivals.at_capacity(capacity_per_s)
    return replace(load, arrivals=fitted), Scaling(
        capacity_per_s=capacity_per_s,
        in_flight=in_flight,
        window_s=probe.summary.window_s,
        share=arrivals.peak_share,
        factor=factor,
        arrivals=str(fitted),
        doubt=probe.reason,
    )
