"""What is said on the wire of every stack: requests that ask for their images, replies read or refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ServerCounters, Stack
from pytest_servebench.plan import (
    Artifact,
    Case,
)
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply
from pytest_servebench.verification import softmax, verify
from tests.every_stack import (
    CASES,
    deployments_of,
    each_case,
    each_stack,
    images,
    logits_for,
    specs_of,
)
from tests.good_replies import GOOD_REPLIES


@each_case
def test_asks_for_the_images_it_is_given(stack: Stack, case: Case, artifacts: Mapping[str, Artifact]) -> None:
    """A request speaks the case's protocol, to a port of the server, for its images in their order."""
    given_images = images(case.items_per_request)
    request = stack.encode(case, given_images)
    assert request == stack.encode(case, given_images), "encoding is not deterministic"
    assert request.protocol is case.protocol
    assert request.path.startswith("/")
    assert request.image_indexes == tuple(image.index for image in given_images)
    assert request.port_role in specs_of(stack, artifacts)[0].port_roles
    assert not {name.lower() for name, _ in request.headers} & {"host", "content-length"}


@each_case
def test_sends_every_image(stack: Stack, case: Case) -> None:
    """Another image at any place of a request, and another order of them, is another body."""
    mine = images(case.items_per_request)
    others = [
        replace(other, index=image.index) for image, other in zip(mine, images(4, seed=1), strict=False)
    ]
    changed = [[*mine[:at], other, *mine[at + 1 :]] for at, other in enumerate(others)]
    turned = [[replace(image, index=10 + at) for at, image in enumerate(mine[::-1])]] if len(mine) > 1 else []
    bodies = [stack.encode(case, some).body for some in (mine, *changed, *turned)]
    assert len(set(bodies)) == len(bodies)


@each_case
def test_reads_a_good_reply(stack: Stack, case: Case) -> None:
    """A good reply gives an answer per image, in order, the best class first with its softmax probability."""
    logits = logits_for(case)
    answers = stack.decode(case, GOOD_REPLIES[stack.name](case, logits))
    assert len(answers) == case.items_per_request
    for answer, row in zip(answers, logits, strict=True):
        expected = softmax(row)
        assert answer.class_ids[0] == row.argmax()
        assert list(answer.confidences) == pytest.approx(expected[list(answer.class_ids)], abs=1e-6)
        assert list(answer.confidences) == sorted(answer.confidences, reverse=True)
        assert answer.logits is None or np.array_equal(answer.logits, row)


@each_case
def test_refuses_a_reply_for_another_number_of_images(stack: Stack, case: Case) -> None:
    """A good reply for one image more is no answer to this request."""
    more = replace(case, items_per_request=case.items_per_request + 1)
    with pytest.raises(AnswerError):
        stack.decode(case, GOOD_REPLIES[stack.name](more, logits_for(more)))


HEADERS = st.dictionaries(
    st.sampled_from(["inference-header-content-length", "content-type", "grpc-message"]),
    st.one_of(st.integers(-5, 5000).map(str), st.text(max_size=8)),
)
ONE_IMAGE = [param for param in CASES if param.values[1].items_per_request == 1]  # type: ignore[union-attr]
patiently = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize(("stack", "case"), ONE_IMAGE)
@patiently
@given(
    status=st.one_of(st.sampled_from([0, 200]), st.integers(0, 600)),
    headers=HEADERS,
    body=st.binary(max_size=600),
)
def test_says_what_it_could_not_read(
    stack: Stack, case: Case, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Garbage is an AnswerError that says what, where or what was seen, and what next; never another."""
    with pytest.raises(AnswerError) as caught:
        stack.decode(case, Reply(status, headers, body))
    error = caught.value
    assert error.what
    assert error.where or error.seen
    assert error.next_step


@pytest.mark.parametrize(("stack", "case"), ONE_IMAGE)
@patiently
@given(data=st.data())
def test_reads_a_damaged_reply_or_refuses_it(stack: Stack, case: Case, data: st.DataObject) -> None:
    """A good reply cut short or with a few other bytes is refused or read, and raises nothing else."""
    good = GOOD_REPLIES[stack.name](case, logits_for(case))
    body = bytearray(good.body)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, min(len(body) - 1, 400)))
        body[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
    with suppress(AnswerError):
        answers = stack.decode(case, replace(good, body=bytes(body[:end])))
        assert all(isinstance(answer, Answer) for answer in answers)


@each_case
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_leaves_what_is_no_number_to_the_verification(stack: Stack, case: Case, number: float) -> None:
    """Scores that are no numbers are refused, or answers that verification finds wrong; no warning."""
    logits = logits_for(case)
    logits[0, 5] = number
    with np.errstate(invalid="ignore"):
        reply = GOOD_REPLIES[stack.name](case, logits)
    with suppress(AnswerError):
        compared = verify(stack.decode(case, reply), np.nan_to_num(logits), tolerance=1e-3)
        assert compared.mismatches


@each_stack
@patiently
@given(status=st.sampled_from([200, 404, 500]), body=st.binary(max_size=300))
def test_makes_no_counters_of_garbage(stack: Stack, status: int, body: bytes) -> None:
    """Counters that cannot be read are an AnswerError, or none at all."""
    for deployment in deployments_of(stack):
        with suppress(AnswerError):
            assert stack.counters(deployment, Reply(status, {}, body)) == ServerCounters()
