"""The docker launcher where an engine hangs or vanishes, a port is taken, an image is missing."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import Container, ContainerImage, ContainerSettings, ImageBuild, Network
from pytest_servebench.errors import LaunchError, PortTakenError, ServerNotReadyError
from pytest_servebench.interfaces import RunningServer
from pytest_servebench.launchers.docker import DockerLauncher
from pytest_servebench.launchers.docker import engine as engine_room
from pytest_servebench.launchers.docker.engine import Engine, EngineError
from pytest_servebench.launchers.docker.images import full_name
from pytest_servebench.launchers.ports import free_ports
from pytest_servebench.launchers.readiness import ProbeAnswer
from pytest_servebench.plan import LaunchSpec
from tests.engine import BASE
from tests.engine_proxy import EngineProxy
from tests.tiny_container import container_spec

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.usefixtures("label")]


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProxy]:
    """Return a way to the engine that can be cut."""
    with EngineProxy(tmp_path_factory.mktemp("e") / "s") as between:
        yield between
    with warnings.catch_warnings():
        # The SDK leaves a connection that breaks to the search for garbage: now, not in somebody else's test.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def found(client: Any, labels: Mapping[str, str]) -> list[Any]:
    """Return the containers with these labels, in whatever state."""
    wanted = [f"{key}={value}" for key, value in labels.items()]
    listed: list[Any] = client.containers.list(all=True, filters={"label": wanted})
    return listed


def remove(client: Any, labels: Mapping[str, str]) -> int:
    """Remove the containers with these labels; return how many there were."""
    containers = found(client, labels)
    for one in containers:
        one.remove(force=True, v=True)
    return len(containers)


def wait_for_log(server: RunningServer) -> None:
    """Return once the log has a line: it is followed beside the start and may come late."""
    clock, began_ns = MonotonicClock(), MonotonicClock().now_ns()
    while not server.log_tail():
        assert clock.now_ns() - began_ns < 10e9, "no line in the log after 10 s"
        clock.sleep_s(0.02)


def test_an_engine_that_vanishes_is_no_traceback(
    client: Any, label: dict[str, str], work: Path, proxy: EngineProxy
) -> None:
    """Whether the server lives is then not known, and a stop says what it could not do and how to do it."""
    server = DockerLauncher(labels=label, environment=proxy.environment).start("tiny", container_spec(), work)
    wait_for_log(server)
    proxy.vanish()
    assert server.exit_code() is None
    with pytest.raises(LaunchError, match="a container could not be removed") as caught:
        server.stop()
    (container,) = found(client, label)
    assert caught.value.next_step.endswith(f"docker rm --force --volumes {container.name}")
    assert "does not answer" in caught.value.seen
    assert server.log_tail().splitlines()[0] == "serving"
    server.stop()
    assert remove(client, label) == 1


def test_a_deadline_ends_the_wait_for_an_engine_that_hangs(
    client: Any, label: dict[str, str], work: Path, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the wait nor the removal waits for ever, and the error names the engine."""
    monkeypatch.setattr(engine_room, "REMOVAL_S", 0.5)

    def hangs(_host: str, _port: int, _path: str) -> ProbeAnswer:
        proxy.hang()
        return ProbeAnswer(503, "Busy")

    launcher = DockerLauncher(labels=label, environment=proxy.environment, probe=hangs)
    with pytest.raises(ServerNotReadyError) as caught:
        launcher.start("tiny", container_spec(deadline_s=0.2), work)
    assert "last answer: 503 Busy; the Docker engine at unix://" in caught.value.seen
    assert caught.value.next_step == "see whether the engine answers: docker info"
    assert remove(client, label) == 1


def test_a_port_that_the_engine_lost_is_tried_again(
    client: Any, label: dict[str, str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine picks a port before it binds it: on a lost race the container goes and another comes."""
    start, starts = Engine.start, []

    def lost_once(self: Engine, name: str) -> None:
        starts.append(name)
        if len(starts) == 1:
            raise EngineError("listen tcp4 127.0.0.1:32768: bind: address already in use", status=500)
        start(self, name)

    monkeypatch.setattr(Engine, "start", lost_once)
    server = DockerLauncher(labels=label).start("tiny", container_spec(), work)
    assert [one.name for one in found(client, label)] == [starts[1]]
    server.stop()


def test_the_engine_words_a_taken_port_as_expected(client: Any, label: dict[str, str]) -> None:
    """What the launcher reads out of the engine's refusal is what this engine says."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Exception, match=r"address already in use|port is already allocated"):
            client.containers.run(
                BASE, ["python3", "-V"], ports={"8000/tcp": ("127.0.0.1", port)}, labels=label, detach=True
            )
    assert remove(client, label) == 1


class PickedPorts:
    """Hands out given ports first, then free ones; counts."""

    def __init__(self, *first: int) -> None:
        self._first = list(first)
        self.picks = 0

    def __call__(self, roles: Sequence[str]) -> Mapping[str, int]:
        self.picks += 1
        return {roles[0]: self._first.pop(0)} if self._first else free_ports(roles)


def test_a_taken_port_of_this_machines_network_is_tried_elsewhere(label: dict[str, str], work: Path) -> None:
    """With network=host a server that loses its port to somebody else comes up on another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = PickedPorts(taken.getsockname()[1])
        launcher = DockerLauncher(
            settings=ContainerSettings(network=Network.HOST), labels=label, pick_ports=ports
        )
        server = launcher.start("tiny", container_spec(), work)
        assert ports.picks == 2
        assert server.endpoint.ports["http"] != taken.getsockname()[1]
        server.stop()


def test_an_address_of_another_machine(client: Any, label: dict[str, str], work: Path) -> None:
    """Ports are published on an address of this machine or not at all."""
    launcher = DockerLauncher(host="192.0.2.7", labels=label)
    with pytest.raises(LaunchError) as caught:
        launcher.start("tiny", container_spec(), work)
    assert not isinstance(caught.value, PortTakenError)
    assert "--serve-host" in caught.value.next_step
    assert found(client, label) == []


def with_image(image: ContainerImage) -> LaunchSpec:
    """Return a spec whose server runs in this image."""
    return replace(container_spec(), container=Container(image=image))


def test_an_image_is_built_once_and_then_used(
    client: Any, label: dict[str, str], work: Path, tmp_path: Path
) -> None:
    """Built from Dockerfile, files and arguments under a tag of their content; nothing else is left of it."""
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE\nFROM $BASE\nCOPY guests /guests\nCOPY one.txt /one.txt\n"
        'RUN test "$(cat /one.txt)" = 1 && /guests/run && echo built\n'
    )
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/run").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "guests/run").chmod(0o755)
    (tmp_path / "one.txt").write_text("1")
    build = ImageBuild(
        dockerfile_path=tmp_path / "Dockerfile",
        files={"guests": tmp_path / "guests", "one.txt": tmp_path / "one.txt"},
        arguments={"BASE": BASE},
    )
    image = ContainerImage(name="launcher-test", build=build)
    name = full_name(image)
    told: list[str] = []
    launcher = DockerLauncher(labels=label, making=lambda *line: told.append(": ".join(line)))
    try:
        before = {one.id for one in client.containers.list(all=True)}
        for _ in range(2):
            server = launcher.start("tiny", with_image(image), work)
            assert server.endpoint.container is not None
            assert server.endpoint.container.image == name
            server.stop()
        assert told[0] == f"{name}: it is built"
        assert told.count(f"{name}: it is built") == 1
        assert f"{name}: built" in told
        assert client.images.get(name).labels["servebench.image"] == "launcher-test"
        mine = client.containers.list(all=True, filters={"ancestor": name})
        assert [one for one in mine if one.id not in before] == []
    finally:
        for one in client.images.list(name=name):
            client.images.remove(one.id, force=True)


def test_a_build_that_fails_is_told(client: Any, label: dict[str, str], work: Path, tmp_path: Path) -> None:
    """The step that failed and its last lines; no image has the name, and no container was made for it."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo no such wheel && false\n")
    image = ContainerImage(name="launcher-test", build=ImageBuild(dockerfile_path=tmp_path / "Dockerfile"))
    with pytest.raises(LaunchError, match="cannot be built") as caught:
        DockerLauncher(labels=label).start("tiny", with_image(image), work)
    assert "returned a non-zero code: 1" in caught.value.seen
    assert "\n    no such wheel\n" in caught.value.seen
    assert caught.value.where == str(tmp_path / "Dockerfile")
    assert client.images.list(name=full_name(image)) == []


def test_an_image_that_nobody_has(label: dict[str, str], work: Path) -> None:
    """A name that no registry knows is an error with the command to see it by hand."""
    image = ContainerImage(name="localhost:9/servebench-no-such-image:1")
    with pytest.raises(LaunchError, match="cannot be pulled") as caught:
        DockerLauncher(labels=label).start("tiny", with_image(image), work)
    assert "docker pull localhost:9/servebench-no-such-image:1" in caught.value.next_step
