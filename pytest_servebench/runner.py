"""The conductor: one case from a ready server to a result that may be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from pytest_servebench.as_asked import not_as_asked
from pytest_servebench.asking import Asked, Check, Question, ask_each, check, joined, question_of
from pytest_servebench.ceiling import OPEN_IN_FLIGHT
from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.held import NOT_OURS, Held
from pytest_servebench.interfaces import RunningServer, Watch
from pytest_servebench.launchers.process import describe_exit
from pytest_servebench.plan import (
    Case,
    Image,
    LauncherKind,
)
from pytest_servebench.pool import Ready, ServerPool, log_of
from pytest_servebench.results import (
    NO_CEILING,
    Answer,
    CaseResult,
    Ceiling,
    Endpoint,
    Progress,
    Served,
    Summary,
    Telemetry,
    Validity,
    Verification,
)
from pytest_servebench.rooms import Readings, Rooms
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.sharing.shared_memory import sharing
from pytest_servebench.staged.judged import stage_results
from pytest_servebench.statistics.summary import DEFAULT_LIMITS, ValidityLimits, summarise, validity_of
from pytest_servebench.telemetry.beside import with_joules_per_image
from pytest_servebench.told import decoder_of, told_by
from pytest_servebench.verification import finer_than


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Visit:
    """A case's server, ready, and what it said when it was asked everything once."""

    question: Question
    images: tuple[Image, ...]
    ready: Ready
    asked: Asked
    served: Served
    """What it says that it computes with, now that it is warm."""
    waited_s: float
    """How long the start-up waited for somebody's window."""


@contextmanager
def at_the_server(case: Case, rooms: Rooms, pool: ServerPool) -> Iterator[Visit]:
    """Bring the case's server up and ask it everything once, beside no window; it idles in the block."""
    with ExitStack() as stay:
        with rooms.starting(case) as waited_s:
            question, images = question_of(case, rooms)
            ready = pool.ready(case.deployment, case.repeat)
            stay.enter_context(sharing(question.shared, ready.endpoint, rooms.driver, rooms.clock))
            question = replace(question, decoder=decoder_of(ready.server, question.stack, case, rooms.driver))
            asked = ask_each(question, ready.endpoint, rooms)
            served = _served(ready, question, asked, rooms)
        yield Visit(
            question=question, images=images, ready=ready, asked=asked, served=served, waited_s=waited_s
        )


def _served(ready: Ready, question: Question, asked: Asked, rooms: Rooms) -> Served:
    """Return what the server says, with what its model file and its answers say of the precision."""
    deployment = question.case.deployment
    served = told_by(ready.server, question.stack, deployment, rooms.driver, partial(_held, ready, rooms))
    finer = finer_than(deployment.precision, asked.answers, asked.verification)
    return replace(served, warnings=(*served.warnings, *finer))


def _held(ready: Ready, rooms: Rooms) -> Held:
    return NOT_OURS if ready.artifact is None else rooms.held(ready.artifact.path)


def run_case(case: Case, rooms: Rooms, pool: ServerPool, watch: Watch) -> CaseResult:
    """Measure one case and return all that is known of it.

    Raises `LaunchError`, `ControlError` or `ModelError` when there is nothing to measure, and
    `LoadError` when there is no room for its shared memory; what goes wrong later is a result
    that is not valid.
    """
    return measured(
        case, rooms, pool, lambda before, question, ready: loaded(before, question, ready, rooms, watch)
    )


def measured(
    case: Case,
    rooms: Rooms,
    pool: ServerPool,
    measure: Callable[[CaseResult, Question, Ready], CaseResult],
) -> CaseResult:
    """Return what ``measure`` makes of a server that answers rightly, else why nothing was measured."""
    with at_the_server(case, rooms, pool) as visit:
        result = verified(visit, rooms)
        if not result.reason:
            with rooms.measuring(case) as waited_s:
                before = replace(
                    result,
                    # Now: the server is idle, as it is not after the load, and telemetry has not begun.
                    ceiling=_ceiling(visit.question, visit.asked, rooms),
                    raw=rooms.raw(case, visit.ready.endpoint),
                    waited_s=visit.waited_s + waited_s,
                )
                result = measure(before, visit.question, visit.ready)
    if result.validity is Validity.ERRORS:
        pool.distrust()
    return result


def bring_up(case: Case, rooms: Rooms, pool: ServerPool) -> Endpoint:
    """Return where the case's deployment answers, launched if it did not yet, and not asked anything."""
    with rooms.starting(case):
        return pool.ready(case.deployment, case.repeat).endpoint


def ask_case(
    case: Case,
    rooms: Rooms,
    pool: ServerPool,
) -> tuple[tuple[Image, Answer, npt.NDArray[np.float32]], ...]:
    """Ask every image once, without load; return each with its answer and the reference's logits.

    Raises `AnswerError` when a reply cannot be read or differs from the reference.
    """
    with at_the_server(case, rooms, pool) as visit:
        asked = visit.asked
    if asked.trouble:
        pool.distrust()
    mismatches = asked.verification.mismatches
    if mismatches or asked.trouble:
        raise AnswerError(
            f"{case.stack} does not answer as the model in process does"
            if mismatches
            else f"{case.stack} does not answer",
            where=case.id,
            seen="\n".join(mismatches[:5]) or asked.trouble,
            next_step=f"read {log_of(visit.ready.endpoint)}",
        )
    return tuple(zip(visit.images, asked.answers, visit.question.expected, strict=False))


def verified(visit: Visit, rooms: Rooms) -> CaseResult:
    """Return what is known of a case before its load, with a reason if there must be none."""
    asked = visit.asked
    result = replace(
        _unmeasured(visit.question, visit.ready, asked, rooms), waited_s=visit.waited_s, served=visit.served
    )
    if asked.verification.mismatches:
        return replace(result, validity=Validity.WRONG_OUTPUT, reason=_wrong_before(asked.verification))
    if asked.trouble:
        return replace(result, validity=Validity.ERRORS, reason=asked.trouble)
    faults = not_as_asked(result.case.deployment, visit.served, visit.ready.endpoint.launcher)
    if faults:
        return replace(result, validity=Validity.WRONG_BACKEND, reason="; ".join(faults))
    return result


def loaded(
    result: CaseResult,
    question: Question,
    ready: Ready,
    rooms: Rooms,
    watch: Watch,
    *,
    limits: ValidityLimits = DEFAULT_LIMITS,
) -> CaseResult:
    """Return ``result``, of a verified server, with what one load of the question's case showed."""
    try:
        samples, telemetry = _measure(question, ready, rooms, watch)
    except LoadError as error:
        return replace(result, validity=Validity.ERRORS, reason=str(error))
    concluded = _conclude(replace(result, telemetry=telemetry), question, samples, limits)
    code = ready.server.exit_code()
    if concluded.validity is Validity.ERRORS and code is not None:
        reason = f"the server ended by itself with {describe_exit(code)}: {concluded.reason}"
        return replace(concluded, reason=reason)
    return concluded


def _unmeasured(question: Question, ready: Ready, asked: Asked, rooms: Rooms) -> CaseResult:
    """Return what is known of a case before its load."""
    case = question.case
    attached = ready.endpoint.launcher == LauncherKind.ATTACH
    launched_ns, correct_ns = ready.launched_ns, asked.first_correct_ns
    return CaseResult(
        case=case,
        endpoint=ready.endpoint,
        backend="not known: attached server" if attached else question.stack.backend(case.deployment),
        weights=rooms.artifact(case.deployment).weights,
        validity=Validity.UNDECIDED,
        before=asked.verification,
        restarted=ready.restarted,
        cold_start_s=None if launched_ns is None or correct_ns is None else (correct_ns - launched_ns) / 1e9,
    )


def _wrong_before(verification: Verification) -> str:
    count = f"{len(verification.mismatches)} of {verification.compared}"
    first = f"first: {verification.mismatches[0]}"
    remedy = "look for another model, weights or preprocessing in the server, or answers out of order"
    return f"{count} answers before the load are not the reference's; {first}; {remedy}"


def _ceiling(question: Question, asked: Asked, rooms: Rooms) -> Ceiling:
    if asked.reply is None:
        return NO_CEILING
    load = question.case.load
    if question.case.objective is not None:  # what is judged are the open loops of a search, not its first
        load = replace(load, concurrency=OPEN_IN_FLIGHT)
    return rooms.ceiling(question.requests, asked.reply, load)


def _measure(question: Question, ready: Ready, rooms: Rooms, watch: Watch) -> tuple[Samples, Telemetry]:
    """Load the server and read beside it; raises `LoadError`."""
    endpoint, deployment = ready.endpoint, question.case.deployment
    with rooms.telemetry(endpoint, deployment) as readings:
        looking = _ServerWatch(watch, ready.server, readings)
        samples = rooms.driver.run(endpoint, question.requests, question.case.load, looking)
        return samples, readings.over(samples.window_ns)


class _ServerWatch:
    """The person's watch, with an eye on the server's process; it tells what reads beside the load."""

    def __init__(self, watch: Watch, server: RunningServer, readings: Readings) -> None:
        self._watch = watch
        self._server = server
        self._readings = readings

    def progress(self, progress: Progress) -> None:
        self._readings.progress(progress)
        self._watch.progress(progress)

    def server_gone(self) -> str | None:
        code = self._server.exit_code()
        if code is not None:
            return f"it ended by itself with {describe_exit(code)}"
        return self._watch.server_gone()


def _conclude(result: CaseResult, question: Question, samples: Samples, limits: ValidityLimits) -> CaseResult:
    """Verify what was kept, mark the wrong ones, and say whether the run may be believed."""
    during, wrong = _verify_kept(question, samples)
    outcome = samples.outcome.copy()
    outcome[list(wrong)] = Outcome.WRONG
    samples = replace(samples, outcome=outcome)
    case = question.case
    summary = summarise(
        samples,
        items_per_request=case.items_per_request,
        timeout_s=case.load.timeout_s,
        open_loop=case.load.arrivals is not None,
    )
    summary = replace(summary, ceiling_per_s=result.ceiling.per_s)
    validity, reason = validity_of(
        summary,
        samples,
        load=case.load,
        verifications=(result.before, during),
        limits=limits,
    )
    concluded = replace(
        result,
        samples=samples,
        summary=summary,
        stages=stage_results(samples, case.load),
        during=during,
        validity=validity,
        reason=reason,
    )
    return replace(concluded, telemetry=_with_energy(concluded, summary))


def _with_energy(result: CaseResult, summary: Summary) -> Telemetry:
    images = summary.correct * result.case.items_per_request
    return with_joules_per_image(result.telemetry, images, publishable=result.publishable)


def _verify_kept(question: Question, samples: Samples) -> tuple[Verification, tuple[int, ...]]:
    """Return how the kept replies compare, and the positions of the wrong ones."""
    checks: list[Check] = []
    for position, reply in samples.replies.items():
        request = question.requests[int(samples.request_index[position])]
        checks.append((position, check(question, request, reply)[1]))
    return joined(question, checks), tuple(position for position, one in checks if one.mismatches)
