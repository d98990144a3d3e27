"""Follows what a container writes into a file, for as long as it writes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from pytest_servebench.launchers.docker.engine import Engine, EngineError

END_S = 2.0
"""How long the last lines of a container that ended may take to arrive."""


class LogFollower:
    """Appends all that the container ``name`` writes to the file at ``path``.

    It has a thread and a line to the engine of its own: neither the server nor who measures it waits.
    """

    def __init__(self, environment: Mapping[str, str], name: str, path: Path) -> None:
        self._environment = environment
        self._name = name
        self._path = path
        self._thread = threading.Thread(target=self._follow, name=f"log of {name}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Return once all that a container wrote that has ended is in the file, after 2 s at the latest."""
        self._thread.join(END_S)

    def _follow(self) -> None:
        try:
            with closing(Engine(self._environment)) as engine, self._path.open("ab", buffering=0) as file:
                try:
                    for piece in engine.logs(self._name):
                        file.write(piece)
                except EngineError as error:
                    file.write(f"# servebench: the log ends here: {error}\n".encode(errors="replace"))
        except OSError:
            # A full disk: the server goes on, and what is in the file stays.
            return
