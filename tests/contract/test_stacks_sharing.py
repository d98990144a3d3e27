"""What every stack keeps that offers shared memory: where tensors lie, and what its server is told of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.asking import request_groups
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Artifact, Case, Payload
from pytest_servebench.sharing.shared_memory import next_region, share
from tests.every_stack import STACKS, deployments_of, each_shared_case, images, specs_of
from tests.offered_stack import SHM, TRITON

IMAGE_BYTES = 3 * 224 * 224 * 4
HANDLE = base64.b64encode(bytes(range(64)))
"""As `cudaIpcGetMemHandle` would give it."""


@each_shared_case
def test_the_region_holds_each_requests_images_side_by_side(stack: Stack, case: Case) -> None:
    """Every image is there, in the order of the requests, and repeated only to fill the last of them."""
    some = images(5)
    shared = share(stack, case, request_groups(some, case.items_per_request))
    indexes = [index for request in shared.requests for index in request.image_indexes]
    by_index = {image.index: image.tensor for image in some}
    assert indexes[:5] == [image.index for image in some]
    assert len(indexes) - 5 < case.items_per_request
    assert all(
        np.array_equal(tensor, by_index[index]) for tensor, index in zip(shared.tensors, indexes, strict=True)
    )
    assert shared.size_bytes == len(indexes) * IMAGE_BYTES


@each_shared_case
def test_requests_say_where_and_carry_no_tensor(
    stack: Stack, case: Case, artifacts: Mapping[str, Artifact]
) -> None:
    """Each is small, speaks the case's protocol to a port of the server, and differs from every other."""
    shared = share(stack, case, request_groups(images(8), case.items_per_request))
    roles = specs_of(stack, artifacts)[0].port_roles
    register = shared.registering(HANDLE)
    for request in (*shared.requests, register, shared.unregister):
        assert request.protocol is case.protocol
        assert request.port_role in roles
        assert len(request.body) < 1000
    for request in shared.requests:
        assert shared.region.encode() in request.body
    assert len({request.body for request in shared.requests}) == len(shared.requests)


@each_shared_case
def test_the_server_is_told_the_regions_name(stack: Stack, case: Case) -> None:
    """Registering and unregistering name the same region, and are not the same request."""
    shared = share(stack, case, request_groups(images(4), case.items_per_request))
    register, unregister = shared.registering(HANDLE), shared.unregister
    for told in (register, unregister):
        assert shared.region in told.path + told.body.decode("latin-1")
    assert (register.path, register.body) != (unregister.path, unregister.body)


@each_shared_case
def test_encode_refuses_what_it_cannot_know(stack: Stack, case: Case) -> None:
    """Images alone do not say where they lie: encode raises and names the method that is told."""
    with pytest.raises(PlanError, match=r"share for it"):
        stack.encode(case, images(case.items_per_request))


def test_some_stack_shares_memory() -> None:
    """The tests above are not empty."""
    assert [stack.name for stack in STACKS if Payload.SHM in stack.payloads] == ["triton"]


def test_a_stack_that_offers_it_must_describe_it() -> None:
    """A payload that is offered and not described is told with the method that is missing."""
    case = Case(deployment=deployments_of(TRITON)[0], payload=SHM)
    with pytest.raises(PlanError, match=r"triton offers the payload shm[\s\S]*MemorySharing"):
        share(replace(TRITON, payloads=TRITON.payloads | {SHM}), case, [images(1)])


def test_every_region_has_a_name_of_its_own() -> None:
    """Two cases of one process never meet in one file."""
    assert len({next_region() for _ in range(10)}) == 10
