"""A real TorchServe, from a folder with a space in its long name, answering what the stack describes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Case, Deployment, Image, ModelFormat, Payload
from pytest_servebench.stacks.torchserve import Torchserve
from tests.processes import ended, exit_code_of, runs
from tests.serving import Served, start
from tests.tiny_model import build_tiny_model
from tests.unit.handlers.test_torchserve_archive import documented_command

pytestmark = pytest.mark.live

STACK = Torchserve()
FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


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
def server(tmp_path_factory: pytest.TempPathFactory, artifacts: dict[str, Artifact]) -> Iterator[Served]:
    """One TorchServe for this file, in a folder whose name is too long for a socket and has spaces."""
    assert not STACK.missing(FORMATS)
    workdir = tmp_path_factory.mktemp("a place with spaces & a name longer than the path of a socket may be")
    assert len(str(workdir)) > 90
    with start(STACK, [deployment(each) for each in FORMATS], artifacts, workdir) as server:
        yield server


@pytest.fixture(scope="module")
def reference(logits: npt.NDArray[np.float32]) -> list[tuple[int, ...]]:
    """Return the model's own top 5, in process."""
    return [tuple(np.argsort(-row)[:5].tolist()) for row in logits]


@pytest.mark.parametrize("model_format", FORMATS)
def test_each_payload_and_number_of_items_is_answered_as_in_process(
    server: Served, images: list[Image], reference: list[tuple[int, ...]], model_format: ModelFormat
) -> None:
    """Both formats name the same classes as the model itself, for both payloads, alone and together."""
    served = deployment(model_format)
    with server.loaded(served):
        for payload in (Payload.TENSOR, Payload.JPEG):
            for items in (1, 3):
                case = Case(deployment=served, payload=payload, items_per_request=items)
                answers = server.ask(case, images[2 : 2 + items])
                assert [a.class_ids for a in answers] == reference[2 : 2 + items], (payload, items)
                assert all(0 < a.confidences[0] <= 1 for a in answers)


@pytest.mark.parametrize(
    ("model_format", "provider"),
    [(ModelFormat.ONNX, "CPUExecutionProvider"), (ModelFormat.PYTORCH, "libtorch")],
)
def test_the_management_port_says_what_the_handler_runs(
    server: Served, model_format: ModelFormat, provider: str
) -> None:
    """TorchServe asks the handler of a loaded model, and passes on what it says."""
    served = deployment(model_format)
    with server.loaded(served):
        reply = server.call("GET", f"/models/{served.served_name}?customized=true", role="management")
    (about,) = json.loads(reply.body)
    said = about["customizedMetadata"]
    facts = json.loads(said) if isinstance(said, str) else said
    assert (facts["provider"], facts["device"], facts["precision"]) == (provider, "cpu", "fp32")


def test_a_request_of_32_tensors_is_answered_in_order(
    server: Served, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """The largest request of a plan, 19 MB of numbers, is within the server's limits."""
    served = deployment(ModelFormat.ONNX)
    case = Case(deployment=served, items_per_request=32)
    with server.loaded(served):
        answers = server.ask(case, images * 2)
    assert [a.class_ids for a in answers] == reference * 2


def test_batch_settings_are_switched_on_a_running_server(
    server: Served, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """The same archive batches nothing at size 1 and fills batches at size 8, each answer its own image's."""
    achieved = {}
    for batch in (1, 8):
        served = deployment(ModelFormat.ONNX, batch)
        case = Case(deployment=served)
        with server.loaded(served):
            requests = [STACK.encode(case, [image]) for image in images] * 6
            replies, change = server.counted_together(served, requests)
        assert [STACK.decode(case, reply)[0].class_ids for reply in replies] == reference * 6
        assert (change.images, change.requests) == (96, 96)
        assert change.compute_s
        achieved[batch] = 96 / (change.executions or 0)
    assert achieved[1] == 1
    assert 1.5 < achieved[8] <= 8


def test_a_corrupt_image_fails_alone_under_load(
    server: Served, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """Among 16 concurrent clients the broken one gets a 4xx with a reason, the others their answers."""
    served = deployment(ModelFormat.PYTORCH, batch=8)
    case = Case(deployment=served, payload=Payload.JPEG)
    broken = replace(images[0], index=99, jpeg=images[0].jpeg[:200])
    order = [broken if i % 16 == 5 else images[i % 8] for i in range(48)]
    with server.loaded(served):
        replies = server.send_together([STACK.encode(case, [image]) for image in order])
    for image, reply in zip(order, replies, strict=True):
        if image is broken:
            assert reply.status == 400
            assert b"image 0: not a readable image" in reply.body
        else:
            assert STACK.decode(case, reply)[0].class_ids == reference[image.index]


def test_unloading_leaves_the_linked_artifact_alone(server: Served, artifacts: dict[str, Artifact]) -> None:
    """TorchServe deletes what it unpacked, and follows no link of ours while it does."""
    served = deployment(ModelFormat.ONNX)
    with server.loaded(served):
        pass
    artifact = artifacts["tiny_onnx"]
    assert hashlib.sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
    assert (server.workdir / "store/tiny_onnx-cpu-fp32-t1/handler.py").resolve().is_file()
    assert server.call("GET", f"/models/{served.served_name}", "management").status == 404


def test_a_broken_artifact_is_refused_soon_and_the_log_says_why(server: Served) -> None:
    """A model that cannot be loaded is one failed request after one try, and the server lives on."""
    served = deployment(ModelFormat.ONNX)
    store = server.workdir / "store"
    shutil.copytree(store / "tiny_onnx-cpu-fp32-t1", store / "broken", symlinks=True)
    (store / "broken" / "model.onnx").unlink()
    (store / "broken" / "model.onnx").write_bytes(b"half a model")
    (load,) = STACK.load_requests(served)
    path = load.path.replace("url=tiny_onnx-cpu-fp32-t1", "url=broken")
    began_ns = MonotonicClock().now_ns()
    reply = server.call("POST", path, "management")
    assert reply.status == 500
    assert MonotonicClock().now_ns() - began_ns < 30e9
    assert b"Failed to start workers for model tiny_onnx" in reply.body
    assert "model.onnx is no ONNX model" in server.log()
    assert json.loads(server.get("/ping").body) == {"status": "Healthy"}
    with server.loaded(served):
        pass


def test_a_worker_that_dies_is_replaced(
    server: Served, images: list[Image], reference: list[tuple[int, ...]]
) -> None:
    """After a killed worker the model answers again, instead of leaving requests unanswered."""
    served = deployment(ModelFormat.ONNX)
    case = Case(deployment=served)
    with server.loaded(served):
        (worker,) = (process for process in server.group() if process.name().startswith("python"))
        worker.kill()
        psutil.wait_procs([worker], timeout=5)
        answers = server.ask(case, images[:1])
    assert answers[0].class_ids == reference[0]


def test_the_archive_of_the_documented_command_is_served(
    server: Served, images: list[Image], reference: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """What torch-model-archiver packs by the README's command loads and answers the same."""
    build_tiny_model(tmp_path, ModelFormat.PYTORCH)
    (tmp_path / "handlers").symlink_to(shipped("handlers"))
    (tmp_path / "model_store").mkdir()
    subprocess.run(documented_command(), cwd=tmp_path, check=True)
    packed = "resnet50_pytorch.mar"
    shutil.copy(tmp_path / "model_store" / packed, server.workdir / "store" / packed)
    query = f"url={packed}&initial_workers=1&synchronous=true"
    reply = server.call("POST", f"/models?{query}", "management")
    assert reply.status == 200, reply
    case = Case(deployment=Deployment(stack="torchserve", model="resnet50", format=ModelFormat.PYTORCH))
    answers = server.ask(case, images[:1])
    assert answers[0].class_ids == reference[0]
    assert server.call("DELETE", "/models/resnet50_pytorch", "management").status == 200


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "java-alone"])
def test_term_leaves_no_process(work: Path, artifacts: dict[str, Artifact], *, whole_group: bool) -> None:
    """TERM ends Java and its Python workers within the grace, also when only Java gets it."""
    served = deployment(ModelFormat.ONNX)
    grace_s = STACK.launch_spec([served], artifacts).stop_grace_s
    with start(STACK, [served], artifacts, work) as server:
        server.load(served)
        family = server.group()
        assert {name[:6] for name in map(psutil.Process.name, family)} == {"java", "python"}
        assert {os.getpgid(process.pid) for process in family} == {server.pid}
        began_ns = MonotonicClock().now_ns()
        if whole_group:
            server.stop()
        else:
            os.kill(server.pid, signal.SIGTERM)
            assert exit_code_of(server.running, grace_s) is not None
        assert MonotonicClock().now_ns() - began_ns < grace_s * 1e9
        pids = [process.pid for process in family]
        assert not any(map(runs, pids)) if whole_group else ended(*pids, within_s=5)
