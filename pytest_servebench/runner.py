"""The conductor: one case from a ready server to a result that may be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import Clock, Driver, RunningServer, Stack, Watch
from pytest_servebench.plan import Artifact, Case, Deployment, Image, WireProtocol, WireRequest
from pytest_servebench.pool import Ready, ServerPool
from pytest_servebench.results import (
    Answer,
    CaseResult,
    Endpoint,
    Outcome,
    Progress,
    Reply,
    Samples,
    Telemetry,
    Validity,
    Verification,
)
from pytest_servebench.statistics import summarise, validity_of
from pytest_servebench.verification import tolerance_for, verify

IMAGES_PER_CASE = 16
"""Distinct images a case is asked with and verified on, at the least."""

VERIFY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Everything a case needs from the rest of the house."""

    stacks: Mapping[str, Stack]
    driver: Driver
    clock: Clock
    artifact: Callable[[Deployment], Artifact]
    images: Callable[[Case, int], tuple[Image, ...]]
    """The case's image set, at least so many."""
    reference: Callable[[Case, Sequence[Image]], npt.NDArray[np.float32]]
    """Logits of the same model in process, [n, 1000]."""
    telemetry: Callable[
        [Endpoint, Deployment], AbstractContextManager[Callable[[tuple[int, int]], Telemetry]]
    ]
    """Readings beside the load; inside the context, called with the window once it is over."""
    measuring: Callable[[], AbstractContextManager[object]]
    """Held while a window is measured, so that no two measurements share a machine."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Question:
    """A case made concrete: its requests, and the logits that each must bring back."""

    case: Case
    stack: Stack
    requests: tuple[WireRequest, ...]
    expected: npt.NDArray[np.float32]
    """By image, [n, 1000]."""


def request_groups(images: Sequence[Image], items: int) -> tuple[tuple[Image, ...], ...]:
    """Return the images of each request: all images in order, the last group filled from the first."""
    count = ceil(len(images) / items)
    return tuple(tuple(images[(r * items + j) % len(images)] for j in range(items)) for r in range(count))


def question_of(case: Case, rooms: Rooms) -> tuple[Question, tuple[Image, ...]]:
    """Return what will be asked and what must be answered, before any server is up."""
    stack = rooms.stacks[case.stack]
    images = rooms.images(case, max(IMAGES_PER_CASE, 2 * case.items_per_request))
    groups = request_groups(images, case.items_per_request)
    requests = tuple(
        replace(stack.encode(case, group), image_indexes=tuple(image.index for image in group))
        for group in groups
    )
    return Question(case=case, stack=stack, requests=requests, expected=rooms.reference(case, images)), images


def run_case(case: Case, rooms: Rooms, pool: ServerPool, watch: Watch) -> CaseResult:
    """Measure one case and return all that is known of it.

    Raises `LaunchError`, `ControlError` or `ModelError` when there is nothing to measure;
    what goes wrong later is a result that is not valid.
    """
    question, _ = question_of(case, rooms)
    ready = pool.ready(case.deployment)
    result = _blank_result(question, ready, rooms)
    answers, before, trouble = ask_each(question, ready.endpoint, rooms)
    cold_start_s = None
    if ready.launched_ns is not None and answers:
        cold_start_s = (rooms.clock.now_ns() - ready.launched_ns) / 1e9
    result = replace(result, before=before, cold_start_s=cold_start_s)
    if trouble:
        return replace(result, validity=Validity.ERRORS, reason=trouble)
    if before.mismatches:
        return replace(result, validity=Validity.WRONG_OUTPUT, reason=before.mismatches[0])
    with rooms.measuring():
        samples, telemetry = _measure(question, ready, rooms, watch)
    return _conclude(replace(result, telemetry=telemetry), question, samples)


def ask_case(
    case: Case,
    rooms: Rooms,
    pool: ServerPool,
) -> tuple[tuple[Image, Answer, npt.NDArray[np.float32]], ...]:
    """Ask every image once, without load; return each with its answer and the reference's logits.

    Raises `AnswerError` when a reply cannot be read or differs from the reference.
    """
    question, images = question_of(case, rooms)
    ready = pool.ready(case.deployment)
    answers, verification, trouble = ask_each(question, ready.endpoint, rooms)
    if trouble or verification.mismatches:
        raise AnswerError(
            trouble or f"{case.stack} does not answer as the model in process does",
            where=case.id,
            seen="\n".join(verification.mismatches[:5]),
            next_step=f"read the server's log: {ready.endpoint.log_path}",
        )
    return tuple(zip(images, answers, question.expected, strict=False))


def ask_each(
    question: Question,
    endpoint: Endpoint,
    rooms: Rooms,
) -> tuple[tuple[Answer, ...], Verification, str]:
    """Ask every request once; return the answers, how they compare, and the first trouble in words."""
    answers: list[Answer] = []
    indexes: list[int] = []
    for request in question.requests:
        try:
            reply = rooms.driver.exchange(endpoint, request, VERIFY_TIMEOUT_S)
            answers += _read_answers(question, reply)
        except (LoadError, AnswerError) as error:
            return tuple(answers), Verification(compared=len(answers)), str(error)
        indexes += request.image_indexes
    return tuple(answers), _compare(question, answers, indexes), ""


def _read_answers(question: Question, reply: Reply) -> tuple[Answer, ...]:
    success = 200 if question.case.protocol is WireProtocol.HTTP else 0
    if reply.status != success:
        raise AnswerError(
            f"{question.case.stack} answered with status {reply.status}",
            where=question.case.id,
            seen=reply.body[:300].decode(errors="replace"),
            next_step="read the server's log",
        )
    return question.stack.decode(question.case, reply)


def _compare(question: Question, answers: Sequence[Answer], indexes: Sequence[int]) -> Verification:
    deployment = question.case.deployment
    tolerance = tolerance_for(
        deployment.format,
        deployment.precision,
        question.case.payload,
        deployment.device,
    )
    return verify(answers, question.expected, tolerance, indexes)


def _measure(
    question: Question,
    ready: Ready,
    rooms: Rooms,
    watch: Watch,
) -> tuple[Samples, Telemetry]:
    endpoint, deployment = ready.endpoint, question.case.deployment
    looking = _ServerWatch(watch, ready.server)
    with rooms.telemetry(endpoint, deployment) as readings:
        samples = rooms.driver.run(endpoint, question.requests, question.case.load, looking)
        return samples, readings(samples.window_ns)


class _ServerWatch:
    """The person's watch, with an eye on the server's process."""

    def __init__(self, watch: Watch, server: RunningServer) -> None:
        self._watch = watch
        self._server = server

    def progress(self, progress: Progress) -> None:
        self._watch.progress(progress)

    def server_gone(self) -> str | None:
        code = self._server.exit_code()
        if code is not None:
            return f"the server ended with exit code {code}; its last words:\n{self._server.log_tail()}"
        return self._watch.server_gone()


def _conclude(result: CaseResult, question: Question, samples: Samples) -> CaseResult:
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
    validity, reason = validity_of(
        summary,
        samples,
        load=case.load,
        verifications=(result.before, during),
    )
    return replace(
        result,
        samples=samples,
        summary=summary,
        during=during,
        validity=validity,
        reason=reason,
    )


def _verify_kept(question: Question, samples: Samples) -> tuple[Verification, tuple[int, ...]]:
    """Return how the kept replies compare, and the positions of the wrong ones."""
    mismatches: list[str] = []
    wrong: list[int] = []
    compared, worst, tolerance = 0, 0.0, 0.0
    for position, reply in samples.replies.items():
        request = question.requests[int(samples.request_index[position])]
        try:
            answers = _read_answers(question, reply)
        except AnswerError as error:
            one = Verification(compared=1, mismatches=(str(error),))
        else:
            one = _compare(question, answers, request.image_indexes)
        compared, tolerance = compared + one.compared, one.tolerance
        worst = max(worst, one.worst_difference)
        if one.mismatches:
            wrong.append(position)
            mismatches += (f"request {position}: {sentence}" for sentence in one.mismatches)
    return (
        Verification(
            compared=compared,
            mismatches=tuple(mismatches),
            tolerance=tolerance,
            worst_difference=worst,
        ),
        tuple(wrong),
    )


def _blank_result(question: Question, ready: Ready, rooms: Rooms) -> CaseResult:
    case = question.case
    attached = ready.endpoint.launcher == "attach"
    return CaseResult(
        case=case,
        endpoint=ready.endpoint,
        backend="not known: attached server" if attached else question.stack.backend(case.deployment),
        weights=rooms.artifact(case.deployment).weights,
        validity=Validity.UNDECIDED,
    )
