"""How a container's end is read, and how an engine's refusals are told."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.containers import (
    GPU_REMEDY,
    Container,
    ContainerImage,
    ContainerSettings,
    Preparation,
)
from pytest_servebench.errors import LaunchError, PortTakenError, ToolMissingError
from pytest_servebench.launchers.docker import DockerLauncher, container, engine, faults
from pytest_servebench.launchers.docker.container import End, end_of, pid_here
from pytest_servebench.launchers.docker.engine import Engine, EngineError, open_engine
from pytest_servebench.launchers.docker.faults import Attempt
from pytest_servebench.launchers.docker.images import PresentImage
from pytest_servebench.launchers.docker.request import Surround, container_request
from pytest_servebench.launchers.readiness import ProbeAnswer, Readiness, Stage
from pytest_servebench.launchers.workdir import ServerLog
from pytest_servebench.plan import LaunchSpec, ReadyCheck

SPEC = LaunchSpec(
    name="tiny",
    argv=("serve",),
    ready=ReadyCheck(path="/ready"),
    container=Container(image=ContainerImage(name="tiny:1")),
)


def seen(status: str, code: int = 0, *, memory: int = 0, **state: Any) -> dict[str, Any]:
    """Return what `docker inspect` shows of a container in this state."""
    return {
        "Id": "c1",
        "State": {"Status": status, "ExitCode": code, "OOMKilled": False, "Error": "", **state},
        "HostConfig": {"Memory": memory},
    }


@pytest.mark.parametrize("status", ["created", "running", "paused", "restarting"])
def test_one_that_did_not_end_has_no_end(status: str) -> None:
    """Only the engine's word makes an end."""
    assert end_of(seen(status)) is None


@pytest.mark.parametrize(
    ("code", "told"), [(0, 0), (3, 3), (128, 128), (137, -9), (139, -11), (143, -15), (255, 255)]
)
def test_signals_are_told_as_those_of_processes(code: int, told: int) -> None:
    """128+N is how the engine says signal N; launchers say -N."""
    assert end_of(seen("exited", code)) == End(told)


def test_lack_of_memory_is_named() -> None:
    """The engine alone knows it: the log of a killed server says nothing."""
    limited = end_of(seen("exited", 137, memory=2**26, OOMKilled=True))
    assert limited == End(-9, "it was killed for lack of memory: its limit is 64 MiB")
    unlimited = end_of(seen("exited", 137, OOMKilled=True))
    assert unlimited == End(-9, "it was killed for lack of memory: this machine has no more")


def test_one_that_somebody_removed_has_ended() -> None:
    """A container that is gone does not count as one that runs."""
    assert end_of(None) == End(-9, "the container was removed by somebody else")


def test_a_pid_is_told_only_where_it_is_sure(tmp_path: Path) -> None:
    """A number is this machine's only if the process of that number lies in the container's control group."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("0::/system.slice/docker-c1.scope\n")
    (tmp_path / "8").mkdir()
    (tmp_path / "8/cgroup").write_text("0::/user.slice\n")
    assert pid_here(seen("running", Pid=7), tmp_path) == 7
    assert pid_here(seen("running", Pid=8), tmp_path) is None
    assert pid_here(seen("running", Pid=9), tmp_path) is None
    assert pid_here(seen("exited", Pid=0), tmp_path) is None


def attempt(tmp_path: Path, log: str = "") -> Attempt:
    """Return an attempt whose server wrote ``log``."""
    path = tmp_path / "server.log"
    path.write_text(log)
    surround = Surround(settings=ContainerSettings(), host="127.0.0.1", user="7:7", labels={})
    request = container_request(
        SPEC, surround, name="one", image_id="i", ports={"http": 8000}, workdir=tmp_path
    )
    return Attempt(
        stack="tiny",
        spec=SPEC,
        image=PresentImage("tiny:1", "i"),
        host="127.0.0.1",
        ports={"http": 8000},
        request=request,
        log=ServerLog(path, 0),
    )


@pytest.mark.parametrize(
    ("said", "what", "next_step"),
    [
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "tiny cannot be launched: the Docker engine gives no GPU to containers",
            GPU_REMEDY,
        ),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update",
            "tiny cannot be launched: the Docker engine did not start its container",
            "the driver is too old for the image's CUDA: servebench doctor",
        ),
        (
            "failed to inject CDI devices: unresolvable CDI devices runtime.nvidia.com/gpu=0: unknown",
            "tiny cannot be launched: the Docker engine did not start its container",
            "the engine hands GPUs out by descriptions and has none of this one: nvidia-ctk cdi list",
        ),
        (
            'invalid mount config for type "bind": bind source path does not exist: /x',
            "tiny cannot be launched: the Docker engine did not start its container",
            "the engine sees other folders than this process: run both on one machine",
        ),
        (
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            "tiny cannot be launched: the Docker engine did not start its container",
            "give containers as many CPUs as there are, or fewer: --serve-container=cpus=...",
        ),
        (
            "something new",
            "tiny cannot be launched: the Docker engine did not start its container",
            "to try by hand: docker run --rm",
        ),
    ],
)
def test_a_refusal_says_what_to_do(tmp_path: Path, said: str, what: str, next_step: str) -> None:
    """What the engine said is kept whole, and what to do about it stands beside."""
    error = faults.not_started(attempt(tmp_path), said)
    assert type(error) is LaunchError
    assert (error.what, error.seen) == (what, said)
    assert error.next_step.startswith(next_step)
    assert error.where == f"image tiny:1, log {tmp_path / 'server.log'}"


@pytest.mark.parametrize(
    "said",
    [
        "x (y): Error starting userland proxy: listen tcp4 127.0.0.1:22222: bind: address already in use",
        "x (y): Bind for 127.0.0.1:8000 failed: port is already allocated",
    ],
)
def test_a_port_that_is_taken_is_told_apart(tmp_path: Path, said: str) -> None:
    """A lost race is the error that is tried again."""
    assert isinstance(faults.not_started(attempt(tmp_path), said), PortTakenError)


def test_an_early_end_shows_the_log(tmp_path: Path) -> None:
    """Exit code, last lines, and a command to try by hand; for lack of memory the remedy is more of it."""
    error = faults.exited(attempt(tmp_path, "no model\n"), End(3))
    assert error.what == "tiny ended by itself with exit code 3 before it was ready"
    assert error.exit_code == 3
    assert error.seen == "its container ended; the last lines of its log:\n    no model"
    assert error.next_step.startswith("read its log; to try by hand: docker run --rm")
    starved = faults.exited(
        attempt(tmp_path), End(-9, "it was killed for lack of memory: its limit is 1 MiB")
    )
    assert "with signal SIGKILL" in starved.what
    assert starved.seen.startswith("it was killed for lack of memory: its limit is 1 MiB; the last")
    assert starved.next_step == "give containers more memory, or no limit: --serve-container=memory=..."


def test_a_deadline_names_an_engine_that_did_not_answer(tmp_path: Path) -> None:
    """Who waits in vain learns whether the server or the engine is silent."""
    late = Readiness(stage=Stage.TOO_LATE, elapsed_s=91, last_answer=ProbeAnswer(503, "Busy"))
    error = faults.not_ready(attempt(tmp_path, "loading\n"), 4001, late, "")
    assert error.what == "tiny was not ready after 90 s and was ended"
    assert error.where.startswith("GET http://127.0.0.1:4001/ready; image tiny:1")
    assert error.seen == "last answer: 503 Busy; the last lines of its log:\n    loading"
    silent = faults.not_ready(attempt(tmp_path), 4001, late, "the Docker engine does not answer")
    assert "503 Busy; the Docker engine does not answer; the last" in silent.seen
    assert silent.next_step == "see whether the engine answers: docker info"


@pytest.mark.parametrize(
    ("said", "what", "next_step"),
    [
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "model.plan for tiny_tensorrt cannot be made: the Docker engine gives no GPU to containers",
            GPU_REMEDY,
        ),
        ("it ended with exit code 1", "model.plan for tiny_tensorrt cannot be made", "read its log"),
    ],
)
def test_why_a_file_was_not_made_is_told(tmp_path: Path, said: str, what: str, next_step: str) -> None:
    """The preparation's own remedy, but where the engine is the trouble."""
    wanted = Preparation(
        name="tiny_tensorrt",
        image=ContainerImage(name="tiny:1"),
        argv=("build",),
        source=tmp_path / "model.onnx",
        source_sha256="abc",
        product="model.plan",
        next_step="read its log",
    )
    error = faults.not_prepared(wanted, PresentImage("tiny:1", "i"), tmp_path / "one.log", said)
    assert (error.what, error.seen, error.next_step) == (what, said, next_step)
    assert error.where == f"image tiny:1, log {tmp_path / 'one.log'}"


TOOL = "/usr/src/tensorrt/bin/trtexec"


@pytest.mark.parametrize(
    ("said", "is_missing"),
    [
        # The words of the engine, of its init (tini), of bash 5.2, an older one and dash as entry points.
        (f'OCI runtime create failed: exec: "{TOOL}": stat {TOOL}: no such file or directory: unknown', True),
        (f"exit code 127\n    [FATAL tini (7)] exec {TOOL} failed: No such file or directory", True),
        (f"exit code 127\n    line 67: exec: {TOOL}: cannot execute: No such file or directory", True),
        (f"exit code 127\n    /entry.sh: line 67: {TOOL}: No such file or directory", True),
        (f"exit code 127\n    /entry.sh: 5: exec: {TOOL}: not found", True),
        (
            f"exit code 127\n    {TOOL}: error while loading shared libraries: x: No such file or directory",
            False,
        ),
        (f"exit code 1\n    &&&& FAILED TensorRT.trtexec # {TOOL} --onnx=m: not found", False),
    ],
)
def test_an_image_without_the_tool_is_told_apart(tmp_path: Path, said: str, is_missing: bool) -> None:
    """Another image may have it, which an option names; a tool that fails is another matter."""
    wanted = Preparation(
        name="tiny_tensorrt",
        image=ContainerImage(name="tiny:1"),
        argv=(TOOL, "--onnx=m"),
        source=tmp_path / "model.onnx",
        source_sha256="abc",
        product="model.plan",
        next_step="read its log",
        next_step_without_tool="name another image",
    )
    error = faults.not_prepared(wanted, PresentImage("tiny:1", "i"), tmp_path / "one.log", said)
    assert isinstance(error, ToolMissingError) == is_missing
    assert error.seen == said
    if is_missing:
        assert error.what == f"model.plan for tiny_tensorrt cannot be made: the image has no {TOOL}"
        assert error.next_step == "name another image"
    else:
        assert error.next_step == "read its log"


def test_a_launcher_without_a_workshop_makes_nothing(tmp_path: Path) -> None:
    """It says so before it asks an engine."""
    wanted = Preparation(
        name="tiny_tensorrt",
        image=ContainerImage(name="tiny:1"),
        argv=("build",),
        source=tmp_path / "model.onnx",
        source_sha256="abc",
        product="model.plan",
        next_step="read its log",
    )
    with pytest.raises(LaunchError, match="no folder is there to keep it"):
        DockerLauncher(environment={}).prepare("tiny", wanted)


def test_no_free_ports() -> None:
    """An address that is not this machine's is no lack of ports."""
    foreign = faults.no_ports("tiny", "192.0.2.7", OSError(errno.EADDRNOTAVAIL, "Cannot assign"))
    assert foreign.what == "tiny cannot be launched: 192.0.2.7 is no address of this machine"
    assert "--serve-host" in foreign.next_step
    assert isinstance(faults.no_ports("tiny", "127.0.0.1", OSError(98, "in use")), PortTakenError)


@pytest.mark.parametrize("host", ["tcp://192.0.2.7:2375", "ssh://user@far"])
def test_a_remote_engine_is_refused_in_words(tmp_path: Path, host: str) -> None:
    """Before anything is created: it could not see the folder with the server's files."""
    launcher = DockerLauncher(environment={"DOCKER_HOST": host})
    with pytest.raises(LaunchError, match="the Docker engine is on another machine") as caught:
        launcher.start("tiny", SPEC, tmp_path / "work")
    assert caught.value.where == host
    assert "which it cannot see" in caught.value.seen
    assert "unix:///" in caught.value.next_step
    assert not (tmp_path / "work").exists()


def test_no_engine(tmp_path: Path) -> None:
    """A socket on which nobody listens is an error that says so and names the other launcher."""
    with pytest.raises(LaunchError, match="tiny cannot be launched: no Docker engine can be used") as caught:
        open_engine({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}, "tiny")
    assert "No such file or directory" in caught.value.seen
    assert "--serve-launcher=process" in caught.value.next_step


def test_a_launch_without_an_image(tmp_path: Path) -> None:
    """A stack that does not come as a container is refused, not run as something else."""
    bare = LaunchSpec(name="tiny", argv=("serve",), ready=ReadyCheck(path="/"))
    with pytest.raises(LaunchError, match="its launch names no image") as caught:
        DockerLauncher().start("tiny", bare, tmp_path)
    assert "Containerised" in caught.value.next_step


@pytest.fixture
def deaf_engine(tmp_path: Path) -> Iterator[str]:
    """Return the address of an engine that takes questions and answers none."""
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield f"unix://{path}"


def test_an_engine_that_hangs_is_given_up_on(deaf_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question ends by a time-out, in words."""
    pytest.importorskip("docker")
    monkeypatch.setattr(engine, "TIMEOUT_S", 0.1)
    asked = Engine({"DOCKER_HOST": deaf_engine})
    with pytest.raises(EngineError, match=f"the Docker engine at {deaf_engine} does not answer") as caught:
        asked.inspect("one")
    assert caught.value.status is None
    asked.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_for_the_engine(number: signal.Signals) -> None:
    """Ctrl-C, or what is heard as such, leaves once the container is made: only then can it be removed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def create() -> None:
        with container._uninterrupted():
            signal.raise_signal(number)
            done.append("created")

    done: list[str] = []
    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            create()
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert done == ["created"]


def test_what_to_install_for_a_gpu() -> None:
    """The remedy names the package, the command that tells the engine, and the restart."""
    for part in (
        "nvidia-container-toolkit",
        "nvidia-ctk runtime configure --runtime=docker",
        "restart the engine",
        "--serve-device=cpu",
    ):
        assert part in GPU_REMEDY
