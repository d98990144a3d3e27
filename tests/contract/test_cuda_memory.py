"""Regions of a GPU's memory, up to the driver: what Triton's client is asked for, what its server is told.

No GPU is needed: Triton's own module for such memory is stood in for by one that records. What it does
without a driver is asked of the real one, in a process of its own.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_servebench.asking import request_groups
from pytest_servebench.errors import ControlError, LoadError, MissingPieceError
from pytest_servebench.plan import Case, Deployment, Device, ModelFormat, Payload, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply
from pytest_servebench.sharing.cuda_memory import gpu_region
from pytest_servebench.sharing.shared_memory import share, sharing
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from pytest_servebench.testing.server import ScriptedServer
from tests.every_stack import images

MODULE = "tritonclient.utils.cuda_shared_memory"
HERE = Endpoint(stack="triton", host="127.0.0.1", ports={"http": 1, "grpc": 2}, launcher="process")
HANDLE = base64.b64encode(bytes(range(64)))


class RefusedError(Exception):
    """What Triton's client raises."""


class Recorded:
    """Stands in for `tritonclient.utils.cuda_shared_memory`, and keeps what it is asked."""

    CudaSharedMemoryException = RefusedError

    def __init__(self, *, refuse: str = "") -> None:
        self.asked: list[tuple[object, ...]] = []
        self.held: list[object] = []
        self._refuse = refuse

    def _note(self, name: str, *what: object) -> None:
        self.asked.append((name, *what))
        if name == self._refuse:
            raise RefusedError(f"unable to {name}") from Exception(b"out of memory")

    def create_shared_memory_region(self, name: str, byte_size: int, device_id: int) -> object:
        self._note("create", name, byte_size, device_id)
        region = SimpleNamespace(name=name)
        self.held.append(region)
        return region

    def set_shared_memory_region(self, region: Any, tensors: Sequence[Any]) -> None:
        self._note("set", region.name, b"".join(tensor.tobytes() for tensor in tensors))

    def get_raw_handle(self, region: Any) -> bytes:
        self._note("handle", region.name)
        return HANDLE

    def destroy_shared_memory_region(self, region: Any) -> None:
        self._note("destroy", region.name)
        self.held.remove(region)


def recorded(monkeypatch: pytest.MonkeyPatch, refuse: str = "") -> Recorded:
    """Return what stands in for Triton's module, and have it there."""
    stand_in = Recorded(refuse=refuse)
    monkeypatch.setitem(sys.modules, MODULE, stand_in)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return stand_in


def described(protocol: WireProtocol = WireProtocol.HTTP, items: int = 2) -> SharedRequests:
    """Return what a case of five images on the GPU 3 asks."""
    deployment = Deployment(
        stack="triton", model="tiny", format=ModelFormat.ONNX, device=Device("cuda", 3), max_batch_size=8
    )
    case = Case(deployment=deployment, payload=Payload.CUDASHM, protocol=protocol, items_per_request=items)
    return share(Triton(), case, request_groups(images(5), items))


def driver(status: int = 200) -> FakeDriver:
    """Return a driver whose server answers so."""
    return FakeDriver(answering=lambda *_: Reply(status, {}, b'{"error":"no"}'), clock=FakeClock())


def said(one: FakeDriver) -> list[WireRequest]:
    """Return what the server was told."""
    return [request for _, request in one.exchanged]


def test_the_tensors_lie_in_the_gpus_memory_while_the_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made on the case's GPU for all tensors, filled in their order, freed after the server let go."""
    stand_in, asked, shared = recorded(monkeypatch), driver(), described()
    with sharing(shared, HERE, asked):
        assert [name for name, *_ in stand_in.asked] == ["create", "set", "handle"]
        assert stand_in.held
        assert json.loads(said(asked)[0].body)["raw_handle"] == {"b64": HANDLE.decode()}
    assert stand_in.asked[0][1:] == (shared.region, 6 * 3 * 224 * 224 * 4, 3)
    expected = np.concatenate([tensor.ravel() for tensor in shared.tensors])
    assert stand_in.asked[1][2] == expected.tobytes()
    assert [request.path.rpartition("/")[2] for request in said(asked)] == ["register", "unregister"]
    assert stand_in.asked[-1] == ("destroy", shared.region)
    assert not stand_in.held


def test_cuda_counts_gpus_as_the_servers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their slots: by itself it would begin with the fastest, and the region could lie on another one."""
    recorded(monkeypatch)
    with gpu_region(described()):
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("error", [LoadError("no"), KeyboardInterrupt(), SystemExit(2)])
def test_the_memory_is_freed_whatever_ends_the_case(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure and after Ctrl-C the server is told, and the region is given back."""
    stand_in, asked = recorded(monkeypatch), driver()
    with pytest.raises(type(error)), sharing(described(), HERE, asked):
        raise error
    assert len(said(asked)) == 2
    assert stand_in.asked[-1][0] == "destroy"
    assert not stand_in.held


def test_a_package_too_old_for_the_other_is_told_apart_from_a_full_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton's client before 2.73 reads what handles of cuda-python 13.4 lack; the region is freed."""
    stand_in = recorded(monkeypatch)

    def old(_region: object) -> bytes:
        raise AttributeError("no attribute 'reserved'")

    monkeypatch.setattr(stand_in, "get_raw_handle", old)
    with pytest.raises(MissingPieceError) as caught, gpu_region(described()):
        pass
    assert caught.value.seen == "no attribute 'reserved'"
    assert caught.value.next_step.startswith("pip install 'tritonclient[all]>=2.73'")
    assert not stand_in.held


@pytest.mark.parametrize("refused", ["create", "set", "handle"])
def test_a_gpu_that_refuses_is_told_in_words(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the GPU, the size and CUDA's own reason; nothing stays held, and the server hears of nothing."""
    stand_in, asked, shared = recorded(monkeypatch, refused), driver(), described()
    with pytest.raises(LoadError) as caught, sharing(shared, HERE, asked):
        raise AssertionError("the block ran")
    assert str(caught.value) == (
        "A region of a GPU's memory cannot be made.\n"
        "  where: GPU 3, 3,612,672 bytes\n"
        f"  seen: unable to {refused}: out of memory\n"
        "  next: see nvidia-smi for its free memory; cuda-python must not be newer than the driver allows;"
        " else --serve-payload=uint8"
    )
    assert not stand_in.held
    assert not said(asked)


def test_a_server_that_cannot_open_it_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes on another GPU, or in a container that does not see the client's process."""
    stand_in = recorded(monkeypatch)
    with pytest.raises(ControlError) as caught, sharing(described(), HERE, driver(400)):
        raise AssertionError("the block ran")
    assert "docker run --ipc=host --pid=host" in caught.value.next_step
    assert not stand_in.held


def test_a_server_elsewhere_is_an_error_before_cuda_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of a GPU is shared on one machine only."""
    stand_in, far = recorded(monkeypatch), replace(HERE, host="gpu-7")
    with pytest.raises(ControlError, match="not on this machine"), sharing(described(), far, driver()):
        raise AssertionError("the block ran")
    assert not stand_in.asked


def test_without_cuda_python_it_is_a_missing_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's module raises RuntimeError then, whatever is installed here."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingPieceError) as caught, gpu_region(described()):
        raise AssertionError("the block ran")
    assert caught.value.next_step.endswith("cuda-python")


def test_without_a_driver_cuda_says_so() -> None:
    """The real module, in a process that sees no GPU: an error with CUDA's own words, and no crash."""
    pytest.importorskip("cuda.bindings.runtime")
    program = (
        "import sys; sys.path[:0] = [p for p in sys.argv[1:]]\n"
        "from tests.contract.test_cuda_memory import described\n"
        "from pytest_servebench.sharing.cuda_memory import gpu_region\n"
        "from pytest_servebench.errors import LoadError\n"
        "try:\n"
        "    with gpu_region(described()): pass\n"
        "except LoadError as error:\n"
        "    print(error.seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *sys.path],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("unable to create cuda shared memory handle: ")
    assert "CUDA" in done.stdout or "device" in done.stdout


def test_triton_is_told_what_its_own_client_tells_over_http() -> None:
    """Path and content of both requests, as `tritonclient.http` sends them to a server."""
    http = pytest.importorskip("tritonclient.http")
    shared = described()
    with ScriptedServer() as server:
        client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
        client.register_cuda_shared_memory(shared.region, HANDLE, 3, shared.size_bytes)
        client.unregister_cuda_shared_memory(shared.region)
        client.close()
        registered, unregistered = server.requests
    ours = shared.registering(HANDLE)
    assert (registered.method, registered.path) == (ours.method, ours.path)
    assert json.loads(registered.body) == json.loads(ours.body)
    assert (unregistered.method, unregistered.path) == (shared.unregister.method, shared.unregister.path)


def test_triton_is_told_what_its_own_client_tells_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods and messages of both calls, as `tritonclient.grpc` hands them to its channel."""
    grpc = pytest.importorskip("tritonclient.grpc")
    shared = described(WireProtocol.GRPC)
    client = grpc.InferenceServerClient("127.0.0.1:1")
    sent: list[tuple[str, bytes]] = []
    for method in ("CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"):

        def call(request: Any, method: str = method, **_: object) -> None:
            sent.append((f"/inference.GRPCInferenceService/{method}", request.SerializeToString()))

        monkeypatch.setattr(client._client_stub, method, call)
    client.register_cuda_shared_memory(shared.region, HANDLE, 3, shared.size_bytes)
    client.unregister_cuda_shared_memory(shared.region)
    client.close()
    ours = (shared.registering(HANDLE), shared.unregister)
    assert sent == [(one.path, one.body) for one in ours]
    assert {one.port_role for one in ours} == {"grpc"}
