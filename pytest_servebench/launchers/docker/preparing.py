"""Runs the tools of a server's image to their end, for a file that its server needs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.containers import Preparation
from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.docker import faults
from pytest_servebench.launchers.docker.container import Container
from pytest_servebench.launchers.docker.engine import Engine, EngineError
from pytest_servebench.launchers.docker.images import PresentImage
from pytest_servebench.launchers.docker.request import Surround, preparation_request
from pytest_servebench.launchers.workdir import ServerLog

_GLANCE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """One run of an image's tools in a container of their own."""

    preparation: Preparation
    image: PresentImage
    surround: Surround
    user: str
    """Who runs this: what is made belongs to him."""
    environment: Mapping[str, str]
    """Where the engine is."""
    clock: Clock
    log_path: Path

    def into(self, folder: Path) -> None:
        """Have the file made in ``folder``; no container is left. Raises `LaunchError`."""
        wanted = self.preparation
        name = f"servebench-{wanted.name.replace('_', '-')}-{uuid.uuid4().hex[:12]}"
        request = preparation_request(
            wanted, self.surround, name=name, image_id=self.image.id, user=self.user, folder=folder
        )
        self.log_path.write_bytes(b"")
        container = Container(Engine(self.environment), request, ServerLog(self.log_path, 0))
        try:
            container.start(self.environment)
            self._await_end(container)
        except EngineError as error:
            raise faults.not_prepared(wanted, self.image, self.log_path, str(error)) from error
        finally:
            container.discard()

    def _await_end(self, container: Container) -> None:
        began_ns = self.clock.now_ns()
        while container.exit_code() is None:
            if (self.clock.now_ns() - began_ns) / 1e9 > self.preparation.limit_s:
                raise self._failed(container, f"not done after {self.preparation.limit_s:g} s")
            self.clock.sleep_s(_GLANCE_S)
        if container.end is not None and container.end.exit_code != 0:
            why = container.end.why or f"it ended with exit code {container.end.exit_code}"
            raise self._failed(container, why)

    def _failed(self, container: Container, seen: str) -> LaunchError:
        lines = [f"{seen}; the last lines of its log:", *container.log.tail().splitlines()]
        return faults.not_prepared(self.preparation, self.image, self.log_path, "\n    ".join(lines))
