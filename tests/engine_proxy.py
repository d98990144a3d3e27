"""Stands between a launcher and the engine, and has the engine hang or vanish when a test says so."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pytest_servebench.launchers.docker.address import UNIX, engine_address


class EngineProxy:
    """An engine's address that passes all on to the real one; a context manager."""

    def __init__(self, path: Path) -> None:
        self.environment: Mapping[str, str] = {**os.environ, "DOCKER_HOST": f"{UNIX}{path}"}
        self._real = engine_address(os.environ).host.removeprefix(UNIX)
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        """Have it answer nothing any more."""
        self._flowing.clear()

    def vanish(self) -> None:
        """Have it be gone, as an engine that was stopped."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> EngineProxy:  # noqa: PYI034 (typing.Self is 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        self.vanish()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                theirs, _ = self._listener.accept()
                real = socket.socket(socket.AF_UNIX)
                real.connect(self._real)
                self._open += [theirs, real]
                for source, target in ((theirs, real), (real, theirs)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
