"""Tensors in memory that a container and this machine share."""

from __future__ import annotations

import http.client
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.containers import ContainerSettings, Ipc
from pytest_servebench.launchers.docker import DockerLauncher
from pytest_servebench.plan import WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply
from pytest_servebench.sharing.shared_memory import next_region, sharing
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from tests.live.test_docker_launcher import get
from tests.tiny_container import container_spec

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.usefixtures("label")]


def test_shares_the_memory_of_this_machine(label: dict[str, str], work: Path) -> None:
    """With ipc=host the server's user opens a region of ours; else it has a memory of its own."""
    pytest.importorskip("tritonclient")
    tensor, seen = np.arange(16, dtype=np.float32), []
    shared = described((tensor,))

    def answering(endpoint: Endpoint, request: WireRequest) -> Reply:
        if request is shared.register:
            seen.append(get(endpoint, f"/dev/shm/{shared.region}"))
        return Reply(200, {}, b"")

    driver = FakeDriver(answering=answering, clock=FakeClock())
    server = DockerLauncher(settings=ContainerSettings(ipc=Ipc.HOST), labels=label).start(
        "tiny", container_spec(), work
    )
    with sharing(shared, server.endpoint, driver):
        assert seen == [tensor.tobytes()]
    server.stop()
    server = DockerLauncher(labels=label).start("tiny", container_spec(), work)
    with pytest.raises(http.client.RemoteDisconnected), sharing(shared, server.endpoint, driver):
        pass
    server.stop()


def described(tensors: tuple[npt.NDArray[np.float32], ...]) -> SharedRequests:
    """Return a region with these tensors."""
    told = WireRequest(protocol=WireProtocol.HTTP, path="/register", body=b"")
    return SharedRequests(
        region=next_region(),
        tensors=tensors,
        requests=(),
        register=told,
        unregister=replace(told, path="/unregister"),
    )
