"""The real tritonserver reads tensors from shared memory, over both protocols, and lets go of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.asking import request_groups
from pytest_servebench.errors import ControlError
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Device,
    Image,
    Load,
    ModelFormat,
    Payload,
    WireProtocol,
)
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome
from pytest_servebench.sharing.shared_memory import FOLDER, share, sharing
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.stacks.triton import Triton
from tests.loads import Onlooker
from tests.serving import Served, start

pytestmark = pytest.mark.live

STACK = Triton()
DEPLOYMENT = Deployment(stack="triton", model="tiny", format=ModelFormat.ONNX)
LOAD = Load(concurrency=8, warmup_s=0.0, duration_s=0.5, verify_share=0.2)

each_protocol = pytest.mark.parametrize("protocol", list(WireProtocol), ids=str)


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with the model loaded."""
    workdir = tmp_path_factory.mktemp("sharing")
    with start(STACK, [DEPLOYMENT], artifacts, workdir) as server, server.loaded(DEPLOYMENT):
        yield server


def question(protocol: WireProtocol, images: list[Image], items: int) -> tuple[Case, SharedRequests]:
    """Return a case of these images in shared memory, and its requests."""
    case = Case(deployment=DEPLOYMENT, payload=Payload.SHM, protocol=protocol, items_per_request=items)
    return case, share(STACK, case, request_groups(images, items))


def regions(server: Served) -> list[str]:
    """Return the names of the regions that the server knows."""
    return [one["name"] for one in json.loads(server.get("/v2/systemsharedmemory/status").body)]


@each_protocol
@pytest.mark.parametrize("items", [1, 3, 8])
def test_answers_equal_the_model_in_process(
    server: Served, images: list[Image], logits: npt.NDArray[np.float32], protocol: WireProtocol, items: int
) -> None:
    """Before and during a load, for single images and batches, the last of which begins again in front."""
    case, shared = question(protocol, images, items)
    endpoint, driver = server.running.endpoint, LoadDriver()
    with sharing(shared, endpoint, driver):
        assert regions(server) == [shared.region]
        replies = [server.send(request) for request in shared.requests]
        samples = driver.run(endpoint, shared.requests, LOAD, Onlooker())
    assert samples.first_error == ""
    assert (samples.outcome == Outcome.OK).all()
    asked = list(zip(shared.requests, replies, strict=True))
    asked += [(shared.requests[samples.request_index[at]], reply) for at, reply in samples.replies.items()]
    assert len(asked) > len(shared.requests)
    for request, reply in asked:
        answers = STACK.decode(case, reply)
        got = np.stack([answer.logits for answer in answers if answer.logits is not None])
        np.testing.assert_allclose(got, logits[list(request.image_indexes)], atol=1e-3)
    assert regions(server) == []
    assert not (FOLDER / shared.region).exists()


@each_protocol
def test_nothing_is_left_after_a_failure(server: Served, images: list[Image], protocol: WireProtocol) -> None:
    """After Ctrl-C in the middle of a case the server knows no region, and /dev/shm holds what it held."""
    before = sorted(FOLDER.iterdir())
    _, shared = question(protocol, images, 1)

    class Interrupting(Onlooker):
        def progress(self, progress: Progress) -> None:
            raise KeyboardInterrupt

    driver, endpoint = LoadDriver(), server.running.endpoint
    with pytest.raises(KeyboardInterrupt), sharing(shared, endpoint, driver):
        driver.run(endpoint, shared.requests, LOAD, Interrupting())
    assert regions(server) == []
    assert sorted(FOLDER.iterdir()) == before


@each_protocol
def test_a_region_that_the_server_cannot_open_is_refused(
    server: Served, images: list[Image], protocol: WireProtocol
) -> None:
    """As in a container with a memory of its own: the error says what the server said, nothing is left."""
    _, shared = question(protocol, images, 1)
    _, elsewhere = question(protocol, images, 1)
    mixed = replace(shared, register=elsewhere.register)
    with pytest.raises(ControlError) as caught, sharing(mixed, server.running.endpoint, LoadDriver()):
        raise AssertionError("the block ran")
    assert elsewhere.region in caught.value.seen
    assert not (FOLDER / shared.region).exists()


def test_a_dead_server_leaves_no_region(
    artifacts: dict[str, Artifact], images: list[Image], work: Path
) -> None:
    """A server that is ended while the region is registered cannot keep it alive."""
    _, shared = question(WireProtocol.HTTP, images, 1)
    with start(STACK, [DEPLOYMENT], artifacts, work) as server:
        server.load(DEPLOYMENT)
        with sharing(shared, server.running.endpoint, LoadDriver()):
            server.stop()
            assert (FOLDER / shared.region).exists()
    assert not (FOLDER / shared.region).exists()


@each_protocol
def test_memory_of_a_gpu_is_refused_in_the_servers_words(
    server: Served, images: list[Image], protocol: WireProtocol
) -> None:
    """The real server reads what it is told of such a region; a handle that is nobody's it cannot open."""
    on_gpu = replace(DEPLOYMENT, device=Device("cuda", 0))
    case = Case(deployment=on_gpu, payload=Payload.CUDASHM, protocol=protocol)
    shared = share(STACK, case, request_groups(images, 1))
    assert "cuda_shared_memory" in json.loads(server.get("/v2").body)["extensions"]
    reply = server.send(shared.registering(base64.b64encode(bytes(64))))
    said = reply.headers.get("grpc-message") or json.loads(reply.body)["error"]
    assert said.startswith("failed to register")
    assert server.send(shared.unregister).status == (200 if protocol is WireProtocol.HTTP else 0)
