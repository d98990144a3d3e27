"""What is removed and said of an engine that misbehaves; the engine is a server that says what it is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_servebench.launchers.docker.leftovers import Removal, remove_leftovers, remove_run
from pytest_servebench.launchers.docker.owner import Owner, labels_of
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer, SeenRequest

HERE = Owner(run="1f2e", pid=77, started_ticks=4_400, host="build-7", boot="b1", pid_namespace="pid:[4]")
DEAD = replace(HERE, run="0a0b", pid=78, started_ticks=400)
VERSION = ScriptedReply(body=b'{"ApiVersion": "1.41", "MinAPIVersion": "1.24"}')
REMOVED = ScriptedReply(status=204, headers=(), body=b"")


def refusal(status: int, message: str) -> ScriptedReply:
    """Return an engine's refusal."""
    return ScriptedReply(status=status, body=json.dumps({"message": message}).encode())


class Engine:
    """An engine with these containers; what it says to each removal is given by id."""

    def __init__(self, *containers: dict[str, object], removals: Mapping[str, ScriptedReply]) -> None:
        self.removals = removals
        self.containers = containers
        self.removed: list[str] = []
        self.filters: list[Sequence[str]] = []

    def __call__(self, request: SeenRequest) -> ScriptedReply:
        url = urlsplit(request.path)
        if url.path.endswith("/version"):
            return VERSION
        if url.path.endswith("/containers/json"):
            query = parse_qs(url.query)
            assert query["all"] == ["1"]
            self.filters.append(json.loads(query["filters"][0])["label"])
            return ScriptedReply(body=json.dumps(self.containers).encode())
        assert request.method == "DELETE"
        query = parse_qs(url.query)
        assert (query["force"], query["v"]) == (["True"], ["True"])
        name = url.path.rpartition("/")[2]
        reply = self.removals.get(name, REMOVED)
        if reply is REMOVED:
            self.removed.append(name)
        return reply


def container(name: str, owner: Owner = DEAD, state: str = "running") -> dict[str, object]:
    """Return a container as an engine lists it."""
    return {"Id": name, "State": state, "Labels": labels_of(owner, "triton")}


def sweep(engine: Engine) -> Removal:
    """Remove leftovers where no process lives."""
    with ScriptedServer(engine) as server:
        environment = {"DOCKER_HOST": f"tcp://127.0.0.1:{server.port}"}
        return remove_leftovers(HERE, lives=lambda _pid, _ticks: False, environment=environment)


def test_the_dead_ones_are_removed_and_said() -> None:
    """One line names each by stack, the begin of its id, and the process that had started it."""
    other = container("cc", replace(DEAD, host="build-8"))
    unlabelled: dict[str, object] = {"Id": "dd", "State": "exited", "Labels": None}
    engine = Engine(container("aa" * 32), container("bb"), other, unlabelled, removals={})
    removal = sweep(engine)
    assert engine.removed == ["aa" * 32, "bb"]
    assert engine.filters == [["servebench.run"]]
    assert str(removal) == "removed triton aaaaaaaaaaaa of process 78, triton bb of process 78"


@pytest.mark.parametrize(("state", "removed"), [("exited", ["aa"]), ("dead", ["aa"]), ("running", [])])
def test_of_an_earlier_boot_what_has_ended_is_removed(state: str, removed: list[str]) -> None:
    """What the engine says of its state decides."""
    engine = Engine(container("aa", replace(DEAD, boot="b0"), state), removals={})
    sweep(engine)
    assert engine.removed == removed


def test_a_container_that_somebody_else_removes_is_no_trouble() -> None:
    """Gone since it was listed, or just being removed: neither ours to say nor wrong; the rest goes on."""
    gone = refusal(404, "No such container: aa")
    going = refusal(409, "removal of container bb is already in progress")
    engine = Engine(*map(container, ("aa", "bb", "cc")), removals={"aa": gone, "bb": going})
    assert sweep(engine) == Removal(removed=("triton cc of process 78",))


def test_one_that_cannot_be_removed_is_said() -> None:
    """The others are removed nevertheless, and the engine's reason is in the same line."""
    busy = refusal(500, "driver failed to remove root filesystem:\ndevice or resource busy")
    removal = sweep(Engine(*map(container, ("aa", "bb")), removals={"aa": busy}))
    assert str(removal) == (
        "removed triton bb of process 78; triton aa of process 78 cannot be removed: driver failed to remove "
        "root filesystem: device or resource busy"
    )


def test_an_engine_that_goes_away_is_said() -> None:
    """What it removed before is not forgotten."""
    engine = Engine(*map(container, ("aa", "bb", "cc")), removals={"bb": ScriptedReply(ending=Ending.RESET)})
    removal = sweep(engine)
    assert removal.removed == ("triton aa of process 78",)
    assert removal.trouble.startswith("the Docker engine at ")
    assert engine.removed == ["aa"]


@pytest.mark.parametrize("answer", [refusal(503, "starting up"), ScriptedReply(body=b"no engine")])
def test_what_is_no_engine_is_said(answer: ScriptedReply) -> None:
    """Nothing is raised, whatever answers there."""
    with ScriptedServer(answer) as server:
        removal = remove_run("1f2e", environment={"DOCKER_HOST": f"tcp://127.0.0.1:{server.port}"})
    assert not removal.removed
    assert removal.trouble.startswith("the Docker engine at ")
    assert "\n" not in str(removal)


def test_no_engine_is_said() -> None:
    """Nobody listens there."""
    with ScriptedServer() as server:
        port = server.port
    removal = remove_run("1f2e", environment={"DOCKER_HOST": f"tcp://127.0.0.1:{port}"})
    assert "the Docker engine at " in removal.trouble


def test_all_of_a_run_is_removed_or_all_of_a_worker() -> None:
    """The engine is asked for the run's own, and whatever it then lists goes."""
    engine = Engine(container("aa", HERE), removals={})
    with ScriptedServer(engine) as server:
        environment = {"DOCKER_HOST": f"tcp://127.0.0.1:{server.port}"}
        assert str(remove_run("1f2e", environment=environment)) == "removed triton aa of process 77"
        remove_run("1f2e", worker="gw1", environment=environment)
    assert engine.filters == [
        ["servebench.run=1f2e"],
        ["servebench.run=1f2e", "servebench.worker=gw1"],
    ]
