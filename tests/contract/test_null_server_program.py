"""The null server as a program: real clients over both protocols, and its end with its owner's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import psutil
import pytest

from pytest_servebench import ceiling
from pytest_servebench.ceiling import Ceilings, length_of, null_server
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.samples import Outcome, Reply
from tests.loads import Onlooker
from tests.processes import ended, runs

LOAD = Load(concurrency=3, warmup_s=0.05, duration_s=0.2, timeout_s=5.0, verify_share=1.0)
METHOD = "/inference.GRPCInferenceService/ModelInfer"

each_protocol = pytest.mark.parametrize("protocol", list(WireProtocol), ids=str)


def requests(protocol: WireProtocol, *sizes: int) -> list[WireRequest]:
    """Return a request of each size."""
    return [WireRequest(protocol=protocol, path=METHOD, body=b"x" * n, port_role="p") for n in sizes]


@each_protocol
@pytest.mark.parametrize("size", [0, 500, 60_000, 5_000_000])
def test_a_load_is_answered_with_replies_of_the_length_asked_for(protocol: WireProtocol, size: int) -> None:
    """By the driver that measures real servers: no failure, and every reply is as long as the real one."""
    asked = requests(protocol, size, size + 1)
    with null_server(protocol, "p", 4161) as endpoint:
        samples = LoadDriver().run(endpoint, asked, LOAD, Onlooker())
    assert samples.first_error == ""
    assert (samples.outcome == Outcome.OK).all()
    assert len(samples.replies) > 2
    assert {length_of(reply, protocol) for reply in samples.replies.values()} == {4161}


@pytest.mark.parametrize("reply_bytes", [0, 1, 70_000, 3_000_000])
def test_grpc_replies_of_any_length_come_whole(reply_bytes: int) -> None:
    """Longer than a frame and than a window too, many calls side by side on one connection."""
    with null_server(WireProtocol.GRPC, "grpc", reply_bytes) as endpoint:
        options = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(endpoint.authority("grpc"), options=options) as channel:
            call = channel.unary_unary(METHOD)
            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(lambda n: call(bytes(n * 9000), timeout=20), range(40)))
    assert [len(reply) for reply in replies] == [reply_bytes] * 40


def test_it_listens_on_loopback_alone() -> None:
    """Nothing of a benchmark is to be reached from a network."""
    with null_server(WireProtocol.HTTP, "http", 100) as endpoint:
        (server,) = children()
        (listening,) = [one for one in server.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        assert (listening.laddr.ip, listening.laddr.port) == ("127.0.0.1", endpoint.ports["http"])


def children() -> list[psutil.Process]:
    """Return the null servers of this process."""
    found = psutil.Process().children()
    return [one for one in found if "pytest_servebench.load.null_server" in one.cmdline()]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_it_ends_with_its_block(error: BaseException | None) -> None:
    """Whatever ends the block, no process is left when it is over."""

    def block() -> None:
        with null_server(WireProtocol.HTTP, "http", 100):
            seen.extend(children())
            if error is not None:
                raise error

    seen: list[psutil.Process] = []
    if error is None:
        block()
    else:
        with pytest.raises(KeyboardInterrupt):
            block()
    assert len(seen) == 1
    assert not runs(seen[0].pid)


@pytest.mark.parametrize("held_open", [False, True])
def test_it_ends_when_its_owner_is_killed(held_open: bool) -> None:
    """By the end of its standard input, and by the owner's death alone when a fork keeps that open."""
    program = (
        "import os, signal, sys\n"
        "from pytest_servebench.ceiling import null_server\n"
        "from pytest_servebench.plan import WireProtocol\n"
        "import psutil\n"
        "with null_server(WireProtocol.HTTP, 'http', 100):\n"
        "    (server,) = psutil.Process().children()\n"
        f"    forked = os.fork() if {held_open} else 1\n"
        "    if forked == 0:\n"
        "        os.closerange(1, 3)\n"
        "        signal.alarm(30)\n"
        "        signal.pause()\n"
        "    print(server.pid, forked, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(ceiling.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )
    pid, forked = map(int, done.stdout.split())
    try:
        assert ended(pid, within_s=10)
    finally:
        if held_open:
            os.kill(forked, signal.SIGKILL)


@each_protocol
def test_a_ceiling_is_measured_with_the_real_driver(protocol: WireProtocol) -> None:
    """A figure, from requests that a real server would get; nothing runs on after it."""
    found = Ceilings(LoadDriver()).of(requests(protocol, 1000), Reply(200, {}, b"x" * 500), LOAD)
    assert found.absent == ""
    assert found.per_s is not None
    assert found.per_s > 50, "a server that does nothing answers more than ResNet50 on any machine"
    assert children() == []


def test_a_ceiling_needs_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not start is a reason in words, never a failed case."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = Ceilings(LoadDriver()).of(requests(WireProtocol.HTTP, 1), Reply(200, {}, b""), LOAD)
    assert found.per_s is None
    assert found.absent.startswith("the null server could not be loaded: The null server did not start.")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = Ceilings(LoadDriver()).of(requests(WireProtocol.HTTP, 1), Reply(200, {}, b""), LOAD)
    assert "No such file" in found.absent


def test_a_driver_that_cannot_send_has_no_ceiling() -> None:
    """What a load refuses is a reason, too."""
    found = Ceilings(LoadDriver()).of(
        requests(WireProtocol.HTTP, 1), Reply(200, {}, b""), replace(LOAD, concurrency=0)
    )
    assert found.per_s is None
    assert "at least one request in flight" in found.absent
