"""The real FastAPI server, launched as the stack describes it, from a folder with a space in its name."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Picture

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import Artifact, Case, Deployment, Image, ModelFormat, Payload, WireRequest
from pytest_servebench.results import Answer, Reply
from pytest_servebench.stacks.fastapi import Fastapi
from tests.tiny_model import CARD, build_tiny_model

pytestmark = pytest.mark.live

STACK = Fastapi()
FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)
START_S = 60.0

Reference = tuple[list[Image], npt.NDArray[np.float32]]


def deployment_of(model_format: ModelFormat) -> Deployment:
    """Return the tiny model in a format, batches of up to 8."""
    return Deployment(stack="fastapi", model="tiny", format=model_format)


class Server:
    """One server process in its own group, and a client for it."""

    def __init__(
        self, deployment: Deployment, artifact: Artifact, folder: Path, more: Mapping[str, str] | None = None
    ) -> None:
        spec = STACK.launch_spec([deployment], {deployment.served_name: artifact})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        values = {"host": "127.0.0.1", "http_port": str(self.port), "workdir": str(folder)}
        environment = {name: Template(text).substitute(values) for name, text in spec.environment.items()}
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = folder / f"{self.port}.log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [Template(word).substitute(values) for word in spec.argv],
                env={**os.environ, **environment, **(more or {})},
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.client = httpx.Client(base_url=self.url, timeout=30, limits=httpx.Limits(max_connections=64))

    def until_ready(self) -> Server:
        deadline = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/v2/health/ready").status_code == 200:
                    return self
            time.sleep(0.05)
        self.stop()
        pytest.fail(f"the server did not come up:\n{self.log()}")

    def until_ended(self) -> int:
        try:
            return self.process.wait(START_S)
        finally:
            self.stop()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def send(self, request: WireRequest) -> Reply:
        response = self.client.request(
            request.method, request.path, content=request.body, headers=list(request.headers)
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, response.content)

    def counters(self, deployment: Deployment) -> ServerCounters:
        request = STACK.counters_request(deployment)
        assert request is not None
        return STACK.counters(deployment, self.send(request))

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose name holds what paths may hold."""
    return tmp_path_factory.mktemp("with space and $dollar")


@pytest.fixture(scope="module")
def artifacts(folder: Path) -> dict[ModelFormat, Artifact]:
    """Return the tiny model in both formats."""
    return {each: build_tiny_model(folder / each.value, each) for each in FORMATS}


@pytest.fixture(scope="module", params=FORMATS, ids=str)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Return each deployment in turn."""
    return deployment_of(request.param)


@pytest.fixture(scope="module")
def server(deployment: Deployment, artifacts: dict[ModelFormat, Artifact], folder: Path) -> Iterator[Server]:
    """Return a ready server of the deployment."""
    running = Server(deployment, artifacts[deployment.format], folder).until_ready()
    try:
        yield running
    finally:
        running.stop()


def normal(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return [3, 224, 224] of pixels that need no resizing, as the card says."""
    mean, std = (np.array(CARD[key], np.float32) for key in ("mean", "std"))
    return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1), np.float32)


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Return 16 distinct images whose file needs cropping alone, so that both payloads agree."""
    return [image_of(seed) for seed in range(16)]


def image_of(seed: int) -> Image:
    """Return an image of 256 x 256 with a colour gradient of its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Picture.fromarray(coarse).resize((256, 256), Picture.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Image(seed, file.getvalue(), normal(np.asarray(picture)[16:240, 16:240]))


@pytest.fixture(scope="module")
def logits(artifacts: dict[ModelFormat, Artifact], images: list[Image]) -> npt.NDArray[np.float32]:
    """Return the model's answers in this process: the reference."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(artifacts[ModelFormat.ONNX].path), providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, {"input": np.stack([image.tensor for image in images])})
    return np.asarray(output, np.float32)


@pytest.fixture(scope="module")
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
    server: Server,
    deployment: Deployment,
    reference: Reference,
    payload: Payload,
    items: int,
) -> None:
    """What the stack encodes, the server answers as the model in process does."""
    case = Case(deployment=deployment, payload=payload, items_per_request=items)
    images, logits = reference
    reply = server.send(STACK.encode(case, images[:items]))
    check_answers(STACK.decode(case, reply), logits[:items])


@pytest.mark.parametrize("payload", list(Payload), ids=str)
def test_concurrent_answers_are_not_mixed_up(
    server: Server,
    deployment: Deployment,
    reference: Reference,
    payload: Payload,
) -> None:
    """Under concurrency each image gets its own answer, and the counters count each image once."""
    case = Case(deployment=deployment, payload=payload)
    images, logits = reference
    requests = [STACK.encode(case, [image]) for image in images]
    before = server.counters(deployment)
    with ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(server.send, requests * 8))
    after = server.counters(deployment)
    for number, reply in enumerate(replies):
        check_answers(STACK.decode(case, reply), logits[number % 16][None])
    assert after.images is not None
    assert before.images is not None
    assert after.images - before.images == 128
    assert after.requests is not None
    assert before.requests is not None
    assert after.requests - before.requests == 128
    assert after.executions is not None
    assert before.executions is not None
    assert 16 <= after.executions - before.executions <= 128


def test_health_names_the_engine_that_the_stack_promised(server: Server, deployment: Deployment) -> None:
    """The backend in the record is the one that serves."""
    health = server.client.get("/health").json()
    assert health["backend"] == STACK.backend(deployment)
    assert (health["model"], health["format"]) == (deployment.served_name, str(deployment.format))


def test_tritonclient_drives_it_unchanged(
    server: Server, deployment: Deployment, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """The official client finds the server, its model, and answers in both forms."""
    http = pytest.importorskip("tritonclient.http")
    name = deployment.served_name
    tensor = np.stack([image.tensor for image in images[:3]])
    with http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(name)
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        metadata = client.get_model_metadata(name)
        assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]
        assert metadata["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 1000]}]
        for binary_in in (True, False):
            for binary_out in (True, False):
                wanted = http.InferInput("input", [3, 3, 224, 224], "FP32")
                wanted.set_data_from_numpy(tensor, binary_data=binary_in)
                output = http.InferRequestedOutput("output", binary_data=binary_out)
                result = client.infer(name, [wanted], outputs=[output], request_id="r 1", model_version="1")
                np.testing.assert_allclose(result.as_numpy("output"), logits[:3], atol=1e-3)
                assert result.get_response()["id"] == "r 1"


def test_tritonclient_reads_errors(server: Server, deployment: Deployment) -> None:
    """What is wrong with a request reaches the official client as its message."""
    http = pytest.importorskip("tritonclient.http")
    utils = pytest.importorskip("tritonclient.utils")
    with http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        wanted = http.InferInput("input", [9, 3, 224, 224], "FP32")
        wanted.set_data_from_numpy(np.zeros((9, 3, 224, 224), np.float32))
        with pytest.raises(utils.InferenceServerException, match="9 images in one request; at most 8"):
            client.infer(deployment.served_name, [wanted])
        with pytest.raises(utils.InferenceServerException, match="no model 'other'"):
            client.infer("other", [wanted])


def test_tritonclient_infers_concurrently(
    server: Server, deployment: Deployment, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """The official client's own concurrency is batched and answered in order."""
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8) as client:
        pending = []
        for image in images:
            wanted = http.InferInput("input", [1, 3, 224, 224], "FP32")
            wanted.set_data_from_numpy(image.tensor[None])
            pending.append(client.async_infer(deployment.served_name, [wanted]))
        answers = np.concatenate([each.get_result().as_numpy("output") for each in pending])
    np.testing.assert_allclose(answers, logits, atol=1e-3)


def exchange(port: int, *chunks: bytes) -> bytes:
    """Return the first part of the reply to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
        return connection.recv(4096)


def test_declared_size_above_the_limit_is_refused_unread(server: Server) -> None:
    """A Content-Length beyond the limit is answered 413 before the body is sent."""
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    assert exchange(server.port, head, b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_client_that_hangs_up_in_its_body_harms_nobody(server: Server, deployment: Deployment) -> None:
    """A connection that ends early is forgotten; the server stays ready."""
    path = f"/v2/models/{deployment.served_name}/infer".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    assert server.client.get("/v2/health/ready").status_code == 200
    assert "Traceback" not in server.log()


def test_term_answers_what_is_under_way(
    artifacts: dict[ModelFormat, Artifact], images: list[Image], folder: Path
) -> None:
    """A server that is told to end answers the requests it took, held ones too, and is gone."""
    deployment = replace(deployment_of(ModelFormat.ONNX), max_queue_delay_ms=1500.0)
    more = {"SERVEBENCH_HOLD": "always"}
    running = Server(deployment, artifacts[ModelFormat.ONNX], folder, more).until_ready()
    try:
        case = Case(deployment=deployment)
        with ThreadPoolExecutor(3) as clients:
            pending = [clients.submit(running.send, STACK.encode(case, [image])) for image in images[:3]]
            while running.client.get("/health").json()["queue_size"] < 3:
                time.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
            assert [each.result().status for each in pending] == [200] * 3
        assert running.process.wait(15) in {0, -signal.SIGTERM}
        assert "Traceback" not in running.log()
    finally:
        running.stop()


def ended_with(artifact: Artifact, folder: Path, more: dict[str, str]) -> tuple[int, str]:
    """Return exit code and log of a server that does not come up."""
    server = Server(deployment_of(artifact.format), artifact, folder, more)
    return server.until_ended(), server.log()


def test_wrong_settings_end_the_server_with_the_reason(
    artifacts: dict[ModelFormat, Artifact], folder: Path
) -> None:
    """A wrong setting is one readable message and an exit code, not a traceback."""
    code, log = ended_with(artifacts[ModelFormat.ONNX], folder, {"SERVEBENCH_MAX_BATCH_SIZE": "none"})
    assert code != 0
    assert log.startswith("the server's settings are wrong:\n  SERVEBENCH_MAX_BATCH_SIZE: Input should be")
    assert "Traceback" not in log


@pytest.mark.parametrize("model_format", FORMATS, ids=str)
def test_corrupt_model_ends_the_server_with_the_reason(
    artifacts: dict[ModelFormat, Artifact], folder: Path, model_format: ModelFormat, tmp_path: Path
) -> None:
    """A model file that is no model is named in the log's last lines, and the server ends."""
    broken = tmp_path / artifacts[model_format].path.name
    broken.write_bytes(b"not a model")
    code, log = ended_with(replace(artifacts[model_format], path=broken), folder, {})
    assert code != 0
    assert re.search(f"cannot load {re.escape(str(broken))}: .+", log[-800:])


def has_cuda() -> bool:
    """Return whether onnxruntime here can use a GPU."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.skipif(has_cuda(), reason="onnxruntime here has a CUDA provider")
@pytest.mark.parametrize("model_format", FORMATS, ids=str)
def test_gpu_that_is_not_there_is_an_error_unless_the_cpu_may_stand_in(
    artifacts: dict[ModelFormat, Artifact], folder: Path, model_format: ModelFormat
) -> None:
    """Nothing falls back silently: without leave it ends, with leave /health says what serves."""
    cuda = {"SERVEBENCH_DEVICE": "cuda"}
    code, log = ended_with(artifacts[model_format], folder, cuda)
    assert code != 0
    assert "cannot load" in log
    deployment = deployment_of(model_format)
    more: dict[str, Any] = {**cuda, "SERVEBENCH_CPU_FALLBACK": "true"}
    running = Server(deployment, artifacts[model_format], folder, more).until_ready()
    try:
        assert running.client.get("/health").json()["backend"] == STACK.backend(deployment)
    finally:
        running.stop()
