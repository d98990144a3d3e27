"""The real tritonserver, started from the launch description, asked over both protocols."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import string
import subprocess
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image as PillowImage

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Image,
    LaunchSpec,
    ModelFormat,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer, Reply
from pytest_servebench.stacks.triton import Triton
from tests.tiny_model import build_tiny_model

pytestmark = pytest.mark.live

FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)
STACK = Triton()
Floats = npt.NDArray[np.float32]


@dataclass
class Server:
    """A started server; `Server.exchange` stands in for the driver."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    log_path: Path
    started_s: float
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, verify=False))

    def exchange(self, request: WireRequest) -> Reply:
        authority = f"127.0.0.1:{self.ports[request.port_role]}"
        if request.protocol is WireProtocol.GRPC:
            return _grpc_exchange(authority, request)
        got = self.client.request(
            request.method,
            f"http://{authority}{request.path}",
            content=request.body,
            headers=list(request.headers),
        )
        return Reply(status=got.status_code, headers=dict(got.headers), body=got.content)

    def load(self, deployment: Deployment) -> None:
        for request in STACK.load_requests(deployment):
            reply = self.exchange(request)
            assert reply.status == 200, reply.body

    def unload(self, deployment: Deployment) -> None:
        for request in STACK.unload_requests(deployment):
            assert self.exchange(request).status == 200

    def ask(self, case: Case, images: list[Image]) -> tuple[Answer, ...]:
        return STACK.decode(case, self.exchange(STACK.encode(case, images)))

    def counters(self, deployment: Deployment) -> ServerCounters:
        request = STACK.counters_request(deployment)
        assert request is not None
        return STACK.counters(deployment, self.exchange(request))

    def stop(self) -> float:
        """End the whole group by TERM and return how long that took, in seconds."""
        # Triton waits for its clients to hang up before it ends.
        self.client.close()
        begun = time.monotonic()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(10)
        # On a busy machine Triton gives up waiting for its stubs; they see it and end by themselves.
        while self.group() and time.monotonic() < begun + 10:
            time.sleep(0.05)
        return time.monotonic() - begun

    def group(self) -> list[int]:
        """Return the pids of the processes in the server's group."""
        return [p.pid for p in psutil.process_iter() if _group_of(p.pid) == self.process.pid]


def start(spec: LaunchSpec, workdir: Path) -> Server:
    """Start ``spec`` in ``workdir`` and return it ready: what the process launcher does, in short."""
    ports = {role: _free_port() for role in spec.port_roles}
    values = {f"{role}_port": str(port) for role, port in ports.items()}
    values |= {"host": "127.0.0.1", "workdir": str(workdir)}
    for file in spec.files:
        path = workdir / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.text is not None:
            path.write_text(string.Template(file.text).substitute(values))
        elif not file.copy:
            path.symlink_to(file.source or "")
        elif file.source and file.source.is_dir():
            shutil.copytree(file.source, path)
        else:
            shutil.copy2(file.source or "", path)
    log_path = workdir / "server.log"
    begun = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [string.Template(word).substitute(values) for word in spec.argv],
            env={**os.environ, **spec.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while time.monotonic() < begun + spec.ready.deadline_s and process.poll() is None:
        if _is_ready(f"http://127.0.0.1:{ports['http']}{spec.ready.path}"):
            return Server(process, ports, log_path, time.monotonic() - begun)
        time.sleep(0.02)
    process.kill()
    raise AssertionError(log_path.read_text())


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def _grpc_exchange(authority: str, request: WireRequest) -> Reply:
    import grpc

    with grpc.insecure_channel(authority) as channel:
        try:
            return Reply(0, {}, bytes(channel.unary_unary(request.path)(request.body, timeout=60)))
        except grpc.RpcError as error:
            return Reply(error.code().value[0], {"grpc-message": error.details()}, b"")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _deployment(model_format: ModelFormat, max_batch_size: int = 8) -> Deployment:
    return Deployment(stack="triton", model="tiny", format=model_format, max_batch_size=max_batch_size)


def _image(index: int) -> Image:
    import imagenet

    pixels = np.random.default_rng(index).integers(0, 255, (280, 320, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="JPEG")
    card = imagenet.Card("tiny", 256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Image(index=index, jpeg=buffer.getvalue(), tensor=imagenet.preprocess(buffer.getvalue(), card))


@pytest.fixture(scope="module", autouse=True)
def guests() -> Iterator[None]:
    """Make the guests importable: they hold the preprocessing the server uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "handlers"))
        yield


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Build the tiny model in both formats, in a folder whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("models $cash")
    return {f"tiny_{f}": build_tiny_model(folder / str(f), f) for f in FORMATS}


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for both formats, in a working folder with a space in its path."""
    spec = STACK.launch_spec([_deployment(f) for f in FORMATS], artifacts)
    server = start(spec, tmp_path_factory.mktemp("a server"))
    yield server
    server.stop()
    assert server.group() == [], "processes left behind"


@pytest.fixture
def images() -> list[Image]:
    """Three images that differ."""
    return [_image(i) for i in range(3)]


def _expected(artifacts: dict[str, Artifact], deployment: Deployment, images: list[Image]) -> Floats:
    import engine

    with warnings.catch_warnings():
        # torch announces the end of TorchScript at each call; it is the format under test.
        warnings.simplefilter("ignore")
        loaded = engine.load_engine(artifacts[deployment.served_name].path)
    return loaded.run(np.stack([image.tensor for image in images]))


@pytest.mark.parametrize("model_format", FORMATS)
def test_answers_equal_the_model_in_process(
    server: Server, artifacts: dict[str, Artifact], images: list[Image], model_format: ModelFormat
) -> None:
    """Both payloads over both protocols give the logits of the same file run in process, in order."""
    deployment = _deployment(model_format)
    expected = _expected(artifacts, deployment, images)
    server.load(deployment)
    try:
        for payload in Payload:
            for protocol in WireProtocol:
                case = Case(deployment=deployment, payload=payload, protocol=protocol, items_per_request=3)
                answers = server.ask(case, images)
                got = np.stack([answer.logits for answer in answers if answer.logits is not None])
                np.testing.assert_allclose(got, expected, atol=1e-3)
        engine_name = STACK.backend(deployment).removeprefix("python backend: ")
        assert f"serves with {engine_name}" in server.log_path.read_text()
    finally:
        server.unload(deployment)


def _ask_side_by_side(server: Server, case: Case, images: list[Image]) -> ServerCounters:
    """Send 160 requests from 16 clients and return what the counters grew by."""
    before = server.counters(case.deployment)
    requests = [STACK.encode(case, [images[i % len(images)]]) for i in range(160)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(server.exchange, requests))
    assert all(reply.status == 200 for reply in replies)
    after = server.counters(case.deployment)
    assert None not in (before.images, before.executions, after.images, after.executions)
    return replace(
        after,
        images=(after.images or 0) - (before.images or 0),
        executions=(after.executions or 0) - (before.executions or 0),
    )


def test_one_server_serves_every_batch_setting(server: Server, images: list[Image]) -> None:
    """A cap of 8 forms batches under 16 clients and a cap of 1 never does, on the same server."""
    achieved = {}
    for cap in (8, 1):
        deployment = _deployment(ModelFormat.ONNX, cap)
        server.load(deployment)
        case = Case(deployment=deployment)
        grown = _ask_side_by_side(server, case, images)
        assert grown.images == 160
        achieved[cap] = 160 / (grown.executions or 0)
        assert grown.queue_s is not None
        assert grown.compute_s
        server.unload(deployment)
    assert achieved[1] == 1
    assert 1 < achieved[8] <= 8


def test_a_load_leaves_each_model_as_it_was_asked_for(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """The first load of an ensemble does not reload its models from their files."""
    on_file = _deployment(ModelFormat.ONNX)
    asked = replace(on_file, max_batch_size=5, max_queue_delay_ms=7)
    server = start(STACK.launch_spec([on_file], artifacts), tmp_path)
    try:
        server.load(asked)
        url = f"http://127.0.0.1:{server.ports['http']}/v2/models/tiny_onnx/config"
        config = server.client.get(url).json()
    finally:
        server.stop()
    assert config["max_batch_size"] == 5
    assert config["dynamic_batching"]["preferred_batch_size"] == [4, 5]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 7000
    assert server.log_path.read_text().count("loading: ") == 3


def test_a_request_above_the_cap_is_refused(server: Server, images: list[Image]) -> None:
    """Three images in one request to a model capped at one are an error, not a bigger batch."""
    deployment = _deployment(ModelFormat.ONNX, 1)
    server.load(deployment)
    case = Case(deployment=deployment, items_per_request=3)
    assert server.exchange(STACK.encode(case, images)).status == 400
    server.unload(deployment)


def test_unloaded_model_is_gone_and_comes_back(server: Server, images: list[Image]) -> None:
    """After the unload no request is answered, its process ends, and a load brings it back."""
    deployment = _deployment(ModelFormat.ONNX)
    case = Case(deployment=deployment)
    server.load(deployment)
    server.unload(deployment)
    assert server.exchange(STACK.encode(case, images[:1])).status in (400, 404)
    deadline = time.monotonic() + 10
    while len(server.group()) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(server.group()) == 1
    server.load(deployment)
    assert len(server.ask(case, images[:1])) == 1
    server.unload(deployment)


def test_a_corrupt_image_fails_alone(server: Server, images: list[Image]) -> None:
    """Among 32 encoded images in flight only the broken one gets an error, and the server lives."""
    deployment = _deployment(ModelFormat.ONNX)
    server.load(deployment)
    case = Case(deployment=deployment, payload=Payload.JPEG)
    broken = replace(images[0], jpeg=images[0].jpeg[:200])
    asked = [STACK.encode(case, [broken if i == 5 else images[i % 3]]) for i in range(32)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(server.exchange, asked))
    assert [i for i, reply in enumerate(replies) if reply.status != 200] == [5]
    assert b"not a readable image" in replies[5].body
    assert len(server.ask(case, images[:1])) == 1
    server.unload(deployment)


def test_a_corrupt_artifact_is_refused_at_load(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """Loading a broken file is an error reply that says why, and the server still ends cleanly."""
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model")
    deployment = _deployment(ModelFormat.ONNX)
    bad = {"tiny_onnx": replace(artifacts["tiny_onnx"], path=broken)}
    (tmp_path / "work").mkdir()
    server = start(STACK.launch_spec([deployment], bad), tmp_path / "work")
    try:
        reply = server.exchange(STACK.load_requests(deployment)[0])
        assert reply.status == 400
        assert b"load failed for model 'tiny_onnx'" in reply.body
    finally:
        server.stop()
    assert server.group() == []


def test_group_ends_by_term_with_models_loaded(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """TERM to the group ends the server and its stubs within the grace, shared memory included."""
    deployment = _deployment(ModelFormat.PYTORCH)
    spec = STACK.launch_spec([deployment], artifacts)
    server = start(spec, tmp_path)
    server.load(deployment)
    assert len(server.group()) >= 3
    maps = psutil.Process(server.process.pid).memory_maps()
    shared = [Path(one.path) for one in maps if one.path.startswith("/dev/shm/")]
    assert len(shared) == 2
    assert server.stop() < spec.stop_grace_s
    assert server.group() == []
    assert not any(path.exists() for path in shared)
