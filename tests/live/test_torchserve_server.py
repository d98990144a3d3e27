"""A real TorchServe, from a folder with a space in its long name, answering what the stack describes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image as Picture

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Image,
    LaunchSpec,
    ModelFormat,
    Payload,
    WireRequest,
)
from pytest_servebench.results import Reply
from pytest_servebench.shipped import shipped
from pytest_servebench.stacks.torchserve import Torchserve
from tests.tiny_model import build_tiny_model
from tests.unit.handlers.test_torchserve_archive import documented_command

pytestmark = pytest.mark.live

STACK = Torchserve()
FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


class Server:
    """One TorchServe in its own process group, and a client for it."""

    def __init__(self, spec: LaunchSpec, workdir: Path) -> None:
        self.workdir = workdir
        self.ports = dict(zip(spec.port_roles, free_ports(len(spec.port_roles)), strict=True))
        values = {"host": "127.0.0.1", "workdir": str(workdir)}
        values |= {f"{role}_port": str(port) for role, port in self.ports.items()}
        lay_out(spec, workdir, values)
        with (workdir / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [Template(word).substitute(values) for word in spec.argv],
                env=os.environ | {k: Template(v).substitute(values) for k, v in spec.environment.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=32))
        self._wait_until_ready(spec)

    def _wait_until_ready(self, spec: LaunchSpec) -> None:
        deadline = time.monotonic() + spec.ready.deadline_s
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get(self.url(spec.ready.port_role) + spec.ready.path).status_code == 200:
                    return
            time.sleep(0.05)
        log = self.log()
        self.stop()
        pytest.fail(f"TorchServe did not come up:\n{log}")

    def url(self, role: str) -> str:
        return f"http://127.0.0.1:{self.ports[role]}"

    def log(self) -> str:
        return (self.workdir / "server.log").read_text(encoding="utf-8")

    def send(self, request: WireRequest) -> Reply:
        response = self.client.request(
            request.method,
            self.url(request.port_role) + request.path,
            content=request.body,
            headers=list(request.headers),
        )
        return Reply(response.status_code, dict(response.headers), response.content)

    def counters(self, deployment: Deployment) -> ServerCounters:
        return STACK.counters(deployment, self.send(STACK.counters_request(deployment)))

    @contextlib.contextmanager
    def loaded(self, deployment: Deployment) -> Iterator[None]:
        """Load a deployment as the runner will, and unload it after."""
        for request in STACK.load_requests(deployment):
            reply = self.send(request)
            assert reply.status == 200, (reply, self.log())
        yield
        for request in STACK.unload_requests(deployment):
            assert self.send(request).status == 200

    def family(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self.client.close()


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def lay_out(spec: LaunchSpec, workdir: Path, values: dict[str, str]) -> None:
    """Write and link what the description asks for."""
    for file in spec.files:
        target = workdir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.text is not None:
            target.write_text(Template(file.text).substitute(values), encoding="utf-8")
        else:
            assert file.source is not None
            target.symlink_to(file.source)


def deployment(model_format: ModelFormat, batch: int = 8, delay_ms: float = 5.0) -> Deployment:
    """Return the tiny model under one batch setting."""
    return Deployment(
        stack="torchserve",
        model="tiny",
        format=model_format,
        max_batch_size=batch,
        max_queue_delay_ms=delay_ms,
        threads=1,
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Return the tiny model in both formats."""
    folder = tmp_path_factory.mktemp("artifacts of a tiny model")
    return {f"tiny_{each}": build_tiny_model(folder / each.value, each) for each in FORMATS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifacts: dict[str, Artifact]) -> Iterator[Server]:
    """One TorchServe for this file, in a folder whose name is too long for a socket and has spaces."""
    assert not STACK.missing(FORMATS)
    workdir = tmp_path_factory.mktemp("a place with spaces & a name longer than the path of a socket may be")
    assert len(str(workdir)) > 90
    running = Server(STACK.launch_spec([deployment(each) for each in FORMATS], artifacts), workdir)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Eight photographs-to-be, distinct, each in both forms."""
    sys.path.insert(0, str(shipped("handlers")))
    from imagenet import Card, preprocess

    sys.path.pop(0)
    card = Card("tiny", 256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    rng = np.random.default_rng(5)
    found = []
    for index in range(8):
        coarse = Picture.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((320, 240)).save(buffer, "JPEG")
        found.append(Image(index=index, jpeg=buffer.getvalue(), tensor=preprocess(buffer.getvalue(), card)))
    return found


@pytest.fixture(scope="module")
def reference(artifacts: dict[str, Artifact], images: Sequence[Image]) -> list[tuple[int, ...]]:
    """Return the model's own top 5, in process."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(artifacts["tiny_onnx"].path), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"input": np.stack([image.tensor for image in images])})
    best = [tuple(int(i) for i in np.argsort(-row)[:5]) for row in logits]
    assert len(set(best)) == len(images)
    return best


@pytest.mark.parametrize("model_format", FORMATS)
def test_each_payload_and_number_of_items_is_answered_as_in_process(
    server: Server, images: list[Image], reference: list[tuple[int, ...]], model_format: ModelFormat
) -> None:
    """Both formats name the same classes as the model itself, for both payloads, alone and together."""
    served = deployment(model_format)
    with server.loaded(served):
        for payload in (Payload.TENSOR, Payload.JPEG):
            for items in (1, 3):
                case = Case(deployment=served, payload=payload, items_per_request=items)
                answers = STACK.decode(case, server.send(STACK.encode(case, images[2 : 2 + items])))
                assert [a.class_ids for a in answers] == reference[2 : 2 + items], (payload, items)
                assert all(0 < a.confidences[0] <= 1 for a in answers)


def test_a_request_of_32_tensors_is_answered_in_order(
    server: Server, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """The largest request of a plan, 19 MB of numbers, is within the server's limits."""
    served = deployment(ModelFormat.ONNX)
    case = Case(deployment=served, items_per_request=32)
    with server.loaded(served):
        answers = STACK.decode(case, server.send(STACK.encode(case, images * 4)))
    assert [a.class_ids for a in answers] == reference * 4


def test_batch_settings_are_switched_on_a_running_server(
    server: Server, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """The same archive batches nothing at size 1 and fills batches at size 8, each answer its own image's."""
    achieved = {}
    for batch in (1, 8):
        served = deployment(ModelFormat.ONNX, batch)
        with server.loaded(served):
            before = server.counters(served)
            case = Case(deployment=served)
            requests = [STACK.encode(case, [images[i % 8]]) for i in range(96)]
            with ThreadPoolExecutor(16) as pool:
                replies = list(pool.map(server.send, requests))
            after = server.counters(served)
        assert [STACK.decode(case, reply)[0].class_ids for reply in replies] == [
            reference[i % 8] for i in range(96)
        ]
        counted = {
            name: getattr(after, name) - getattr(before, name)
            for name in ("images", "executions", "requests")
        }
        assert (counted["images"], counted["requests"]) == (96, 96)
        achieved[batch] = counted["images"] / counted["executions"]
        assert after.queue_s is not None
        assert after.compute_s is not None
        assert after.compute_s > (before.compute_s or 0)
    assert achieved[1] == 1
    assert 1.5 < achieved[8] <= 8


def test_a_corrupt_image_fails_alone_under_load(
    server: Server, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """Among 16 concurrent clients the broken one gets a 4xx with a reason, the others their answers."""
    served = deployment(ModelFormat.PYTORCH, batch=8)
    case = Case(deployment=served, payload=Payload.JPEG)
    broken = Image(index=99, jpeg=images[0].jpeg[:200], tensor=images[0].tensor)
    with server.loaded(served):
        order = [broken if i % 16 == 5 else images[i % 8] for i in range(48)]
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(server.send, [STACK.encode(case, [image]) for image in order]))
    for image, reply in zip(order, replies, strict=True):
        if image is broken:
            assert reply.status == 400
            assert b"image 0: not a readable image" in reply.body
        else:
            assert STACK.decode(case, reply)[0].class_ids == reference[image.index]


def test_unloading_leaves_the_linked_artifact_alone(server: Server, artifacts: dict[str, Artifact]) -> None:
    """TorchServe deletes what it unpacked, and follows no link of ours while it does."""
    served = deployment(ModelFormat.ONNX)
    with server.loaded(served):
        pass
    artifact = artifacts["tiny_onnx"]
    assert hashlib.sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
    assert (server.workdir / "store/tiny_onnx-cpu-fp32-t1/handler.py").resolve().is_file()
    gone = server.client.get(f"{server.url('management')}/models/{served.served_name}")
    assert gone.status_code == 404


def test_a_broken_artifact_is_refused_soon_and_the_log_says_why(server: Server, tmp_path: Path) -> None:
    """A model that cannot be loaded is one failed request after one try, and the server lives on."""
    served = deployment(ModelFormat.ONNX)
    store = server.workdir / "store"
    shutil.copytree(store / "tiny_onnx-cpu-fp32-t1", store / "broken", symlinks=True)
    (store / "broken" / "model.onnx").unlink()
    (store / "broken" / "model.onnx").write_bytes(b"half a model")
    (load,) = STACK.load_requests(served)
    path = load.path.replace("url=tiny_onnx-cpu-fp32-t1", "url=broken")
    begin = time.monotonic()
    reply = server.client.post(server.url("management") + path)
    assert reply.status_code == 500
    assert time.monotonic() - begin < 30
    assert "Failed to start workers for model tiny_onnx" in reply.text
    assert "INVALID_PROTOBUF" in server.log()
    assert server.client.get(server.url("http") + "/ping").json() == {"status": "Healthy"}
    with server.loaded(served):
        pass


def test_a_worker_that_dies_is_replaced(
    server: Server, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """After a killed worker the model answers again, instead of leaving requests unanswered."""
    served = deployment(ModelFormat.ONNX)
    case = Case(deployment=served)
    with server.loaded(served):
        (worker,) = (process for process in server.family() if process.name().startswith("python"))
        worker.kill()
        psutil.wait_procs([worker], timeout=5)
        answers = STACK.decode(case, server.send(STACK.encode(case, images[:1])))
    assert answers[0].class_ids == reference[0]


def test_the_archive_of_the_documented_command_is_served(
    server: Server, images: list[Image], reference: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """What torch-model-archiver packs by the README's command loads and answers the same."""
    build_tiny_model(tmp_path, ModelFormat.PYTORCH)
    (tmp_path / "handlers").symlink_to(shipped("handlers"))
    (tmp_path / "model_store").mkdir()
    subprocess.run(documented_command(), cwd=tmp_path, check=True)
    packed = "resnet50_pytorch.mar"
    shutil.copy(tmp_path / "model_store" / packed, server.workdir / "store" / packed)
    query = {"url": packed, "initial_workers": "1", "synchronous": "true"}
    reply = server.client.post(server.url("management") + "/models", params=query)
    assert reply.status_code == 200, reply.text
    case = Case(deployment=Deployment(stack="torchserve", model="resnet50", format=ModelFormat.PYTORCH))
    answers = STACK.decode(case, server.send(STACK.encode(case, images[:1])))
    assert answers[0].class_ids == reference[0]
    assert server.client.delete(server.url("management") + "/models/resnet50_pytorch").status_code == 200


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "java-alone"])
def test_term_leaves_no_process(tmp_path: Path, artifacts: dict[str, Artifact], *, whole_group: bool) -> None:
    """TERM ends Java and its Python workers within the grace, also when only Java gets it."""
    served = deployment(ModelFormat.ONNX)
    spec = STACK.launch_spec([served], artifacts)
    workdir = tmp_path / "w"
    workdir.mkdir()
    server = Server(spec, workdir)
    try:
        for request in STACK.load_requests(served):
            assert server.send(request).status == 200
        family = server.family()
        names = {process.name() for process in family}
        assert "java" in names
        assert any(name.startswith("python") for name in names)
        assert {os.getpgid(process.pid) for process in family} == {server.process.pid}
        end = os.killpg if whole_group else os.kill
        end(server.process.pid, signal.SIGTERM)
        server.process.wait(spec.stop_grace_s)
        _, alive = psutil.wait_procs(family[1:], timeout=5)
        assert not alive
    finally:
        server.stop()
