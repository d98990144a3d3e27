"""A project is brought up until all of it answers, and nothing of it is left when it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.compose import project as books
from pytest_servebench.compose.project import STATE_VARIABLE
from pytest_servebench.compose.services import PASSWORD, PROFILES
from pytest_servebench.compose.tools import Tools
from pytest_servebench.compose.upping import bring_up, compose_of, project_of, take_down
from pytest_servebench.errors import LaunchError, ServerNotReadyError
from pytest_servebench.launchers.readiness import ProbeAnswer
from tests.compose_stand_in import Stand
from tests.jumping_clock import JumpingClock
from tests.unit.compose.test_wanted import WANTED

FILES = (Path("compose.cpu.yaml"), Path("serving.json"))


class Server:
    """Answers after it was asked so often; notes where it was asked."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, path: str) -> ProbeAnswer:
        self.asked.append(f"{host}:{port}{path}")
        return ProbeAnswer(200, "OK") if len(self.asked) > self.after else ProbeAnswer(None, "refused")


def tools(server: Server, tmp_path: Path) -> Tools:
    """Return tools with which waiting costs no time."""
    environment = {STATE_VARIABLE: str(tmp_path)}
    return Tools(environment=environment, say=lambda _: None, clock=JumpingClock(), probe=server)


def test_a_project_knows_what_it_needs() -> None:
    """Ports, addresses and settings are those of the environment; the password is not among them."""
    environment = {
        "TRITON_GRPC_PORT": "9999",
        "PROMETHEUS_PORT": "19090",
        PASSWORD: "secret",
        "HOME": "/root",
    }
    project = project_of(
        replace(WANTED, monitoring="grafana"),
        FILES,
        {**environment, "SERVEBENCH_UID": "7", "SERVEBENCH_GID": "8"},
    )
    assert project.stacks == {
        "fastapi": {"http": 8000},
        "triton": {"http": 8010, "grpc": 9999, "metrics": 8012},
    }
    assert (project.prometheus, project.grafana) == ("http://127.0.0.1:19090", "http://127.0.0.1:3000")
    assert project.settings == {
        "TRITON_GRPC_PORT": "9999",
        "PROMETHEUS_PORT": "19090",
        "SERVEBENCH_FOLDER": "/somewhere",
        "SERVEBENCH_GPU": "0",
        "SERVEBENCH_UID": "7",
        "SERVEBENCH_GID": "8",
        "DOCKER_HOST": "unix:///var/run/docker.sock",
    }


def test_a_password_is_passed_on_or_unknown_to_all() -> None:
    """Compose gets the user's; where Grafana does not run, one that nobody knows and nobody wrote down."""
    project = project_of(WANTED, FILES, {})
    given = compose_of(project, ("docker-compose",), {PASSWORD: "mine"})
    drawn = {compose_of(project, ("docker-compose",), {}).environment[PASSWORD] for _ in range(2)}
    assert given.environment[PASSWORD] == "mine"
    assert len(drawn) == 2
    assert all(len(each) > 20 for each in drawn)
    assert given.profiles == PROFILES


def test_every_service_is_started_and_waited_for(stand: Stand, tmp_path: Path) -> None:
    """The asked services are started by name, and each is asked where it is published, until it answers."""
    project = project_of(replace(WANTED, monitoring="prometheus"), FILES, {})
    server = Server(after=3)
    bring_up(project, stand.compose(), None, tools(server, tmp_path), 60.0)
    assert stand.told("up") == [["up", "--detach", "fastapi", "triton", "prometheus"]]
    assert stand.told("rm") == []
    assert list(dict.fromkeys(server.asked)) == [
        "127.0.0.1:8000/v2/health/ready",
        "127.0.0.1:8010/v2/health/ready",
        "127.0.0.1:9090/-/ready",
    ]
    assert books.find(project.name, tmp_path) == project


def test_what_was_up_before_is_made_anew(stand: Stand, tmp_path: Path) -> None:
    """The containers of an earlier `up` go first: their files are written anew, and not all may be wanted."""
    before = project_of(replace(WANTED, stacks=("torchserve", "triton")), FILES, {})
    bring_up(project_of(WANTED, FILES, {}), stand.compose(), before, tools(Server(0), tmp_path), 60.0)
    assert stand.told("rm") == [["rm", "--stop", "--force", "torchserve", "triton"]]


def test_a_server_that_ends_is_reported_with_its_log(stand: Stand, tmp_path: Path) -> None:
    """A container that no longer runs ends the wait at once, with its last words, and all goes down."""
    stand.answers("ps", "triton\n")
    stand.answers("logs", "fastapi_1 | cannot find my model\n")
    project = project_of(WANTED, FILES, {})
    server = Server(after=10**6)
    with pytest.raises(LaunchError, match="fastapi ended before it was ready") as raised:
        bring_up(project, stand.compose(), None, tools(server, tmp_path), 1e5)
    assert "cannot find my model" in raised.value.seen
    assert len(server.asked) < 200
    assert stand.told("down") == [["down", "--remove-orphans"]]
    assert books.find(project.name, tmp_path) is None


def test_a_deadline_ends_the_wait(stand: Stand, tmp_path: Path) -> None:
    """A server that runs and never answers is given up, with what it said, and everything goes down."""
    stand.answers("ps", "fastapi\ntriton\n")
    stand.answers("logs", "still loading\n")
    with pytest.raises(ServerNotReadyError, match="fastapi is not ready after 30 s") as raised:
        bring_up(project_of(WANTED, FILES, {}), stand.compose(), None, tools(Server(10**6), tmp_path), 30.0)
    assert "refused" in raised.value.seen
    assert "still loading" in raised.value.seen
    assert "--deadline" in raised.value.next_step
    assert stand.told("down")


def test_a_start_that_fails_leaves_nothing(stand: Stand, tmp_path: Path) -> None:
    """When compose itself fails, what it had started by then is ended."""
    stand.answers("up", code=1)
    with pytest.raises(LaunchError, match="up failed with exit code 1"):
        bring_up(project_of(WANTED, FILES, {}), stand.compose(), None, tools(Server(0), tmp_path), 60.0)
    assert stand.told("down")


def test_what_went_wrong_first_is_what_is_raised(stand: Stand, tmp_path: Path) -> None:
    """When clearing away fails too, that is said, and the project stays in the books for `down`."""
    stand.answers("up", code=1)
    stand.answers("down", code=2)
    said: list[str] = []
    telling = replace(tools(Server(0), tmp_path), say=said.append)
    project = project_of(WANTED, FILES, {})
    with pytest.raises(LaunchError, match="up failed with exit code 1"):
        bring_up(project, stand.compose(), None, telling, 60.0)
    assert said[-1] == "not all of it could be ended: servebench down --project servebench"
    assert books.find(project.name, tmp_path) == project


def test_an_interrupt_leaves_nothing(stand: Stand, tmp_path: Path) -> None:
    """Ctrl-C while a server is waited for ends what was started, and says that it does."""
    said: list[str] = []

    def interrupt(*_: object) -> ProbeAnswer:
        raise KeyboardInterrupt

    telling = replace(tools(Server(0), tmp_path), say=said.append, probe=interrupt)
    project = project_of(WANTED, FILES, {})
    with pytest.raises(KeyboardInterrupt):
        bring_up(project, stand.compose(), None, telling, 60.0)
    assert stand.told("down")
    assert said[-1] == "ending what was started of the project servebench"
    assert books.find(project.name, tmp_path) is None


def test_volumes_go_only_when_asked(stand: Stand, tmp_path: Path) -> None:
    """What Prometheus and Grafana have kept outlives `down`, unless it is told to go."""
    project = project_of(WANTED, FILES, {})
    take_down(project, stand.compose(), tmp_path)
    take_down(project, stand.compose(), tmp_path, volumes=True)
    assert stand.told("down") == [["down", "--remove-orphans"], ["down", "--remove-orphans", "--volumes"]]
