"""Every stack there is, the cases it offers, and what it is asked with, for tests that all must pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from docs.examples.plainhttp_stack import PlainHttp
from pytest_servebench.choices import SHARED_PAYLOADS
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Device,
    Image,
    InputDtype,
    LaunchSpec,
    ModelFormat,
    Payload,
    WireRequest,
)
from pytest_servebench.pool import controls_models
from pytest_servebench.stacks import built_in_stacks

STACKS: tuple[Stack, ...] = (*built_in_stacks(), PlainHttp())
LOCAL_FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)

each_stack = pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)


def deployments_of(stack: Stack) -> tuple[Deployment, ...]:
    """Return one deployment per format that a local process can serve, and a batch size more."""
    return tuple(
        Deployment(stack=stack.name, model="tiny", format=each, max_batch_size=size)
        for each in LOCAL_FORMATS
        for size in (8, 1)
        if each in stack.formats
    )


def cases_of(stack: Stack) -> Iterator[Case]:
    """Yield every combination that a stack encodes, with one to four images per request.

    Requests for shared memory are made by `share`: `shared_cases_of`.
    """
    deployments = [deployment for deployment in deployments_of(stack) if deployment.max_batch_size > 1]
    for deployment, payload, protocol, items in product(
        deployments, sorted(stack.payloads - SHARED_PAYLOADS), sorted(stack.protocols), (1, 2, 3, 4)
    ):
        taking = InputDtype.UINT8 if payload is Payload.UINT8 else InputDtype.FLOAT32
        yield Case(
            deployment=replace(deployment, input_dtype=taking),
            payload=payload,
            protocol=protocol,
            items_per_request=items,
        )


def shared_cases_of(stack: Stack) -> Iterator[Case]:
    """Yield the same combinations with tensors in shared memory, where a stack offers it."""
    for payload, case in product(sorted(stack.payloads & SHARED_PAYLOADS), cases_of(stack)):
        if case.payload is Payload.TENSOR:
            device = Device("cuda", 1) if payload is Payload.CUDASHM else case.deployment.device
            yield replace(case, payload=payload, deployment=replace(case.deployment, device=device))


CASES = [pytest.param(stack, case, id=f"{case.id}") for stack in STACKS for case in cases_of(stack)]
each_case = pytest.mark.parametrize(("stack", "case"), CASES)
SHARED_CASES = [
    pytest.param(stack, case, id=f"{case.id}") for stack in STACKS for case in shared_cases_of(stack)
]
each_shared_case = pytest.mark.parametrize(("stack", "case"), SHARED_CASES)


def specs_of(stack: Stack, artifacts: Mapping[str, Artifact]) -> list[LaunchSpec]:
    """Return all ways in which a stack is launched here."""
    deployments = deployments_of(stack)
    together = [deployments] if controls_models(stack) else [(one,) for one in deployments]
    return [stack.launch_spec(some, artifacts) for some in together]


def images(count: int, seed: int = 0) -> list[Image]:
    """Return images that differ in every form."""
    noise = np.random.default_rng(seed)
    return [
        Image(
            10 + i,
            b"\xff\xd8 jpeg %d.%d" % (seed, i),
            noise.random((3, 224, 224), np.float32),
            pixels=noise.integers(0, 256, (3, 224, 224), np.uint8),
        )
        for i in range(count)
    ]


def logits_for(case: Case) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a row of scores for each image of a request."""
    return np.random.default_rng(3).normal(0, 3, (case.items_per_request, 1000)).astype(np.float32)


def texts_of(spec: LaunchSpec) -> list[str]:
    """Return every text of a spec that may hold placeholders."""
    return [*spec.argv, *spec.environment.values(), *(f.text for f in spec.files if f.text is not None)]


def requests_of(stack: Stack, deployment: Deployment) -> list[WireRequest]:
    """Return every request that a stack makes beside those that ask for images."""
    counters, control = stack.counters_request(deployment), controls_models(stack)
    requests = [] if counters is None else [counters]
    if control is not None:
        requests += [*control.load_requests(deployment), *control.unload_requests(deployment)]
    return requests
