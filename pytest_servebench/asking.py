"""A case made concrete: what is asked, what must be answered, and how answers compare with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np
import numpy.typing as npt

from pytest_servebench.choices import SHARED_PAYLOADS
from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Case,
    Image,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import (
    Answer,
    Endpoint,
    Verification,
)
from pytest_servebench.rooms import Rooms
from pytest_servebench.samples import Reply
from pytest_servebench.sharing.shared_memory import share
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.verification import by_logarithm, tolerance_for, verify

IMAGES_PER_CASE = 16
"""Distinct images a case is asked with and verified on, at the least."""

VERIFY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Question:
    """A case made concrete: its requests, and the logits that each must bring back."""

    case: Case
    stack: Stack
    requests: tuple[WireRequest, ...]
    expected: npt.NDArray[np.float32]
    """By image, [n, 1000]."""
    shared: SharedRequests | None = None
    """Where the requests' tensors lie, when they lie in shared memory."""
    decoder: str = ""
    """What the server says that it decodes JPEG with; empty where it does not say, or nothing is decoded."""


def request_groups(images: Sequence[Image], items: int) -> tuple[tuple[Image, ...], ...]:
    """Return the images of each request: all images in order, the last group filled from the first."""
    count = ceil(len(images) / items)
    return tuple(tuple(images[(r * items + j) % len(images)] for j in range(items)) for r in range(count))


def question_of(case: Case, rooms: Rooms) -> tuple[Question, tuple[Image, ...]]:
    """Return what will be asked and what must be answered, before any server is up."""
    stack = rooms.stacks[case.stack]
    images = rooms.images(case, max(IMAGES_PER_CASE, 2 * case.items_per_request))
    groups = request_groups(images, case.items_per_request)
    shared = share(stack, case, groups) if case.payload in SHARED_PAYLOADS else None
    requests = tuple(
        replace(request, image_indexes=tuple(image.index for image in group))
        for group, request in zip(
            groups,
            (stack.encode(case, group) for group in groups) if shared is None else shared.requests,
            strict=True,
        )
    )
    expected = rooms.reference(case, images)
    return Question(case=case, stack=stack, requests=requests, expected=expected, shared=shared), images


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Asked:
    """What came of asking every request of a question once."""

    answers: tuple[Answer, ...]
    verification: Verification
    trouble: str
    """Why not every request was answered, in words; empty when all were."""
    first_correct_ns: int | None
    """When the first correct answers were there."""
    reply: Reply | None = None
    """A correct reply, for its length."""


def ask_each(question: Question, endpoint: Endpoint, rooms: Rooms) -> Asked:
    """Ask every request once, up to the first that is not answered."""
    answers: list[Answer] = []
    checks: list[Check] = []
    trouble, first_correct_ns, correct = "", None, None
    for number, request in enumerate(question.requests):
        try:
            reply = rooms.driver.exchange(endpoint, request, VERIFY_TIMEOUT_S)
        except LoadError as error:
            trouble = str(error)
            break
        if reply.status != success_of(question.case):
            trouble = _status_text(question.case, reply)
            break
        said, verification = check(question, request, reply)
        if first_correct_ns is None and not verification.mismatches:
            first_correct_ns, correct = rooms.clock.now_ns(), reply
        answers += said
        checks.append((number, verification))
    return Asked(
        answers=tuple(answers),
        verification=joined(question, checks),
        trouble=trouble,
        first_correct_ns=first_correct_ns,
        reply=correct,
    )


def success_of(case: Case) -> int:
    """Return the status that says that a request was answered."""
    return 200 if case.protocol is WireProtocol.HTTP else 0


def _status_text(case: Case, reply: Reply) -> str:
    return f"{case.stack} answered with status {reply.status}: {reply.body[:300].decode(errors='replace')}"


Check = tuple[int, Verification]
"""How the answers of one request compare, and the request's number."""


def check(question: Question, request: WireRequest, reply: Reply) -> tuple[tuple[Answer, ...], Verification]:
    """Return the answers in a reply, and how they compare with those of the request's images.

    A reply that claims success and cannot be read is a wrong answer, not a failed request.
    """
    indexes = request.image_indexes
    try:
        answers = question.stack.decode(question.case, reply)
    except AnswerError as error:
        return (), Verification(compared=len(indexes), mismatches=(str(error),), worst_difference=inf)
    verification = verify(
        answers,
        question.expected,
        _tolerance(question),
        indexes,
        logarithms=by_logarithm(question.case.deployment.precision),
    )
    return answers, replace(verification, compared=len(indexes))


def _tolerance(question: Question) -> float:
    case, deployment = question.case, question.case.deployment
    return tolerance_for(
        deployment.format, deployment.precision, case.payload, deployment.device, question.decoder
    )


def joined(question: Question, checks: Sequence[Check]) -> Verification:
    """Return how the answers of several requests compare, each mismatch under its request's number."""
    return Verification(
        compared=sum(one.compared for _, one in checks),
        mismatches=tuple(f"request {n}: {sentence}" for n, one in checks for sentence in one.mismatches),
        tolerance=_tolerance(question),
        worst_difference=max((one.worst_difference for _, one in checks), default=0.0),
    )
