"""The process launcher with real processes and real faults."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import (
    LaunchError,
    PortTakenError,
    ServerExitedError,
    ServerNotReadyError,
)
from pytest_servebench.launchers.guarded import GuardedProcess
from pytest_servebench.launchers.ports import free_ports
from pytest_servebench.launchers.process import ProcessLauncher, ProcessServer, stop_all
from pytest_servebench.launchers.readiness import ProbeAnswer, http_probe
from tests.jumping_clock import JumpingClock
from tests.tiny_server import DAEMON, DEAF, LAST_WORD, RUNAWAY, noted_pid, tiny_spec

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """Return a working folder with a space in its path; whatever a test forgets is ended."""
    yield tmp_path / "a folder"
    stop_all()


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port on which somebody listens who answers 200 to everything."""
    argv = [sys.executable, "-I", "-S", "-c", STRANGER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout
        yield int(stranger.stdout.readline())
        stranger.kill()


STRANGER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    connection.close()
"""


class PickedPorts:
    """Hands out given ports first, then free ones; counts."""

    def __init__(self, *first: int) -> None:
        self._first = list(first)
        self.picks = 0

    def __call__(self, roles: Sequence[str]) -> Mapping[str, int]:
        self.picks += 1
        return {roles[0]: self._first.pop(0)} if self._first else free_ports(roles)


def ended(*pids: int) -> bool:
    """Return whether these processes are gone within two seconds."""
    for _ in range(100):
        alive = [psutil.Process(pid) for pid in pids if runs(pid)]
        if not alive:
            return True
        psutil.wait_procs(alive, timeout=0.02)
    return False


def runs(pid: int) -> bool:
    """Return whether a process runs; one that its parent has yet to reap does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def exit_code_of(server: ProcessServer) -> int | None:
    """Return the exit code of a server that ends within two seconds, else None."""
    clock = MonotonicClock()
    for _ in range(100):
        if server.exit_code() is not None:
            break
        clock.sleep_s(0.02)
    return server.exit_code()


def start(work: Path, habits: str = "", grace_s: float = 5.0) -> ProcessServer:
    """Return a running tiny server with these habits."""
    return ProcessLauncher().start("tiny", tiny_spec(habits, grace_s=grace_s), work)


def test_runs_apart_from_us(work: Path) -> None:
    """A server has a session and group of its own, no input, and its log in its folder."""
    server = start(work)
    pid = server.endpoint.pid
    assert pid == noted_pid(work, "server")
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert server.endpoint.log_path == work / "server.log"
    assert server.log_tail() == "serving"
    assert 0 < (server.endpoint.started_s or 0) < 10
    server.stop()
    assert ended(pid)
    assert server.log_tail() == "serving"


def test_environment_is_laid_over_ours(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server inherits our environment; what the spec says wins, PYTHONPATH included."""
    monkeypatch.setenv("PYTHONPATH", "ours")
    monkeypatch.setenv("SERVEBENCH_OURS", "a\nb")
    spec = tiny_spec(
        "print([os.environ.get(k) for k in ('PYTHONPATH', 'SERVEBENCH_OURS', 'PORT', 'EMPTY')])\n",
        environment={"PYTHONPATH": "theirs", "PORT": "${http_port}", "EMPTY": ""},
    )
    server = ProcessLauncher().start("tiny", spec, work)
    port = str(server.endpoint.ports["http"])
    assert server.log_tail(2).splitlines()[0] == repr(["theirs", "a\nb", port, ""])


def test_reports_an_early_end(work: Path) -> None:
    """A server that ends at start is reported within two seconds, with its code and its last word."""
    began_ns = MonotonicClock().now_ns()
    with pytest.raises(ServerExitedError) as caught:
        start(work, LAST_WORD)
    assert MonotonicClock().now_ns() - began_ns < 2e9
    assert caught.value.exit_code == 3
    assert caught.value.what == "tiny ended by itself with exit code 3 before it was ready"
    assert caught.value.where == f"log {work / 'server.log'}"
    assert caught.value.seen.endswith("I cannot find my model")
    assert "server.py" in caught.value.next_step


def test_names_the_signal_of_an_early_end(work: Path) -> None:
    """A server that a signal ended is reported by the signal's name."""
    with pytest.raises(ServerExitedError, match="with signal SIGSEGV before") as caught:
        start(work, "os.kill(os.getpid(), 11)\n")
    assert caught.value.exit_code == -signal.SIGSEGV


def test_an_early_end_takes_the_children_along(work: Path) -> None:
    """What a server had started before it ended at start is ended too, before the error leaves."""
    with pytest.raises(ServerExitedError):
        start(work, RUNAWAY + LAST_WORD, grace_s=0.1)
    assert not runs(noted_pid(work, "child"))


def test_its_own_child_is_no_stranger(work: Path) -> None:
    """A server that ends while a child of it holds the port has ended; it lost no race."""
    orphan = """
import socket
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if not os.fork():
    import signal
    signal.pause()
sys.exit(3)
"""
    ports = PickedPorts()
    with pytest.raises(ServerExitedError):
        ProcessLauncher(pick_ports=ports).start("tiny", tiny_spec(orphan), work)
    assert ports.picks == 1


def test_gives_up_at_the_deadline(work: Path) -> None:
    """A server that stays busy is ended at its deadline, and the error says what it answered last."""

    def patient_probe(host: str, port: int, path: str) -> ProbeAnswer:
        answer = http_probe(host, port, path)
        while answer.status is None:
            answer = http_probe(host, port, path)
        return answer

    launcher = ProcessLauncher(clock=JumpingClock(), probe=patient_probe)
    with pytest.raises(ServerNotReadyError) as caught:
        launcher.start("tiny", tiny_spec(path="/busy", deadline_s=9), work)
    assert caught.value.what == "tiny was not ready after 9 s and was ended"
    assert re.fullmatch(r"last answer: 503 Busy; the last lines of its log:\n +serving", caught.value.seen)
    assert f"127.0.0.1:{caught.value.where.split(':')[2].split('/')[0]}/busy" in caught.value.where
    assert not runs(noted_pid(work, "server"))


def test_an_interrupt_leaves_nothing(work: Path) -> None:
    """Ctrl-C while a server comes up ends it before the interrupt goes on."""

    def interrupted(host: str, port: int, path: str) -> ProbeAnswer:
        if http_probe(host, port, path).status is None:
            return ProbeAnswer(None, "not yet")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ProcessLauncher(probe=interrupted).start("tiny", tiny_spec(), work)
    assert not runs(noted_pid(work, "server"))


def test_a_taken_port_is_tried_elsewhere(work: Path, taken: int) -> None:
    """A server that loses the race for its port comes up on another one."""
    ports = PickedPorts(taken, taken)
    server = ProcessLauncher(pick_ports=ports).start("tiny", tiny_spec(), work)
    assert ports.picks == 3
    assert server.endpoint.ports["http"] != taken


def test_a_stranger_is_not_taken_for_the_server(work: Path, taken: int) -> None:
    """Somebody else's 200 on the port counts as a lost race, not as ready: nobody else is measured."""
    ports = PickedPorts(taken)
    slow = f"if sys.argv[1] == '{taken}': __import__('signal').pause()\n"
    server = ProcessLauncher(pick_ports=ports).start("tiny", tiny_spec(slow), work)
    assert ports.picks == 2
    assert server.endpoint.ports["http"] != taken


def test_gives_up_on_ports_that_stay_taken(work: Path, taken: int) -> None:
    """After three more tries the error says which port, and how to find who has it."""
    ports = PickedPorts(*[taken] * 4)
    with pytest.raises(PortTakenError) as caught:
        ProcessLauncher(pick_ports=ports).start("tiny", tiny_spec(), work)
    assert ports.picks == 4
    assert f"ports http {taken}" in caught.value.where
    assert caught.value.next_step == "find who listens: ss -tlnp"


def test_no_free_port(work: Path) -> None:
    """A machine without a free port is an error in words."""

    def none_left(roles: Sequence[str]) -> Mapping[str, int]:
        raise OSError(98, "Address already in use")

    with pytest.raises(PortTakenError, match="no free port"):
        ProcessLauncher(pick_ports=none_left).start("tiny", tiny_spec(), work)


def test_names_a_missing_executable(work: Path) -> None:
    """A program that is not there is an error that names it and says what to do."""
    spec = replace(tiny_spec(), argv=("no-such-server", "--port=${http_port}"))
    with pytest.raises(LaunchError) as caught:
        ProcessLauncher().start("tiny", spec, work)
    assert caught.value.what == "tiny cannot be launched: 'no-such-server' cannot be executed"
    assert caught.value.seen == "No such file or directory"
    assert caught.value.next_step == "install it, or put its folder on PATH"


def test_no_space_for_the_log(work: Path) -> None:
    """A full disk is reported before anything is started."""
    work.mkdir()
    (work / "server.log").symlink_to("/dev/full")
    with pytest.raises(LaunchError, match="its log cannot be written"):
        start(work)
    assert not (work / "server.pid").exists()


def test_kills_what_does_not_hear_term(work: Path) -> None:
    """A server that hangs on TERM is killed after its grace."""
    server = start(work, DEAF, grace_s=0.1)
    server.stop()
    assert not runs(noted_pid(work, "server"))


def test_gives_the_grace_it_promised(work: Path) -> None:
    """A server that tidies up on TERM is not killed while its grace lasts."""
    tidy = """
import signal
def bye(*_):
    note("tidied.pid", 1)
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
"""
    start(work, tidy).stop()
    assert (work / "tidied.pid").exists()


@pytest.mark.parametrize(("habit", "name"), [(RUNAWAY, "child"), (DAEMON, "daemon")])
def test_ends_who_left_the_group(work: Path, habit: str, name: str) -> None:
    """A child in a session of its own is ended too, even one whose parent is gone."""
    server = start(work, habit, grace_s=0.1)
    pid = noted_pid(work, name)
    assert os.getsid(pid) != server.endpoint.pid
    server.stop()
    assert not runs(pid)


def test_sees_a_death_in_the_middle(work: Path) -> None:
    """A server that dies later has an exit code from then on, also after the stop."""
    server = start(work)
    assert server.endpoint.pid
    assert server.exit_code() is None
    os.kill(server.endpoint.pid, signal.SIGKILL)
    assert exit_code_of(server) == -signal.SIGKILL
    server.stop()
    assert server.exit_code() == -signal.SIGKILL


def test_survives_the_loss_of_its_guardian(work: Path) -> None:
    """When the guardian itself is killed the server dies with it, and a stop ends the rest."""
    server = start(work, RUNAWAY, grace_s=0.1)
    pid = noted_pid(work, "server")
    guardian = psutil.Process(pid).parent()
    assert guardian
    guardian.kill()
    assert ended(pid)
    assert exit_code_of(server) == -signal.SIGKILL
    server.stop()
    assert not runs(noted_pid(work, "child"))


def test_restarts_on_the_same_name(work: Path) -> None:
    """Two servers after each other in one folder get on, and the log keeps both."""
    for _ in range(2):
        server = start(work)
        server.stop()
        server.stop()
    assert (work / "server.log").read_text().count("# servebench starts tiny") == 2


def test_stop_all_ends_whatever_still_runs(tmp_path: Path) -> None:
    """One call ends every server of this process, deaf ones together and not one after the other."""
    for name in "abc":
        start(tmp_path / name, DEAF, grace_s=0.3)
    began_ns = MonotonicClock().now_ns()
    stop_all()
    assert MonotonicClock().now_ns() - began_ns < 0.8e9
    assert not any(runs(noted_pid(tmp_path / name, "server")) for name in "abc")


OWNER = """
import os, signal, sys
from pathlib import Path
from pytest_servebench.launchers.process import ProcessLauncher
from tests.tiny_server import DAEMON, DEAF, RUNAWAY, tiny_spec
spec = tiny_spec(DEAF + RUNAWAY + DAEMON, grace_s=0.2)
server = ProcessLauncher().start("tiny", spec, Path(sys.argv[1]))
"""


def run_owner(work: Path, then: str) -> subprocess.Popen[str]:
    """Start a process that owns a deaf server with two runaways and then does ``then``."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER) + then, str(work)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def pids(work: Path) -> tuple[int, ...]:
    """Return the process ids that the owner's server noted."""
    return tuple(noted_pid(work, name) for name in ("server", "child", "daemon"))


def test_ends_with_a_killed_owner(work: Path) -> None:
    """When our own process is killed by SIGKILL nothing of a server is left two seconds later."""
    with run_owner(work, "print('up', flush=True); signal.pause()") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "up\n"
        guardian = psutil.Process(noted_pid(work, "server")).ppid()
        owner.kill()
    assert ended(*pids(work), guardian)


def test_ends_with_a_killed_owner_that_had_forked(work: Path) -> None:
    """A forked load worker that outlives its parent does not keep the server alive."""
    then = "pid = os.fork() or signal.pause(); print(pid, flush=True); signal.pause()"
    with run_owner(work, then) as owner:
        assert owner.stdout
        worker = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
        try:
            assert ended(*pids(work))
            assert worker.is_running()
        finally:
            worker.kill()


def test_ends_with_an_owner_that_forgets_it(work: Path) -> None:
    """A process that ends without a stop has ended its servers when it is gone."""
    with run_owner(work, "") as owner:
        assert owner.wait(5) == 0
    assert not any(map(runs, pids(work)))


def test_a_forked_copy_ends_nothing(work: Path) -> None:
    """A fork of our process that ends, or calls stop, leaves its parent's server alone."""
    then = """
pid = os.fork()
if not pid:
    server.stop()
    sys.exit(0)
os.waitpid(pid, 0)
print(server.exit_code(), Path(f"/proc/{server.endpoint.pid}").exists(), flush=True)
"""
    with run_owner(work, then) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "None True\n"


def test_leaves_no_descriptor_behind(work: Path) -> None:
    """A server that came and went leaves no open file or socket in our process."""
    start(work).stop()
    before = psutil.Process().num_fds()
    start(work).stop()
    with pytest.raises(ServerExitedError):
        start(work, LAST_WORD)
    assert psutil.Process().num_fds() == before


def test_its_port_is_free_after_the_stop(work: Path) -> None:
    """Nobody listens on the server's port once stop returned."""
    server = start(work)
    port = server.endpoint.ports["http"]
    server.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass


def test_a_stop_right_after_the_start_is_heard(work: Path) -> None:
    """TERM is not lost on a program that has only just been started: no grace is waited out."""
    argv = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
    began_ns = MonotonicClock().now_ns()
    work.mkdir()
    with (work / "log").open("wb", buffering=0) as log:
        for _ in range(10):
            process = GuardedProcess(argv, environment={}, workdir=work, log=log, grace_s=30)
            process.wait_started()
            process.stop()
    assert MonotonicClock().now_ns() - began_ns < 5e9
