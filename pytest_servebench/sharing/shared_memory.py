"""Shared memory around a case: a region is made and filled, told to the server, and always removed.

For a GPU's memory see `cuda_memory`. A region of the system's is a file ``/dev/shm/servebench-PID-N``. Its
process removes it whatever happens to the case; what one that was killed could not remove is removed by the
next, once no process has that number.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psutil

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import ControlError, LoadError, MissingPieceError, PlanError
from pytest_servebench.interfaces import Clock, Driver, MemorySharing, Stack
from pytest_servebench.launchers.server_address import is_here
from pytest_servebench.plan import Case, Image, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.sharing.cuda_memory import gpu_region
from pytest_servebench.sharing.shared_requests import SharedRequests

FOLDER = Path("/dev/shm")  # noqa: S108 (where Linux shows shared memory; the names are ours)
TELL_TIMEOUT_S = 10.0
TAKE_BACK_TRIES = 100
TAKE_BACK_PAUSE_S = 0.05
_OF_THE_SYSTEM = (
    "a server in a container needs the memory of this machine: --serve-container=ipc=host"
    " (docker run --ipc=host); else --serve-payload=tensor"
)
_OF_A_GPU = (
    "the server must compute on that very GPU, and in a container see the processes of this machine:"
    " docker run --ipc=host --pid=host; else --serve-payload=uint8"
)
_CLOSED_BY = "allow-client-shm"
"""What Triton from 26.04 on names when it takes no region of clients, which it then does unless told to."""
_CLOSED = "start that server with --allow-client-shm=true, or another Triton; else --serve-payload=uint8"
_IN_USE = "currently in use"
"""What Triton says of a region that unanswered requests refer to."""
_NAME = re.compile(r"servebench-(\d+)-\d+")
_numbers = itertools.count()


def next_region() -> str:
    """Return a name that no region of any running process has."""
    return f"servebench-{os.getpid()}-{next(_numbers)}"


def share(stack: Stack, case: Case, groups: Sequence[Sequence[Image]]) -> SharedRequests:
    """Return a case's requests for a region of a new name; nothing is made yet.

    Raises `PlanError` for a stack that offers the payload and does not describe the sharing.
    """
    if not hasattr(stack, "share"):
        raise PlanError(
            f"{stack.name} offers the payload {case.payload} and does not say how memory is shared",
            where=f"{type(stack).__module__}.{type(stack).__qualname__}",
            next_step="give it the method of pytest_servebench.interfaces.MemorySharing",
        )
    return cast("MemorySharing", stack).share(case, groups, next_region())


@contextmanager
def sharing(
    shared: SharedRequests | None, endpoint: Endpoint, driver: Driver, clock: Clock | None = None
) -> Iterator[None]:
    """Have the region there, filled, and known to the server at ``endpoint``, while the block runs.

    None: nothing is shared, and nothing is done.

    Raises `ControlError` when the server is elsewhere or refuses it, `LoadError` when there is no
    room for it, `MissingPieceError` without Triton's client, and for a GPU's memory without CUDA's.
    """
    if shared is None:
        yield
        return
    _check_is_here(shared, endpoint)
    remove_leftovers()
    with _made(shared, endpoint) as register:
        try:
            # A server that registered it and was not heard must let go of it too.
            _tell(driver, endpoint, register)
            yield
        finally:
            _take_back(driver, endpoint, shared, clock or MonotonicClock())


def remove_leftovers(folder: Path = FOLDER) -> list[str]:
    """Remove the regions of processes that are gone, and return their names; others' are left alone."""
    removed = []
    for path in sorted(folder.glob("servebench-*")):
        match = _NAME.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            with suppress(OSError):  # somebody else's, or another run was faster
                path.unlink()
                removed.append(path.name)
    return removed


def _helpers() -> Any:  # noqa: ANN401 (tritonclient has no types)
    try:
        from tritonclient.utils import shared_memory
    except ImportError as error:
        raise MissingPieceError(
            "shared memory needs the package tritonclient.",
            seen=str(error),
            next_step='pip install "pytest-servebench[triton]"',
        ) from error
    return shared_memory


@contextmanager
def _made(shared: SharedRequests, endpoint: Endpoint) -> Iterator[WireRequest]:
    """Have the region while the block runs; yields the request that tells the server of it."""
    if shared.gpu is None:
        with _region(_helpers(), shared, endpoint):
            yield shared.registering()
        return
    with gpu_region(shared) as raw_handle:
        yield shared.registering(raw_handle)


@contextmanager
def _region(memory: Any, shared: SharedRequests, endpoint: Endpoint) -> Iterator[None]:  # noqa: ANN401 (tritonclient has no types)
    """Have a region that holds the tensors, for as long as the block runs; raises `LoadError`."""
    handle = None
    try:
        try:
            handle = memory.create_shared_memory_region(
                shared.region, shared.region, shared.size_bytes, create_only=True
            )
            # Without this a full /dev/shm would end the process by SIGBUS at the first byte too many.
            _claim(FOLDER / shared.region, shared.size_bytes)
            memory.set_shared_memory_region(handle, list(shared.tensors))
            _let_open(FOLDER / shared.region, endpoint)
        except (OSError, memory.SharedMemoryException) as error:
            raise _no_room(shared, error) from error
        yield
    finally:
        if handle is not None:
            memory.destroy_shared_memory_region(handle)


def _no_room(shared: SharedRequests, error: Exception) -> LoadError:
    return LoadError(
        "A region of shared memory cannot be made.",
        where=f"{FOLDER / shared.region}, {shared.size_bytes:,} bytes",
        seen=str(error.__cause__ or error),
        next_step=f"see df {FOLDER}; a container is given more by --shm-size",
    )


def _claim(path: Path, size_bytes: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)


def _let_open(path: Path, endpoint: Endpoint) -> None:
    """Give the region to the user of the server's container: it is a file that its maker alone may open.

    Only root can; a server that may not open it says so when it is told of it.
    """
    user = "" if endpoint.container is None else endpoint.container.user.partition(":")[0]
    if user.isdecimal() and int(user) != os.geteuid():
        with suppress(PermissionError):
            os.chown(path, int(user), -1)


def _tell(driver: Driver, endpoint: Endpoint, request: WireRequest) -> None:
    """Send a request that must succeed; raises `ControlError`."""
    try:
        reply = driver.exchange(endpoint, request, TELL_TIMEOUT_S)
    except LoadError as error:
        raise _refused(endpoint, request, error.seen) from error
    if reply.status != (200 if request.protocol is WireProtocol.HTTP else 0):
        said = reply.headers.get("grpc-message") or reply.body[:300].decode(errors="replace")
        raise _refused(endpoint, request, f"status {reply.status}: {said}")


def _take_back(driver: Driver, endpoint: Endpoint, shared: SharedRequests, clock: Clock) -> None:
    """Have the server let go of the region. One that is gone, or never knew it, has let go of it.

    One that is still busy with requests of a load that was cut short cannot yet: it gets a little time.
    """
    for _ in range(TAKE_BACK_TRIES):
        try:
            return _tell(driver, endpoint, shared.unregister)
        except ControlError as error:
            if _IN_USE not in error.seen:
                return None
        clock.sleep_s(TAKE_BACK_PAUSE_S)
    return None


def _refused(endpoint: Endpoint, request: WireRequest, seen: str) -> ControlError:
    of_gpu = "cuda" in request.path.lower()
    return ControlError(
        f"{endpoint.stack} did not take the shared memory",
        where=f"{request.method} {request.path}",
        seen=seen,
        next_step=_CLOSED if _CLOSED_BY in seen else _OF_A_GPU if of_gpu else _OF_THE_SYSTEM,
    )


def _check_is_here(shared: SharedRequests, endpoint: Endpoint) -> None:
    if not is_here(endpoint.host):
        raise ControlError(
            f"{endpoint.stack} is not on this machine and cannot share its memory",
            where=endpoint.host,
            seen=f"region {shared.region}",
            next_step="give http://127.0.0.1:PORT if it does run here; else --serve-payload=tensor",
        )
