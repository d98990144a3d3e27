"""Regions of shared memory: there while a case is asked, and gone after it, whatever happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.containers import ContainerFacts, Network
from pytest_servebench.errors import ControlError, LoadError
from pytest_servebench.plan import WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply
from pytest_servebench.sharing import shared_memory
from pytest_servebench.sharing.shared_memory import (
    FOLDER,
    TAKE_BACK_PAUSE_S,
    TAKE_BACK_TRIES,
    next_region,
    remove_leftovers,
    sharing,
)
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from tests.jumping_clock import JumpingClock

HERE = Endpoint(stack="triton", host="127.0.0.1", ports={"http": 1}, launcher="process")
TENSORS = tuple(np.full((3, 2, 2), i, np.float32) for i in range(4))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test does, /dev/shm holds afterwards what it held before."""
    before = ours()
    yield
    assert ours() == before


def ours() -> list[str]:
    """Return the names of this process's regions."""
    return [path.name for path in FOLDER.glob(f"servebench-{os.getpid()}-*")]


def told(verb: str) -> WireRequest:
    """Return a request of that path."""
    return WireRequest(protocol=WireProtocol.HTTP, path=f"/{verb}", body=b"")


def described() -> SharedRequests:
    """Return a region of a new name."""
    return SharedRequests(
        region=next_region(),
        tensors=TENSORS,
        requests=(),
        register=told("register"),
        unregister=told("unregister"),
    )


def driver(answer: Callable[[WireRequest], Reply] = lambda _: Reply(200, {}, b"")) -> FakeDriver:
    """Return a driver whose server answers so."""
    return FakeDriver(answering=lambda _, request: answer(request), clock=FakeClock())


def said(one: FakeDriver) -> list[str]:
    """Return what the server was told."""
    return [request.path for _, request in one.exchanged]


def in_container(user: str) -> Endpoint:
    """Return a server that runs in a container as ``user``."""
    facts = ContainerFacts(id="c", image="i:1", image_id="sha256:1", network=Network.BRIDGE, user=user)
    return replace(HERE, launcher="docker", container=facts)


@pytest.mark.parametrize(
    ("user", "owner"), [("1234:5", 1234), ("1234", 1234), (f"{os.geteuid()}:7", None), ("triton", None)]
)
def test_a_region_is_given_to_the_user_of_a_container(
    user: str, owner: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that runs as somebody else could not open what its maker alone may."""
    given: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((path, uid, gid)))
    shared = described()
    with sharing(shared, in_container(user), driver()):
        pass
    assert given == ([] if owner is None else [(FOLDER / shared.region, owner, -1)])


def test_who_may_not_give_a_region_away_leaves_it_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can; else the server is told, and its own refusal is what is reported."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refused)
    asked = driver()
    with sharing(described(), in_container("1234"), asked):
        assert said(asked) == ["/register"]


def test_the_tensors_lie_in_the_region_one_after_another() -> None:
    """Any process finds them by the region's name until the block ends; the server is told of both."""
    asked, shared = driver(), described()
    with sharing(shared, HERE, asked):
        content = np.frombuffer((FOLDER / shared.region).read_bytes(), np.float32)
        assert np.array_equal(content[: 4 * 12], np.concatenate([tensor.ravel() for tensor in TENSORS]))
        assert said(asked) == ["/register"]
    assert said(asked) == ["/register", "/unregister"]


@pytest.mark.parametrize("error", [LoadError("no"), KeyboardInterrupt(), SystemExit(2)])
def test_a_region_goes_whatever_ends_the_case(error: BaseException) -> None:
    """After a failure and after Ctrl-C the server is told, and nothing is left."""
    asked = driver()
    with pytest.raises(type(error)), sharing(described(), HERE, asked):
        raise error
    assert said(asked) == ["/register", "/unregister"]


def test_a_server_that_takes_no_clients_memory_is_told_how_it_would() -> None:
    """Newer Tritons refuse it unless they were started so: nothing about the container would help."""
    said = b'{"error":"shared memory registration is disabled: --allow-client-shm=false"}'
    refusing = driver(lambda _: Reply(400, {}, said))
    with pytest.raises(ControlError) as caught, sharing(described(), HERE, refusing):
        raise AssertionError("the block ran")
    assert caught.value.next_step.startswith("start that server with --allow-client-shm=true")


def test_a_server_that_refuses_is_told_in_words() -> None:
    """The server's own sentence is in the error, with what a container needs."""
    refusing = driver(lambda _: Reply(400, {}, b'{"error":"Unable to open shared memory region"}'))
    with pytest.raises(ControlError) as caught, sharing(described(), HERE, refusing):
        raise AssertionError("the block ran")
    assert str(caught.value) == (
        "triton did not take the shared memory\n"
        "  where: POST /register\n"
        '  seen: status 400: {"error":"Unable to open shared memory region"}\n'
        "  next: a server in a container needs the memory of this machine:"
        " --serve-container=ipc=host (docker run --ipc=host); else --serve-payload=tensor"
    )


def test_a_server_that_died_in_the_load_does_not_keep_the_region() -> None:
    """What cannot be told any more is not waited for, and the case keeps its own result."""

    def answer(request: WireRequest) -> Reply:
        if request.path == "/unregister":
            raise LoadError("A request was not answered.", seen="connection refused")
        return Reply(200, {}, b"")

    with sharing(described(), HERE, driver(answer)):
        pass


def test_a_busy_server_gets_time_to_let_go_of_the_region() -> None:
    """Requests of a load that was cut short still use it; it is asked again, but not for ever."""

    def answers(busy: int) -> tuple[FakeDriver, JumpingClock]:
        left = [busy]

        def answer(request: WireRequest) -> Reply:
            if request.path == "/register" or not left[0]:
                return Reply(200, {}, b"")
            left[0] -= 1
            return Reply(500, {}, b'{"error":"Cannot unregister: it is currently in use."}')

        return driver(answer), JumpingClock()

    for busy, told in ((3, 4), (1000, TAKE_BACK_TRIES)):
        asked, clock = answers(busy)
        with sharing(described(), HERE, asked, clock):
            pass
        assert said(asked).count("/unregister") == told
        assert clock.elapsed_s == pytest.approx(TAKE_BACK_PAUSE_S * min(busy, told))


def test_a_server_elsewhere_is_an_error_before_anything_is_made() -> None:
    """A marker's payload meets an attached server only when it is asked."""
    asked = driver()
    far = replace(HERE, host="gpu-7")
    with pytest.raises(ControlError, match="triton is not on this machine"), sharing(described(), far, asked):
        raise AssertionError("the block ran")
    assert said(asked) == []


def test_no_room_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full /dev/shm is an error with its size, not a death by SIGBUS."""

    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LoadError) as caught, sharing(described(), HERE, driver()):
        raise AssertionError("the block ran")
    assert caught.value.what == "A region of shared memory cannot be made."
    assert caught.value.where.endswith(", 192 bytes")
    assert caught.value.seen == "[Errno 28] No space left on device"
    assert "--shm-size" in caught.value.next_step


def test_leftovers_of_dead_processes_go_and_no_others(tmp_path: Path) -> None:
    """Only a region whose process is gone is removed; those of the living and other files stay."""
    dead = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    dead.wait()
    stay = [
        f"servebench-{os.getpid()}-7",
        "servebench-1-0",
        f"servebench-{dead.pid}",
        f"servebench-{dead.pid}-x",
        f"somebody-{dead.pid}-0",
    ]
    gone = [f"servebench-{dead.pid}-0", f"servebench-{dead.pid}-12"]
    for name in (*stay, *gone):
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path) == gone
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)


def test_the_next_run_removes_what_a_killed_one_left() -> None:
    """A process that is killed inside the block leaves its region, and the next block takes it away.

    Python's own tracker of shared memory might be faster; it is killed too, as with a whole group.
    """
    program = (
        "import os, signal; from tests.contract.test_shared_memory import *\n"
        "from multiprocessing import resource_tracker\n"
        "with sharing(described(), HERE, driver()):\n"
        "    os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)\n"
        "    print(*ours(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(shared_memory.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=60
    )
    (name,) = done.stdout.split()
    assert (FOLDER / name).exists(), done.stderr
    with sharing(described(), HERE, driver()):
        assert not (FOLDER / name).exists()
