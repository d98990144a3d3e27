"""The process launcher among others who listen on the same machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_servebench.errors import (
    PortTakenError,
    ServerExitedError,
)
from pytest_servebench.launchers.ports import free_ports
from pytest_servebench.launchers.process import ProcessLauncher
from tests.tiny_server import start_tiny, tiny_spec

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("nothing_left")]


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


def test_its_port_is_free_after_the_stop(work: Path) -> None:
    """Nobody listens on the server's port once stop returned."""
    server = start_tiny(work)
    port = server.endpoint.ports["http"]
    server.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass
