"""Brings a described server up in a container, and removes all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import ContainerSettings
from pytest_servebench.interfaces import Clock, RunningServer
from pytest_servebench.launchers.ports import LOOPBACK
from pytest_servebench.launchers.readiness import HttpProbe, http_probe
from pytest_servebench.plan import CPU, Device, LaunchSpec


class DockerLauncher:
    """Starts servers in containers of their own, reached on free ports of ``host``.

    ``device`` is the GPU that each container is given; ``labels`` are put on each, ``cpu_set``
    (as in ``0-3``) pins it to cores. ``progress`` is told, line by line, what the engine says while
    it pulls or builds an image. ``environment`` says where the engine is (``DOCKER_HOST``).
    """

    def __init__(
        self,
        *,
        settings: ContainerSettings | None = None,
        device: Device = CPU,
        host: str = LOOPBACK,
        labels: Mapping[str, str] = MappingProxyType({}),
        cpu_set: str = "",
        clock: Clock | None = None,
        progress: Callable[[str], None] = lambda line: None,
        environment: Mapping[str, str] = os.environ,
        probe: HttpProbe = http_probe,
    ) -> None:
        self._settings = settings or ContainerSettings()
        self._device = device
        self._host = host
        self._labels = dict(labels)
        self._cpu_set = cpu_set
        self._clock = clock or MonotonicClock()
        self._progress = progress
        self._environment = environment
        self._probe = probe

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> RunningServer:
        """Return a ready server whose private files lie in ``workdir``; raises `LaunchError`."""
        raise NotImplementedError
