"""The real FastAPI server answers what the stack describes."""

from __future__ import annotations

import json
import socket

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.plan import Case, Deployment, Image, ModelFormat, Payload
from pytest_servebench.results import Answer
from pytest_servebench.stacks.fastapi import Fastapi
from tests.serving import Served

pytestmark = pytest.mark.live

STACK = Fastapi()
CPU_PROVIDER = "CPUExecutionProvider"
Reference = tuple[list[Image], npt.NDArray[np.float32]]


@pytest.fixture
def reference(images: list[Image], logits: npt.NDArray[np.float32]) -> Reference:
    """Return the images and their right answers."""
    return images, logits


def check_answers(answers: tuple[Answer, ...], expected: npt.NDArray[np.float32]) -> None:
    """Fail unless each answer is that of its own image."""
    for answer, row in zip(answers, expected, strict=True):
        assert answer.class_ids[0] == int(row.argmax())
        probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        assert answer.confidences[0] == pytest.approx(probabilities.max(), rel=1e-3)
        if answer.logits is not None:
            np.testing.assert_allclose(answer.logits, row, atol=1e-3)


@pytest.mark.parametrize(
    ("payload", "items"),
    [(Payload.TENSOR, 1), (Payload.TENSOR, 5), (Payload.JPEG, 1), (Payload.JPEG, 5)],
)
def test_answers_are_the_references(
    fastapi_server: Served, deployment: Deployment, reference: Reference, payload: Payload, items: int
) -> None:
    """What the stack encodes, the server answers as the model in process does."""
    case = Case(deployment=deployment, payload=payload, items_per_request=items)
    images, logits = reference
    check_answers(fastapi_server.ask(case, images[:items]), logits[:items])


@pytest.mark.parametrize("payload", [Payload.TENSOR, Payload.JPEG], ids=str)
def test_concurrent_answers_are_not_mixed_up(
    fastapi_server: Served, deployment: Deployment, reference: Reference, payload: Payload
) -> None:
    """Under concurrency each image gets its own answer, and the counters count each image once."""
    case = Case(deployment=deployment, payload=payload)
    images, logits = reference
    requests = [STACK.encode(case, [image]) for image in images] * 8
    replies, change = fastapi_server.counted_together(deployment, requests)
    for number, reply in enumerate(replies):
        check_answers(STACK.decode(case, reply), logits[number % 16][None])
    assert (change.images, change.requests) == (128, 128)
    assert 16 <= (change.executions or 0) <= 128


def test_health_names_the_engine_that_the_stack_promised(
    fastapi_server: Served, deployment: Deployment
) -> None:
    """The backend in the record is the one that serves."""
    health = json.loads(fastapi_server.get("/health").body)
    assert health["backend"] == STACK.backend(deployment)
    assert (health["model"], health["format"]) == (deployment.served_name, str(deployment.format))
    served = health["served"]
    assert served["provider"] == ("libtorch" if deployment.format is ModelFormat.PYTORCH else CPU_PROVIDER)
    assert (served["device"], served["precision"]) == ("cpu", "fp32")
    assert set(served["nodes"]) == (set() if served["provider"] == "libtorch" else {CPU_PROVIDER})


def port_of(server: Served) -> int:
    """Return where it listens."""
    return server.running.endpoint.ports["http"]


def exchange(port: int, *chunks: bytes) -> bytes:
    """Return the first part of the reply to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
        return connection.recv(4096)


def test_declared_size_above_the_limit_is_refused_unread(fastapi_server: Served) -> None:
    """A Content-Length beyond the limit is answered 413 before the body is sent."""
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    assert exchange(port_of(fastapi_server), head, b"Content-Length: 99999999999\r\n\r\n").startswith(
        b"HTTP/1.1 413 "
    )


def test_client_that_hangs_up_in_its_body_harms_nobody(
    fastapi_server: Served, deployment: Deployment
) -> None:
    """A connection that ends early is forgotten; the server stays ready."""
    path = f"/v2/models/{deployment.served_name}/infer".encode()
    with socket.create_connection(("127.0.0.1", port_of(fastapi_server))) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    assert fastapi_server.get("/v2/health/ready").status == 200
    assert "Traceback" not in fastapi_server.log()
