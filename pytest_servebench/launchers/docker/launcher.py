"""Brings a described server up in a container, and removes all of it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import ContainerSettings, Network, Preparation
from pytest_servebench.errors import LaunchError, PortTakenError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.docker import faults
from pytest_servebench.launchers.docker.container import Container, ContainerServer, pid_here
from pytest_servebench.launchers.docker.engine import Engine, EngineError, open_engine
from pytest_servebench.launchers.docker.faults import Attempt
from pytest_servebench.launchers.docker.images import Making, PresentImage, have_image
from pytest_servebench.launchers.docker.preparing import ToolRun
from pytest_servebench.launchers.docker.request import (
    Surround,
    by_hand,
    container_facts,
    container_request,
    container_user,
    inner_ports,
    inside,
    private_scratch,
    published_ports,
)
from pytest_servebench.launchers.docker.workshop import Order, Workshop, have_made
from pytest_servebench.launchers.ports import LOOPBACK, PickPorts, belongs_to, free_ports, lost_the_race
from pytest_servebench.launchers.readiness import (
    HttpProbe,
    ProbeAnswer,
    Readiness,
    Stage,
    http_probe,
    wait_until_ready,
)
from pytest_servebench.launchers.workdir import Links, open_log, open_to_all, write_files
from pytest_servebench.plan import CPU, Device, LaunchSpec
from pytest_servebench.results import Endpoint

PORT_RETRIES = 3


class DockerLauncher:
    """Starts servers in containers of their own, reached on free ports of ``host``.

    ``device`` is the GPU that each container is given, ``part`` the part of it (MIG) by UUID, empty: all of
    it; ``labels`` are put on each, ``cpu_set``
    (as in ``0-3``) pins it to cores. ``making`` is told what the engine says while it pulls or
    builds an image: the image's name, and a line. ``workshop`` is where files are made that a server's image
    makes; None: nowhere. ``environment`` says where the engine is (``DOCKER_HOST``);
    ``probe`` and ``pick_ports`` are there for tests.
    """

    def __init__(
        self,
        *,
        settings: ContainerSettings | None = None,
        device: Device = CPU,
        part: str = "",
        host: str = LOOPBACK,
        labels: Mapping[str, str] = MappingProxyType({}),
        cpu_set: str = "",
        clock: Clock | None = None,
        making: Making = lambda *_: None,
        workshop: Workshop | None = None,
        environment: Mapping[str, str] = os.environ,
        probe: HttpProbe = http_probe,
        pick_ports: PickPorts | None = None,
    ) -> None:
        self._settings = settings or ContainerSettings()
        self._surround = Surround(
            settings=self._settings,
            device=device,
            part=part,
            host=host,
            user=container_user(self._settings, os.getuid(), os.getgid()),
            labels=dict(labels),
            cpu_set=cpu_set,
        )
        self._clock = clock or MonotonicClock()
        self._making = making
        self._workshop = workshop
        self._environment = environment
        self._probe = probe
        self._pick_ports = pick_ports or partial(free_ports, host=host)

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> ContainerServer:
        """Return a ready server whose private files lie in ``workdir``; raises `LaunchError`.

        Its image is pulled or built first when it is missing; ``started_s`` counts from the
        container's creation. A server that loses its port to somebody else is started again, three
        times at most. When this raises, its container is removed; the log stays.
        """
        if spec.container is None:
            raise LaunchError(
                f"{spec.name} cannot be launched in a container: its launch names no image",
                where=f"stack {stack}",
                next_step="use --serve-launcher=process, or give the stack the method of"
                " pytest_servebench.interfaces.Containerised",
            )
        engine = open_engine(self._environment, spec.name)
        try:
            image = have_image(engine, spec.container.image, self._making)
            for _ in range(PORT_RETRIES):
                with contextlib.suppress(PortTakenError):
                    return self._start_once(engine, image, stack, spec, workdir.absolute())
            return self._start_once(engine, image, stack, spec, workdir.absolute())
        except BaseException:
            engine.close()
            raise

    def prepare(self, stack: str, preparation: Preparation) -> Path:
        """Return the file that the image's own tools make on this launcher's GPU, made now or kept.

        Its image is pulled or built first when it is missing. Raises `LaunchError`.
        """
        if self._workshop is None:
            raise LaunchError(
                f"{preparation.product} for {preparation.name} cannot be made: no folder is there to keep it",
                where=f"stack {stack}",
                next_step="give the launcher a workshop",
            )
        engine = open_engine(self._environment, preparation.name)
        try:
            image = have_image(engine, preparation.image, self._making)
        finally:
            engine.close()
        part = self._surround.part
        order = Order(
            preparation=preparation,
            image_id=image.id,
            gpu=self._workshop.made_on(self._surround.device.indexes) + (f", {part}" if part else ""),
            folder=self._workshop.cache_dir.absolute() / "plans",
        )
        run = ToolRun(
            preparation=preparation,
            image=image,
            surround=self._surround,
            user=f"{os.getuid()}:{os.getgid()}",
            environment=self._environment,
            clock=self._clock,
            log_path=order.log_path,
        )
        return have_made(order, partial(self._make, run))

    def _make(self, run: ToolRun, folder: Path) -> None:
        what = run.preparation
        self._making(what.name, f"{what.product} is made: this takes minutes, once for this GPU and image")
        run.into(folder)

    def _start_once(
        self, engine: Engine, image: PresentImage, stack: str, spec: LaunchSpec, workdir: Path
    ) -> ContainerServer:
        attempt = self._prepare(image, stack, spec, workdir)
        container = Container(engine, attempt.request, attempt.log)
        try:
            endpoint = self._bring_up(attempt, container)
        except EngineError as error:
            container.discard()
            raise faults.not_started(attempt, str(error)) from error
        except BaseException:
            container.discard()
            raise
        return ContainerServer(endpoint, container, spec.stop_grace_s)

    def _prepare(self, image: PresentImage, stack: str, spec: LaunchSpec, workdir: Path) -> Attempt:
        """Write what the container is given: a log, and files that its user can read."""
        assert spec.container is not None
        ports = self._ports(spec)
        name = f"servebench-{spec.name}-{uuid.uuid4().hex[:12]}"
        request = container_request(
            spec, self._surround, name=name, image_id=image.id, ports=ports, workdir=workdir
        )
        file, log = open_log(spec, workdir, by_hand(request, image.name))
        file.close()
        write_files(spec, workdir, inside(self._settings, self._surround.host, ports), Links.NONE)
        open_to_all(spec, workdir, private_scratch(spec.container))
        return Attempt(
            stack=stack,
            spec=spec,
            image=image,
            host=self._surround.host,
            ports=ports,
            request=request,
            log=log,
        )

    def _ports(self, spec: LaunchSpec) -> dict[str, int]:
        """Return the ports on which the server listens, as it sees them."""
        if self._settings.network is not Network.HOST:
            return inner_ports(spec, self._settings, {})
        try:
            return inner_ports(spec, self._settings, self._pick_ports(spec.port_roles))
        except OSError as error:
            raise faults.no_ports(spec.name, self._surround.host, error) from error

    def _bring_up(self, attempt: Attempt, container: Container) -> Endpoint:
        """Return where the ready server listens; raises `LaunchError` or `EngineError`."""
        began_ns = self._clock.now_ns()
        seen = container.start(self._environment)
        ports = published_ports(seen, attempt.ports)
        if container.exit_code() is None and len(ports) < len(attempt.ports):
            raise EngineError(f"its ports were not published, only {ports}")
        readiness = self._wait(attempt, container, ports, began_ns)
        pid = pid_here(seen)
        self._raise_unless_ready(attempt, container, ports, readiness, pid)
        return Endpoint(
            stack=attempt.stack,
            host=attempt.host,
            ports=ports,
            launcher="docker",
            container=container_facts(seen, attempt.image.name, self._settings),
            pid=pid,
            log_path=attempt.log.path,
            started_s=readiness.elapsed_s,
        )

    def _wait(
        self, attempt: Attempt, container: Container, ports: Mapping[str, int], began_ns: int
    ) -> Readiness:
        ready = attempt.spec.ready
        port = ports.get(ready.port_role)
        unpublished = ProbeAnswer(None, "its port is not published")
        return wait_until_ready(
            probe=lambda: unpublished if port is None else self._probe(attempt.host, port, ready.path),
            exit_code=container.exit_code,
            deadline_s=ready.deadline_s,
            clock=self._clock,
            began_ns=began_ns,
        )

    def _raise_unless_ready(
        self,
        attempt: Attempt,
        container: Container,
        ports: Mapping[str, int],
        readiness: Readiness,
        pid: int | None,
    ) -> None:
        port = ports.get(attempt.spec.ready.port_role, 0)
        if readiness.stage is Stage.TOO_LATE:
            raise faults.not_ready(attempt, port, readiness, container.unheard)
        shared = self._settings.network is Network.HOST
        if container.end is not None:
            if shared and lost_the_race(attempt.log.tail(), ports.values(), attempt.host):
                raise faults.port_taken(attempt, "its container ended", ports)
            raise faults.exited(attempt, container.end)
        if shared and pid is not None and not belongs_to(pid, port):
            raise faults.port_taken(attempt, f"somebody else answers on port {port}", ports)
