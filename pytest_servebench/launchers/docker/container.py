"""One container, from its creation to its removal."""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.engine import WORK_S, Engine, EngineError
from pytest_servebench.launchers.docker.following import LogFollower
from pytest_servebench.launchers.docker.request import ContainerRequest
from pytest_servebench.launchers.workdir import ServerLog
from pytest_servebench.results import Endpoint

_ENDED = ("exited", "dead", "removing")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a session ends by, as on Ctrl-C."""
_SIGNALLED = range(129, 129 + 64)
"""Exit codes that stand for a signal, as shells and the engine have it."""

_up: list[Container] = []
"""Those of this process that were not removed yet, oldest first."""


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended."""

    exit_code: int
    """Negative: by a signal."""
    why: str = ""
    """What the engine knows of it and no log has."""


def end_of(seen: Mapping[str, Any] | None) -> End | None:
    """Return how a container ended, from what `docker inspect` shows; None while it has not."""
    if seen is None:
        return End(-signal.SIGKILL, "the container was removed by somebody else")
    state = seen["State"]
    if state["Status"] not in _ENDED:
        return None
    code = int(state["ExitCode"])
    code = 128 - code if code in _SIGNALLED else code
    if not state.get("OOMKilled"):
        return End(code, state.get("Error") or "")
    limit = int(seen["HostConfig"].get("Memory") or 0)
    bound = f"its limit is {limit / 2**20:,.0f} MiB" if limit else "this machine has no more"
    return End(code, f"it was killed for lack of memory: {bound}")


def pid_here(seen: Mapping[str, Any], proc: Path = Path("/proc")) -> int | None:
    """Return the container's first process as this machine numbers it; None where that is not sure."""
    pid = int(seen["State"].get("Pid") or 0)
    with suppress(OSError):
        if pid and seen["Id"] in (proc / str(pid) / "cgroup").read_text():
            return pid
    return None


class Container:
    """A container of a name that nobody else has; whatever becomes of it, `remove` removes it."""

    def __init__(self, engine: Engine, request: ContainerRequest, log: ServerLog) -> None:
        self.name = request.name
        self.log = log
        self.end: End | None = None
        """How it ended by itself; None while that was not seen."""
        self.unheard = ""
        """Why the engine's last answer is missing; empty when it answered."""
        self._engine = engine
        self._request = request
        self._follower: LogFollower | None = None
        self._owner = os.getpid()
        self._removed = False
        _up.append(self)

    def start(self, environment: Mapping[str, str]) -> Mapping[str, Any]:
        """Create and start it, follow its log, and return what `docker inspect` shows.

        Raises `EngineError`.
        """
        with _uninterrupted():
            self._engine.create(self._request.container, self._request.host)
        self._engine.start(self.name)
        self._follower = LogFollower(environment, self.name, self.log.path)
        seen = self._engine.inspect(self.name, WORK_S)
        if seen is None:
            raise EngineError("the container is gone: somebody else removed it")
        return seen

    def exit_code(self) -> int | None:
        """Return its exit code when it ended by itself (negative: by a signal), else None.

        None also while the engine does not answer: nobody knows.
        """
        if self.end is None and not self._removed:
            try:
                self.end, self.unheard = end_of(self._engine.inspect(self.name)), ""
            except EngineError as error:
                self.unheard = str(error)
            if self.end is not None:
                self._finish_log(self.end)
        return None if self.end is None else self.end.exit_code

    def stop(self, grace_s: float) -> None:
        """End it and remove it; may be called twice. Raises `LaunchError` when it cannot be removed."""
        if self._removed or self._owner != os.getpid():
            return
        self.exit_code()
        try:
            with suppress(EngineError):
                self._engine.stop(self.name, math.ceil(grace_s))
        finally:
            self._remove_or_say()

    def discard(self) -> None:
        """Remove it at once after a failed start, whose own error is the one to be told."""
        with suppress(LaunchError):
            self._remove_or_say()

    def _remove_or_say(self) -> None:
        try:
            self._engine.remove(self.name)
        except EngineError as error:
            raise LaunchError(
                "a container could not be removed",
                where=f"{self.name}, engine {self._engine.address}",
                seen=str(error),
                next_step=f"once the engine answers: docker rm --force --volumes {self.name}",
            ) from error
        finally:
            self._removed = True
            _up.remove(self)
            if self._follower is not None:
                self._follower.finish()
            self._engine.close()

    def _finish_log(self, end: End) -> None:
        if self._follower is not None:
            self._follower.finish()
        if end.why:
            with suppress(OSError), self.log.path.open("ab") as file:
                file.write(f"# servebench: {end.why}\n".encode(errors="replace"))


class ContainerServer:
    """A server that runs in a container."""

    def __init__(self, endpoint: Endpoint, container: Container, grace_s: float) -> None:
        self._endpoint = endpoint
        self._container = container
        self._grace_s = grace_s

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self._endpoint

    def exit_code(self) -> int | None:
        """Return its exit code when it has ended by itself (negative: by a signal), else None."""
        return self._container.exit_code()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return self._container.log.tail(lines)

    def stop(self) -> None:
        """End it and remove its container; may be called twice. Raises `LaunchError`."""
        self._container.stop(self._grace_s)


def remove_all() -> None:
    """Remove every container that this process still has; raises the first `LaunchError`."""
    failures = [failure for failure in map(_failure_to_remove, list(_up)) if failure]
    if failures:
        raise failures[0]


def _failure_to_remove(container: Container) -> LaunchError | None:
    try:
        container.stop(0)
    except LaunchError as error:
        return error
    return None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold interrupts back while the engine makes something: nobody could remove what is not there yet."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in dict.fromkeys(came):
            signal.raise_signal(each)


atexit.register(remove_all)
