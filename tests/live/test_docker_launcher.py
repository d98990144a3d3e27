"""The docker launcher brings real containers up, and leaves none behind."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_servebench.containers import ContainerSettings, Network
from pytest_servebench.errors import LaunchError, ServerExitedError, ServerNotReadyError
from pytest_servebench.launchers.docker import DockerLauncher, container
from pytest_servebench.launchers.docker.container import End, end_of
from pytest_servebench.launchers.docker.engine import Engine
from pytest_servebench.launchers.docker.request import Surround, container_request
from pytest_servebench.launchers.readiness import ProbeAnswer, http_probe
from pytest_servebench.plan import Device
from pytest_servebench.results import Endpoint
from tests.engine import BASE
from tests.jumping_clock import JumpingClock
from tests.processes import exit_code_of
from tests.tiny_container import container_spec

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.usefixtures("label")]


def left(client: Any, labels: dict[str, str]) -> list[str]:
    """Return the states of containers with these labels, those in `created` among them."""
    wanted = [f"{key}={value}" for key, value in labels.items()]
    found = client.containers.list(all=True, filters={"label": wanted})
    return [one.status for one in found]


def get(endpoint: Endpoint, path: str) -> bytes:
    """Return the body of a reply."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.ports["http"], timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_container_is_as_was_asked_for(client: Any, label: dict[str, str], work: Path) -> None:
    """What the engine made: one loopback port per role, a read-only folder, a user, no privileges, limits."""
    settings = ContainerSettings(memory_bytes=2**28, cpus=0.5, shm_bytes=2**26, user="1234:1235")
    launcher = DockerLauncher(settings=settings, labels=label, cpu_set="0")
    spec = container_spec(
        "scratch=logs", "scratch=/var/one", port_roles=("http", "metrics"), scratch=("logs", "/var/one")
    )
    server = launcher.start("tiny", spec, work)
    facts = server.endpoint.container
    assert facts is not None
    made = client.api.inspect_container(facts.id)
    host = made["HostConfig"]
    bindings = {port: [one["HostIp"] for one in found] for port, found in host["PortBindings"].items()}
    assert bindings == {"8000/tcp": ["127.0.0.1"], "8001/tcp": ["127.0.0.1"]}
    assert [(m["Destination"], m["RW"]) for m in made["Mounts"] if m["Type"] == "bind"] == [
        ("/servebench", False)
    ]
    assert (host["SecurityOpt"], host["CapDrop"]) == (["no-new-privileges"], ["ALL"])
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2**28, 2**28, 500_000_000)
    assert (host["ShmSize"], host["Init"], host["CpusetCpus"]) == (2**26, True, "0")
    assert not host["DeviceRequests"]
    assert label.items() <= made["Config"]["Labels"].items()
    assert (facts.image, facts.user, facts.cpu_set) == (BASE, "1234:1235", "0")
    assert facts.image_id == made["Image"] == client.images.get(BASE).id
    server.stop()


def test_its_first_process_is_known_and_measurable(label: dict[str, str], work: Path) -> None:
    """On this machine's engine the pid is that of the container, and the server is below it."""
    server = DockerLauncher(labels=label).start("tiny", container_spec(), work)
    pid, facts = server.endpoint.pid, server.endpoint.container
    assert pid is not None
    assert facts is not None
    assert facts.id in Path(f"/proc/{pid}/cgroup").read_text()
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert any("/servebench/server.py" in process.cmdline() for process in tree)
    server.stop()
    assert not any(process.is_running() for process in tree)


def test_logs_follow_into_the_private_folder(label: dict[str, str], work: Path) -> None:
    """What the server writes is in the file while it runs; a second start's tail is its own."""
    launcher = DockerLauncher(labels=label)
    for habit in ("first", "second"):
        server = launcher.start("tiny", container_spec(habit), work)
        server.stop()
        assert server.log_tail() == f"serving {habit}"
    assert server.endpoint.log_path == work / "server.log"
    text = (work / "server.log").read_text()
    assert text.count("# servebench starts tiny: ") == 2
    assert "serving first" in text


def test_a_gpu_is_asked_for_by_its_number(client: Any, label: dict[str, str], work: Path) -> None:
    """cuda:1 is a device request for GPU 1 and no other; created, not started: no GPU is needed to see it."""
    work.mkdir()
    surround = Surround(
        settings=ContainerSettings(),
        device=Device("cuda", 1),
        host="127.0.0.1",
        user="1000:1000",
        labels=label,
    )
    request = container_request(
        container_spec(), surround, name=f"servebench-test-{id(work)}", image_id=BASE, ports={}, workdir=work
    )
    engine = Engine()
    container_id = engine.create(request.container, request.host)
    try:
        made = client.api.inspect_container(container_id)
    finally:
        engine.remove(container_id)
        engine.close()
    (asked,) = made["HostConfig"]["DeviceRequests"]
    assert (asked["Driver"], asked["DeviceIDs"], asked["Count"]) == ("nvidia", ["1"], 0)
    assert asked["Capabilities"] == [["gpu"]]
    assert not any(word.startswith("NVIDIA_VISIBLE_DEVICES") for word in made["Config"]["Env"] or ())


def test_without_the_nvidia_toolkit_the_error_says_what_to_install(
    client: Any, label: dict[str, str], work: Path
) -> None:
    """The engine's refusal comes after it made the container; nothing is left in state created."""
    if "nvidia" in client.info().get("Runtimes", {}):
        pytest.skip("this engine has the NVIDIA toolkit")
    with pytest.raises(LaunchError) as caught:
        DockerLauncher(labels=label, device=Device("cuda")).start("tiny", container_spec(), work)
    assert caught.value.what == "tiny cannot be launched: the Docker engine gives no GPU to containers"
    assert caught.value.seen == 'could not select device driver "nvidia" with capabilities: [[gpu]]'
    assert "nvidia-container-toolkit" in caught.value.next_step
    assert left(client, label) == []


@pytest.mark.parametrize(
    ("refused", "remedy"),
    [
        (
            {"settings": ContainerSettings(user="nobody-here")},
            "give UID:GID, or image for whom the image names: --serve-container=user=...",
        ),
        (
            {"settings": ContainerSettings(cpus=1000.0)},
            "give containers as many CPUs as there are, or fewer: --serve-container=cpus=...",
        ),
        ({"cpu_set": "4000"}, "give cores that there are: lscpu"),
    ],
)
def test_a_refused_setting_leaves_nothing(
    client: Any, label: dict[str, str], work: Path, refused: dict[str, Any], remedy: str
) -> None:
    """Whether the engine refuses to create or to start, it is told in words and no container is left."""
    launcher = DockerLauncher(labels=label, **refused)
    with pytest.raises(LaunchError, match="did not start its container") as caught:
        launcher.start("tiny", container_spec(), work)
    assert caught.value.next_step == remedy
    assert left(client, label) == []


def test_an_early_end_is_reported_fast(
    label: dict[str, str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 3 s of the container's own end, its removal included; a start may take as long as it takes."""
    ends: list[str] = []

    def read_end(seen: Mapping[str, Any] | None) -> End | None:
        end = end_of(seen)
        if end is not None and seen is not None:
            ends.append(seen["State"]["FinishedAt"])
        return end

    monkeypatch.setattr(container, "end_of", read_end)
    for attempt in range(3):
        with pytest.raises(ServerExitedError) as caught:
            DockerLauncher(labels=label).start("tiny", container_spec("exit", deadline_s=90), work)
        took_s = time.time() - epoch_s(ends[attempt])
        sys.stdout.write(f"an exit was reported after {took_s:.2f} s\n")  # shown by pytest -rP
        if took_s < 3:
            break
    assert took_s < 3
    assert caught.value.exit_code == 3
    assert caught.value.what == "tiny ended by itself with exit code 3 before it was ready"
    assert caught.value.seen.endswith("I cannot find my model")
    assert "docker run --rm" in caught.value.next_step


def epoch_s(told: str) -> float:
    """Return a time as the engine tells it, in seconds since 1970."""
    # It tells as many digits of a second as it takes, which Python 3.10 does not read.
    return datetime.fromisoformat(f"{told[:19]}+00:00").timestamp() + float(f"0{told[19:].rstrip('Z')}")


def test_a_missing_program_is_an_early_end(label: dict[str, str], work: Path) -> None:
    """An argv that the image does not have: the init's word on it is in the error."""
    spec = replace(container_spec(), argv=("no-such-server",))
    with pytest.raises(ServerExitedError, match="no-such-server"):
        DockerLauncher(labels=label).start("tiny", spec, work)


def test_the_private_folder_cannot_be_written_to(label: dict[str, str], work: Path) -> None:
    """Also a server that is root inside its container does not change its models or handlers."""
    launcher = DockerLauncher(settings=ContainerSettings(user="0:0"), labels=label)
    with pytest.raises(ServerExitedError, match="Read-only file system"):
        launcher.start("tiny", container_spec("scratch=/servebench"), work)


def test_lack_of_memory_is_named(client: Any, label: dict[str, str], work: Path) -> None:
    """A server that hits its memory limit is told apart from one that was killed."""
    if not client.info().get("MemoryLimit"):
        pytest.skip("this engine cannot limit memory")
    launcher = DockerLauncher(settings=ContainerSettings(memory_bytes=2**26), labels=label)
    with pytest.raises(ServerExitedError) as caught:
        launcher.start("tiny", container_spec("eat"), work)
    assert caught.value.what == "tiny ended by itself with signal SIGKILL before it was ready"
    assert "killed for lack of memory: its limit is 64 MiB" in caught.value.seen
    assert caught.value.next_step == "give containers more memory, or no limit: --serve-container=memory=..."


def test_gives_up_at_the_deadline(client: Any, label: dict[str, str], work: Path) -> None:
    """A server that stays busy is removed at its deadline, and the error says what it answered last."""

    def patient_probe(host: str, port: int, path: str) -> ProbeAnswer:
        answer = http_probe(host, port, path)
        while answer.status is None:
            answer = http_probe(host, port, path)
        return answer

    launcher = DockerLauncher(clock=JumpingClock(), probe=patient_probe, labels=label)
    with pytest.raises(ServerNotReadyError) as caught:
        launcher.start("tiny", container_spec(path="/busy", deadline_s=9), work)
    assert caught.value.what == "tiny was not ready after 9 s and was ended"
    assert re.fullmatch(r"last answer: 503 Busy; the last lines of its log:\n +serving", caught.value.seen)
    assert left(client, label) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whatever_ends_a_start_leaves_nothing(
    client: Any, label: dict[str, str], work: Path, error: type[BaseException]
) -> None:
    """Ctrl-C while a server comes up removes its container before it goes on."""

    def broken(_host: str, _port: int, _path: str) -> ProbeAnswer:
        raise error

    with pytest.raises(error):
        DockerLauncher(probe=broken, labels=label).start("tiny", container_spec(), work)
    assert left(client, label) == []


def test_an_interrupt_while_it_is_created_leaves_nothing(
    client: Any, label: dict[str, str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C that comes while the engine makes the container is heard once it can be removed."""
    create = Engine.create

    def interrupted(self: Engine, *arguments: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return create(self, *arguments)

    monkeypatch.setattr(Engine, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DockerLauncher(labels=label).start("tiny", container_spec(), work)
    assert left(client, label) == []


def test_an_end_in_the_middle_is_seen(label: dict[str, str], work: Path) -> None:
    """A server that dies while it serves has its exit code and its last word, also after the stop."""
    server = DockerLauncher(labels=label).start("tiny", container_spec(), work)
    with pytest.raises(http.client.RemoteDisconnected):
        get(server.endpoint, "/die")
    assert exit_code_of(server, within_s=10) == 7
    assert server.log_tail(1) == "told to die"
    server.stop()
    assert server.exit_code() == 7


def test_one_that_somebody_else_removed_has_ended(client: Any, label: dict[str, str], work: Path) -> None:
    """A container that goes by docker rm --force is an end, and the log says so; the stop is no error."""
    server = DockerLauncher(labels=label).start("tiny", container_spec(), work)
    assert server.endpoint.container is not None
    client.api.remove_container(server.endpoint.container.id, force=True)
    assert server.exit_code() == -9
    assert server.log_tail(1) == "# servebench: the container was removed by somebody else"
    server.stop()


def test_one_that_does_not_hear_is_killed(client: Any, label: dict[str, str], work: Path) -> None:
    """TERM, the grace, then KILL: nothing outlives a stop."""
    server = DockerLauncher(labels=label).start("tiny", container_spec("deaf", grace_s=0.1), work)
    server.stop()
    assert left(client, label) == []
    assert server.exit_code() is None


def test_a_process_that_exits_takes_its_containers_along(
    client: Any, label: dict[str, str], work: Path
) -> None:
    """What nobody stopped is removed when the interpreter exits, after an error too."""
    script = f"""
from pathlib import Path
from pytest_servebench.launchers.docker import DockerLauncher
from tests.tiny_container import container_spec
server = DockerLauncher(labels={label!r}).start("tiny", container_spec(), Path({str(work)!r}))
raise SystemExit(f"up: {{server.endpoint.container.id}}")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert re.search(r"up: [0-9a-f]{64}$", done.stderr.strip()), done.stderr
    assert left(client, label) == []


def test_files_reach_the_container_copied_or_linked(label: dict[str, str], work: Path) -> None:
    """The program that runs came by a hard link or a copy; a folder that only we may enter is no obstacle."""
    work.mkdir(mode=0o700)
    launcher = DockerLauncher(settings=ContainerSettings(user="4321:4321"), labels=label)
    (program,) = container_spec().files
    for file in (program, replace(program, copy=True)):
        spec = replace(container_spec(), files=(file,))
        server = launcher.start("tiny", spec, work)
        assert not (work / "server.py").is_symlink()
        server.stop()


@pytest.mark.parametrize("override", ["0", None])
def test_whether_tf32_is_forbidden_is_what_the_engine_shows(
    label: dict[str, str], work: Path, override: str | None
) -> None:
    """Read back from the container that runs: what fp32 is computed in on a GPU follows from it."""
    launcher = DockerLauncher(settings=ContainerSettings(network=Network.HOST), labels=label)
    environment = {} if override is None else {"NVIDIA_TF32_OVERRIDE": override}
    server = launcher.start("tiny", container_spec(environment=environment), work)
    assert server.endpoint.container is not None
    assert server.endpoint.container.tf32_override == override
    server.stop()


def test_the_network_of_this_machine(label: dict[str, str], work: Path) -> None:
    """network=host is a free port of this machine, no published one, and the record says so."""
    launcher = DockerLauncher(settings=ContainerSettings(network=Network.HOST), labels=label)
    server = launcher.start("tiny", container_spec(), work)
    endpoint = server.endpoint
    assert endpoint.container is not None
    assert endpoint.container.network is Network.HOST
    assert endpoint.host == "127.0.0.1"
    assert http_probe("127.0.0.1", endpoint.ports["http"], "/ready").status == 200
    server.stop()
