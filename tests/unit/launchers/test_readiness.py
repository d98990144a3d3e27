from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_servebench.launchers import readiness
from pytest_servebench.launchers.readiness import (
    ProbeAnswer,
    Stage,
    decide,
    http_probe,
    wait_until_ready,
)
from tests.jumping_clock import JumpingClock

OK = ProbeAnswer(200, "OK")
BUSY = ProbeAnswer(503, "Service Unavailable")
REFUSED = ProbeAnswer(None, "connection refused")


@pytest.mark.parametrize(
    ("answer", "exit_code", "elapsed_s", "expected"),
    [
        (OK, None, 1.0, Stage.READY),
        (OK, None, 99.0, Stage.READY),
        (OK, 0, 1.0, Stage.ENDED),
        (REFUSED, 3, 1.0, Stage.ENDED),
        (REFUSED, None, 1.0, Stage.WAITING),
        (BUSY, None, 9.99, Stage.WAITING),
        (BUSY, None, 10.0, Stage.TOO_LATE),
        (ProbeAnswer(204, "No Content"), None, 1.0, Stage.WAITING),
    ],
)
def test_decides(answer: ProbeAnswer, exit_code: int | None, elapsed_s: float, expected: Stage) -> None:
    """Only a 200 of a server that lives is ready, and an end is an end whoever answers."""
    assert decide(answer, exit_code, elapsed_s, 10.0) is expected


def test_waits_until_the_first_200() -> None:
    """A server is ready at its first 200, after as many short waits as it needed."""
    answers = iter([REFUSED, BUSY, OK])
    clock = JumpingClock()
    found = wait_until_ready(probe=lambda: next(answers), exit_code=lambda: None, deadline_s=10, clock=clock)
    assert found.stage is Stage.READY
    assert clock.sleeps_s == [0.05, 0.05]
    assert found.elapsed_s == pytest.approx(0.1)


def test_gives_up_at_the_deadline_with_the_last_answer() -> None:
    """A server that stays busy is given up at its deadline, and what it said last is kept."""
    found = wait_until_ready(probe=lambda: BUSY, exit_code=lambda: None, deadline_s=90, clock=JumpingClock())
    assert found.stage is Stage.TOO_LATE
    assert 90 <= found.elapsed_s < 90.1
    assert str(found.last_answer) == "503 Service Unavailable"


def test_sees_an_end_at_the_next_look() -> None:
    """A server that ends while it is waited for is seen within one poll."""
    codes = iter([None, None, 7])
    clock = JumpingClock()
    found = wait_until_ready(probe=lambda: REFUSED, exit_code=lambda: next(codes), deadline_s=90, clock=clock)
    assert (found.stage, found.exit_code) == (Stage.ENDED, 7)
    assert clock.elapsed_s == pytest.approx(0.1)


def test_counts_from_the_launch() -> None:
    """The deadline counts from the launch, not from the first look."""
    clock = JumpingClock()
    clock.sleep_s(8)
    found = wait_until_ready(
        probe=lambda: BUSY, exit_code=lambda: None, deadline_s=8, clock=clock, began_ns=0
    )
    assert (found.stage, found.elapsed_s) == (Stage.TOO_LATE, 8)


@pytest.fixture
def serve_once() -> Iterator[Callable[[bytes | None], int]]:
    """Return a function that serves one connection with the given bytes (None: silence)."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()
    threads: list[threading.Thread] = []

    def start(reply: bytes | None) -> int:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                if reply is None:
                    done.wait(5)
                else:
                    connection.sendall(reply)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    done.set()
    for thread in threads:
        thread.join(5)
    listener.close()


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503 Busy"),
        (b"SSH-2.0-OpenSSH\r\n", "an answer that is not HTTP (BadStatusLine)"),
        (b"", "the connection was closed without an answer"),
        (None, "no answer within 0.05 s"),
    ],
)
def test_probe_says_what_it_saw(
    serve_once: Callable[[bytes | None], int],
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes | None,
    seen: str,
) -> None:
    """A look at a server never raises and never hangs; it says in words what was there."""
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_S", 0.05 if reply is None else 1.0)
    assert str(http_probe("127.0.0.1", serve_once(reply), "/ready")) == seen


def test_probe_of_a_closed_port() -> None:
    """A refused connection is an answer like any other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert str(http_probe("127.0.0.1", free.getsockname()[1], "/")) == "connection refused"


def test_probe_of_a_name_that_cannot_be_looked_up() -> None:
    """Python raises no `OSError` for it, and a look at a server never raises."""
    assert str(http_probe("gpu..lan", 80, "/")) == "no host can have that name"
