"""The real tritonserver, launched and asked over both protocols as the runner does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Artifact, Case, Deployment, Image, Load, ModelFormat, Payload, WireProtocol
from pytest_servebench.samples import Outcome
from pytest_servebench.stacks.triton import Triton
from tests.loads import Onlooker
from tests.processes import ended, runs
from tests.serving import Served, start

pytestmark = pytest.mark.live

FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)
STACK = Triton()


def _deployment(model_format: ModelFormat, max_batch_size: int = 8) -> Deployment:
    return Deployment(stack="triton", model="tiny", format=model_format, max_batch_size=max_batch_size)


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for both formats, in a working folder with a space in its path."""
    workdir = tmp_path_factory.mktemp("a server")
    with start(STACK, [_deployment(each) for each in FORMATS], artifacts, workdir) as server:
        yield server


@pytest.mark.parametrize("model_format", FORMATS)
def test_answers_equal_the_model_in_process(
    server: Served, images: list[Image], logits: npt.NDArray[np.float32], model_format: ModelFormat
) -> None:
    """Both payloads over both protocols give the logits of the model run in process, in order."""
    deployment = _deployment(model_format)
    with server.loaded(deployment):
        for payload in (Payload.TENSOR, Payload.JPEG):
            for protocol in WireProtocol:
                case = Case(deployment=deployment, payload=payload, protocol=protocol, items_per_request=3)
                answers = server.ask(case, images[:3])
                got = np.stack([answer.logits for answer in answers if answer.logits is not None])
                np.testing.assert_allclose(got, logits[:3], atol=1e-3)
    engine_name = STACK.backend(deployment).removeprefix("python backend: ")
    assert f"serves with {engine_name}" in server.log()
    name = f"servebench serves {deployment.served_name}: "
    said = next(line for line in server.log().splitlines() if name in line)
    # Triton logs its models' lines as JSON strings.
    (_, facts) = json.loads(said[said.index('"') :]).split(name)
    assert json.loads(facts)["device"] == "cpu"


@pytest.mark.parametrize("arrivals", [None, Poisson(60)], ids=["closed", "open"])
def test_a_load_over_grpc_is_answered_as_single_calls_are(
    server: Served, images: list[Image], logits: npt.NDArray[np.float32], arrivals: Poisson | None
) -> None:
    """Our own HTTP/2 and grpcio get the same answers from the real server, and no call fails."""
    case = Case(deployment=_deployment(ModelFormat.ONNX), protocol=WireProtocol.GRPC)
    requests = [STACK.encode(case, [image]) for image in images[:4]]
    load = Load(concurrency=4, arrivals=arrivals, warmup_s=0.1, duration_s=0.8, verify_share=1.0)
    with server.loaded(case.deployment):
        samples = LoadDriver().run(server.running.endpoint, requests, load, Onlooker())
    assert set(samples.outcome) == {Outcome.OK}, samples.first_error
    assert {int(samples.request_index[position]) for position in samples.replies} == {0, 1, 2, 3}
    for position, reply in samples.replies.items():
        (answer,) = STACK.decode(case, reply)
        assert answer.logits is not None
        np.testing.assert_allclose(answer.logits, logits[samples.request_index[position]], atol=1e-3)


def test_one_server_serves_every_batch_setting(server: Served, images: list[Image]) -> None:
    """A cap of 8 forms batches under 16 clients and a cap of 1 never does, on the same server."""
    achieved = {}
    for cap in (8, 1):
        case = Case(deployment=_deployment(ModelFormat.ONNX, cap))
        requests = [STACK.encode(case, [image]) for image in images] * 10
        with server.loaded(case.deployment):
            replies, change = server.counted_together(case.deployment, requests)
        assert all(reply.status == 200 for reply in replies)
        assert change.images == 160
        assert change.compute_s
        achieved[cap] = 160 / (change.executions or 0)
    assert achieved[1] == 1
    assert 1 < achieved[8] <= 8


def test_a_load_leaves_each_model_as_it_was_asked_for(artifacts: dict[str, Artifact], work: Path) -> None:
    """The first load of an ensemble does not reload its models from their files."""
    on_file = _deployment(ModelFormat.ONNX)
    with start(STACK, [on_file], artifacts, work) as server:
        server.load(replace(on_file, max_batch_size=5, max_queue_delay_ms=7))
        config = json.loads(server.get("/v2/models/tiny_onnx/config").body)
    assert config["max_batch_size"] == 5
    assert config["dynamic_batching"]["preferred_batch_size"] == [4, 5]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 7000
    assert server.log().count("loading: ") == 3


def test_a_request_above_the_cap_is_refused(server: Served, images: list[Image]) -> None:
    """Three images in one request to a model capped at one are an error, not a bigger batch."""
    case = Case(deployment=_deployment(ModelFormat.ONNX, 1), items_per_request=3)
    with server.loaded(case.deployment):
        assert server.send(STACK.encode(case, images[:3])).status == 400


def test_unloaded_model_is_gone_and_comes_back(server: Served, images: list[Image]) -> None:
    """After the unload no request is answered, its process ends, and a load brings it back."""
    case = Case(deployment=_deployment(ModelFormat.ONNX))
    with server.loaded(case.deployment):
        stubs = [process.pid for process in server.group()[1:]]
    assert stubs
    assert server.send(STACK.encode(case, images[:1])).status in (400, 404)
    assert ended(*stubs, within_s=10)
    with server.loaded(case.deployment):
        assert len(server.ask(case, images[:1])) == 1


def test_a_corrupt_image_fails_alone(server: Served, images: list[Image]) -> None:
    """Among 32 encoded images in flight only the broken one gets an error, and the server lives."""
    case = Case(deployment=_deployment(ModelFormat.ONNX), payload=Payload.JPEG)
    asked = [STACK.encode(case, [image]) for image in images * 2]
    asked[5] = STACK.encode(case, [replace(images[5], jpeg=images[5].jpeg[:200])])
    with server.loaded(case.deployment):
        replies = server.send_together(asked)
        assert len(server.ask(case, images[:1])) == 1
    assert [i for i, reply in enumerate(replies) if reply.status != 200] == [5]
    assert b"not a readable image" in replies[5].body


def test_a_corrupt_artifact_is_refused_at_load(
    artifacts: dict[str, Artifact], tmp_path: Path, work: Path
) -> None:
    """Loading a broken file is an error reply that says why, and the server still ends cleanly."""
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model")
    deployment = _deployment(ModelFormat.ONNX)
    bad = {"tiny_onnx": replace(artifacts["tiny_onnx"], path=broken)}
    with start(STACK, [deployment], bad, work) as server:
        reply = server.send(STACK.load_requests(deployment)[0])
        assert reply.status == 400
        assert b"load failed for model 'tiny_onnx'" in reply.body
        family = [process.pid for process in server.group()]
    assert not any(map(runs, family))


def test_group_ends_by_term_with_models_loaded(artifacts: dict[str, Artifact], work: Path) -> None:
    """TERM to the group ends the server and its stubs within the grace, shared memory included."""
    deployment = _deployment(ModelFormat.PYTORCH)
    grace_s = STACK.launch_spec([deployment], artifacts).stop_grace_s
    with start(STACK, [deployment], artifacts, work) as server:
        server.load(deployment)
        family = [process.pid for process in server.group()]
        assert len(family) >= 3
        maps = psutil.Process(server.pid).memory_maps()
        shared = [Path(one.path) for one in maps if one.path.startswith("/dev/shm/")]
        assert len(shared) == 2
        began_ns = MonotonicClock().now_ns()
        server.stop()
        assert MonotonicClock().now_ns() - began_ns < grace_s * 1e9
    assert not any(map(runs, family))
    assert not any(path.exists() for path in shared)
