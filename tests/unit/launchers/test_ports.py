from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from pytest_servebench.launchers.ports import belongs_to, free_ports, is_taken, lost_the_race


def test_gives_each_role_its_own_free_port() -> None:
    """Roles of one server never share a port, and nobody listens on any of them."""
    ports = free_ports(("http", "grpc", "metrics"))
    assert list(ports) == ["http", "grpc", "metrics"]
    assert len(set(ports.values())) == 3
    assert not any(map(is_taken, ports.values()))


def test_sees_a_taken_port() -> None:
    """A port on which somebody listens is taken, and free again when they end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert is_taken(port)
    assert not is_taken(port)


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 98] Address already in use",
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "java.net.BindException: Address already in use",
        "failed to start HTTP service: Unavailable - Socket '127.0.0.1:8000' already in use",
        "Error: listen EADDRINUSE: 127.0.0.1:8000",
    ],
)
def test_knows_the_words_of_a_lost_race(line: str) -> None:
    """Each server's own words for a taken port count as one."""
    assert lost_the_race(f"starting\n{line}\nbye", ())


def test_another_end_is_no_lost_race() -> None:
    """A server that ends for another reason, with its ports free, lost no race."""
    assert not lost_the_race(
        "ImportError: No module named 'torch' (errno 980)", free_ports(("http",)).values()
    )


def test_a_port_taken_in_silence_is_a_lost_race() -> None:
    """A server that ends without a word, on a port somebody holds, lost the race."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert lost_the_race("", [listener.getsockname()[1]])


def test_knows_whose_port_it_is() -> None:
    """A listener belongs to the process tree that opened it, and to nobody else."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as stranger,
    ):
        port = listener.getsockname()[1]
        assert belongs_to(os.getpid(), port)
        assert not belongs_to(stranger.pid, port)
        stranger.kill()
    assert not belongs_to(stranger.pid, port)
