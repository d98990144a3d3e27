"""A worker as its controller has it: an execnet gateway, what it says, and how it ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import psutil

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.errors import LoadError
from pytest_servebench.load.orders import PACKAGE, Say, package_version

OPEN_S = 45.0
"""How long a worker has from its start to its first word; a far host has to connect and import."""
EXIT_S = 2.0
TAIL_BYTES = 1500
_BOOTSTRAP = """
import sys
sys.path[:0] = [one for one in channel.receive() if one not in sys.path]
try:
    from pytest_servebench.load.worker import serve
except ImportError as error:
    channel.send(("missing", 0, sys.executable, str(error)))
else:
    serve(channel)
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker said, and when; no words: it has ended."""

    worker: WorkerGateway
    words: tuple[Any, ...] | None
    at_ns: int


class WorkerGateway:
    """One worker process; opened by its constructor, which raises `LoadError` naming it.

    What it says arrives in ``heard``, put there by a thread of execnet's.
    """

    def __init__(self, name: str, spec: str, heard: SimpleQueue[Heard]) -> None:
        from pytest_servebench.load.spawning import Spawned

        self.name = name
        self.spec = spec
        self.facts: dict[str, Any] = {}
        self.ended = False
        """Whether it has ended, or the way to it has."""
        self._heard = heard
        self._stderr: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self._spawned = Spawned(spec, self._stderr)
        self._channel: Any = None
        try:
            self._open()
        except BaseException:
            self.end(kill=True)
            raise

    @property
    def clock(self) -> str:
        """Which clock it reads, see `orders.clock_identity`."""
        return str(self.facts.get("clock", ""))

    def send(self, *message: object) -> None:
        """Say something; what is said to a worker that has ended is lost, and `heard` tells of its end."""
        self._say(message)

    def send_aside(self, *message: object) -> None:
        """Say something long on a thread: a worker that is stopped would not take it in."""
        threading.Thread(target=self.send, args=message, daemon=True).start()

    def end(self, *, kill: bool = False) -> None:
        """End the process, with ``kill`` at once, and wait for it; may be called twice."""
        self._spawned.end(kill=kill)
        self._stderr.close()

    def fate(self) -> str:
        """Return in words how it ended, with the last of what it wrote to stderr."""
        return f"{self._exit_text()}{self._stderr_text()}"

    def state(self) -> str:
        """Return in words how a worker without a word is doing, as far as that can be seen from here."""
        if self._spawned.process is None or self._spawned.process.poll() is not None:
            return self.fate()
        with contextlib.suppress(psutil.Error):
            state = psutil.Process(self._spawned.process.pid).status()
            return f"process {self._spawned.process.pid} is there and {state}{self._stderr_text()}"
        return self.fate()

    def _exit_text(self) -> str:
        if self._spawned.process is None:
            return "it did not start"
        try:
            code = self._spawned.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            return f"process {self._spawned.process.pid} still runs"
        if code >= 0:
            return f"it ended with exit code {code}"
        return f"it ended by signal {signal.Signals(-code).name}"

    def _stderr_text(self) -> str:
        if self._stderr.closed:
            return ""
        # Not seek and read: the process writes at the same offset.
        size = os.fstat(self._stderr.fileno()).st_size
        tail = os.pread(self._stderr.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
        text = tail.decode("utf-8", "replace").strip()
        return (
            "; the last it wrote:\n" + "\n".join(f"    {line}" for line in text.splitlines()) if text else ""
        )

    def _open(self) -> None:
        gateway = self._connected()
        try:
            self._channel = gateway.remote_exec(_BOOTSTRAP)
        except OSError as error:
            raise self._unreachable(self.fate()) from error
        self._channel.setcallback(self._hear, endmarker=None)
        # A plain local worker finds packages where this process does.
        self._say(list(sys.path) if self.spec == "popen" else [])
        self._await_hello(monotonic_ns() + round(OPEN_S * 1e9))

    def _say(self, item: object) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(item)

    def _hear(self, words: tuple[Any, ...] | None) -> None:
        self.ended = self.ended or words is None
        self._heard.put(Heard(self, words, monotonic_ns()))

    def _connected(self) -> Any:  # noqa: ANN401 (execnet is imported when it is needed)
        """Return the gateway, made on a thread, because nothing else bounds how long that takes."""
        made: SimpleQueue[Any] = SimpleQueue()
        thread = threading.Thread(target=self._make, args=(made,), daemon=True)
        thread.start()
        try:
            gateway = made.get(timeout=OPEN_S)
        except Empty:
            raise self._unreachable(f"nothing within {OPEN_S:g} s; {self.state()}") from None
        thread.join()  # the kernel ends a worker with the thread that started it
        if isinstance(gateway, BaseException):
            raise self._unreachable(f"{type(gateway).__name__}: {gateway}; {self.fate()}") from gateway
        return gateway

    def _make(self, made: SimpleQueue[Any]) -> None:
        try:
            made.put(self._spawned.make())
        except BaseException as error:  # noqa: BLE001 (told by the thread that waits)
            made.put(error)

    def _await_hello(self, until_ns: int) -> None:
        """Take in the worker's first words, and refuse one that cannot work with us."""
        while True:
            try:
                heard = self._heard.get(timeout=max(0.0, (until_ns - monotonic_ns()) / 1e9))
            except Empty:
                raise self._unreachable(f"no word within {OPEN_S:g} s; {self.state()}") from None
            if heard.worker is self:
                break
        if heard.words is None:
            raise self._unreachable(self.fate())
        word, _, *rest = heard.words
        if word == Say.MISSING:
            raise self._without_package(*rest)
        self.facts = rest[0]
        if self.facts["version"] != package_version():
            raise self._other_version()

    def _unreachable(self, seen: str) -> LoadError:
        return LoadError(
            f"Worker {self.name} cannot be started.",
            where=self.spec,
            seen=seen,
            next_step=f"try by hand: {_by_hand(self.spec)}",
        )

    def _without_package(self, python: str, error: str) -> LoadError:
        return LoadError(
            f"Worker {self.name} has no {PACKAGE} of its own.",
            where=f"{self.spec}, {python}",
            seen=error,
            next_step=f"install it there: {shlex.quote(python)} -m pip install {_requirement()}",
        )

    def _other_version(self) -> LoadError:
        return LoadError(
            f"Worker {self.name} has another version of {PACKAGE}.",
            where=f"{self.spec} on {self.facts['host']}",
            seen=f"{self.facts['version'] or 'no version'} there, {package_version() or 'no version'} here",
            next_step=f"install the same there: python -m pip install {_requirement()}",
        )


def _requirement() -> str:
    return f"{PACKAGE}=={package_version()}" if package_version() else PACKAGE


def _by_hand(spec: str) -> str:
    """Return a command that shows whether the specification's host and Python can be used."""
    keys = dict(part.partition("=")[::2] for part in spec.split("//"))
    python = keys.get("python", "python" if "ssh" in keys else shlex.quote(sys.executable))
    command = f"{python} -c 'import pytest_servebench'"
    return f"ssh {keys['ssh']} {shlex.quote(command)}" if "ssh" in keys else command
