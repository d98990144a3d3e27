"""What every launcher keeps, the fake one included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Launcher, RunningServer
from pytest_servebench.launchers.attach import AttachLauncher
from pytest_servebench.launchers.docker import DockerLauncher
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.plan import LaunchSpec, ReadyCheck
from pytest_servebench.testing.launcher import FakeLauncher
from tests.engine import the_engine
from tests.jumping_clock import JumpingClock
from tests.tiny_container import container_spec
from tests.tiny_server import tiny_spec

SPEC = tiny_spec(port_roles=("http", "metrics"))
IN_CONTAINER = container_spec(port_roles=("http", "metrics"))
KINDS = ["process", pytest.param("docker", marks=[pytest.mark.live, pytest.mark.docker]), "attach", "fake"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the launcher's word; docker only where there is an engine."""
    word: str = request.param
    with the_engine() if word == "docker" else nullcontext():
        yield word


@pytest.fixture
def spec(kind: str) -> LaunchSpec:
    """Return what is launched."""
    return IN_CONTAINER if kind == "docker" else SPEC


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a tiny server that already runs."""
    server = ProcessLauncher().start("tiny", SPEC, tmp_path_factory.mktemp("theirs"))
    ports = server.endpoint.ports
    yield f"http://127.0.0.1:{ports['http']}?metrics={ports['metrics']}"
    server.stop()


@pytest.fixture
def launcher(kind: str, address: str) -> Launcher:
    """Return one launcher of each kind."""
    made: dict[str, Launcher] = {
        "process": ProcessLauncher(),
        "docker": DockerLauncher(),
        "attach": AttachLauncher(address),
        "fake": FakeLauncher(),
    }
    return made[kind]


@pytest.fixture
def impatient(kind: str, address: str) -> Launcher:
    """Return one launcher of each kind for which time flies and no server becomes ready."""
    made: dict[str, Launcher] = {
        "process": ProcessLauncher(clock=JumpingClock()),
        "docker": DockerLauncher(clock=JumpingClock()),
        "attach": AttachLauncher(address, clock=JumpingClock(), deadline_s=0.5),
        "fake": FakeLauncher(never_ready=True),
    }
    return made[kind]


@pytest.fixture
def server(launcher: Launcher, spec: LaunchSpec, tmp_path: Path) -> Iterator[RunningServer]:
    """Return a ready server."""
    running = launcher.start("tiny", spec, tmp_path / "work")
    yield running
    running.stop()


def test_says_where_it_listens(server: RunningServer) -> None:
    """An endpoint names its stack, its launcher, its host and a port for every role of the spec."""
    endpoint = server.endpoint
    assert (endpoint.stack, endpoint.host) == ("tiny", "127.0.0.1")
    assert endpoint.launcher in {"process", "docker", "attach", "fake"}
    assert set(endpoint.ports) == set(SPEC.port_roles)
    assert len(set(endpoint.ports.values())) == len(SPEC.port_roles)


def test_has_no_exit_code_while_it_runs(server: RunningServer) -> None:
    """A server that runs has not ended by itself."""
    assert server.exit_code() is None


def test_has_no_exit_code_after_a_stop(server: RunningServer) -> None:
    """A server that was stopped has not ended by itself either."""
    server.stop()
    assert server.exit_code() is None


def test_keeps_its_log_to_the_lines_asked_for(server: RunningServer) -> None:
    """A log tail is text of at most as many lines as were asked for, also after the stop."""
    assert len(server.log_tail(1).splitlines()) <= 1
    server.stop()
    assert server.log_tail(0) == ""


def test_stops_twice(server: RunningServer) -> None:
    """A second stop is no error."""
    server.stop()
    server.stop()


def test_starts_again_in_the_same_folder(launcher: Launcher, spec: LaunchSpec, tmp_path: Path) -> None:
    """A name and a folder can be used again once the server before was stopped."""
    for _ in range(2):
        server = launcher.start("tiny", spec, tmp_path)
        assert server.exit_code() is None
        server.stop()


def test_raises_when_it_is_never_ready(impatient: Launcher, spec: LaunchSpec, tmp_path: Path) -> None:
    """A server that is not ready at the deadline is a `LaunchError` that says what to do next."""
    never = replace(spec, ready=ReadyCheck(path="/busy", deadline_s=0.5))
    with pytest.raises(LaunchError) as caught:
        impatient.start("tiny", never, tmp_path)
    assert "tiny" in caught.value.what
    assert caught.value.where
    assert caught.value.next_step
