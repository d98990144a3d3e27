"""What every launcher keeps, the fake one included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Launcher, RunningServer
from pytest_servebench.launchers.attach import AttachLauncher
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.plan import LaunchSpec
from pytest_servebench.testing.launcher import FakeLauncher
from tests.jumping_clock import JumpingClock
from tests.tiny_server import tiny_spec

SPEC = tiny_spec(port_roles=("http", "metrics"))
NEVER_READY = tiny_spec(path="/busy", deadline_s=0.5)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a tiny server that already runs."""
    server = ProcessLauncher().start("tiny", SPEC, tmp_path_factory.mktemp("theirs"))
    ports = server.endpoint.ports
    yield f"http://127.0.0.1:{ports['http']}?metrics={ports['metrics']}"
    server.stop()


@pytest.fixture(params=["process", "attach", "fake"])
def launcher(request: pytest.FixtureRequest, address: str) -> Launcher:
    """Return one launcher of each kind."""
    made: dict[str, Launcher] = {
        "process": ProcessLauncher(),
        "attach": AttachLauncher(address),
        "fake": FakeLauncher(),
    }
    return made[request.param]


@pytest.fixture(params=["process", "attach", "fake"])
def impatient(request: pytest.FixtureRequest, address: str) -> Launcher:
    """Return one launcher of each kind for which time flies and no server becomes ready."""
    made: dict[str, Launcher] = {
        "process": ProcessLauncher(clock=JumpingClock()),
        "attach": AttachLauncher(address, clock=JumpingClock(), deadline_s=0.5),
        "fake": FakeLauncher(never_ready=True),
    }
    return made[request.param]


@pytest.fixture
def server(launcher: Launcher, tmp_path: Path) -> Iterator[RunningServer]:
    """Return a ready server."""
    running = launcher.start("tiny", SPEC, tmp_path / "work")
    yield running
    running.stop()


def test_says_where_it_listens(server: RunningServer) -> None:
    """An endpoint names its stack, its launcher, its host and a port for every role of the spec."""
    endpoint = server.endpoint
    assert (endpoint.stack, endpoint.host) == ("tiny", "127.0.0.1")
    assert endpoint.launcher in {"process", "attach", "fake"}
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


def test_starts_again_in_the_same_folder(launcher: Launcher, tmp_path: Path) -> None:
    """A name and a folder can be used again once the server before was stopped."""
    for _ in range(2):
        server = launcher.start("tiny", SPEC, tmp_path)
        assert server.exit_code() is None
        server.stop()


def test_raises_when_it_is_never_ready(impatient: Launcher, tmp_path: Path) -> None:
    """A server that is not ready at the deadline is a `LaunchError` that says what to do next."""
    spec: LaunchSpec = NEVER_READY
    with pytest.raises(LaunchError) as caught:
        impatient.start("tiny", spec, tmp_path)
    assert "tiny" in caught.value.what
    assert caught.value.where
    assert caught.value.next_step
