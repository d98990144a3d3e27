"""Brings a compose project up until it answers, and ends one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pytest_servebench.compose import project as books
from pytest_servebench.compose.command import Compose
from pytest_servebench.compose.preparing import GID, UID, server_user
from pytest_servebench.compose.project import Project, default_state_dir
from pytest_servebench.compose.services import (
    GRAFANA,
    LOOPBACK,
    PASSWORD,
    PROFILES,
    PROMETHEUS,
    SERVICES,
    Service,
)
from pytest_servebench.compose.tools import Tools
from pytest_servebench.compose.wanted import Wanted
from pytest_servebench.errors import LaunchError, ServerNotReadyError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.docker.address import engine_address
from pytest_servebench.launchers.readiness import Stage, wait_until_ready

HOST_VARIABLE = "DOCKER_HOST"
LOOK_S = 3.0
"""How often compose is asked which services run: it takes half a second itself."""


def project_of(
    wanted: Wanted, files: Sequence[Path], environment: Mapping[str, str], *, keeps: bool = True
) -> Project:
    """Return what will be known of a project once it is up (pure); ``keeps`` as in `Project`."""

    def url(service: Service) -> str:
        if service not in wanted.services:
            return ""
        return f"http://{LOOPBACK}:{service.published(environment)['http']}"

    uid, gid = server_user(environment)
    ports = [variable for service in SERVICES.values() for variable in service.ports]
    return Project(
        name=wanted.project,
        files=tuple(str(file) for file in files),
        folder=str(wanted.folder),
        settings={
            **{port.variable: environment[port.variable] for port in ports if environment.get(port.variable)},
            "SERVEBENCH_FOLDER": str(wanted.folder),
            "SERVEBENCH_GPU": str(wanted.device.index),
            UID: str(uid),
            GID: str(gid),
            # Compose would follow Docker's contexts, also another one next time: the images are here.
            HOST_VARIABLE: engine_address(environment).host,
        },
        stacks={name: SERVICES[name].published(environment) for name in wanted.stacks},
        served={
            "model": wanted.model,
            "format": str(wanted.format),
            "max_batch_size": wanted.max_batch_size,
            "device": str(wanted.device),
        },
        prometheus=url(PROMETHEUS),
        grafana=url(GRAFANA),
        keeps=keeps,
    )


def compose_of(project: Project, argv: tuple[str, ...], environment: Mapping[str, str]) -> Compose:
    """Return compose for a project, with every profile: it is told by name which services to start."""
    # Compose asks for the password whatever is started. Where Grafana is not, nobody knows this one.
    password = environment.get(PASSWORD) or secrets.token_urlsafe(32)
    return Compose(
        argv=argv,
        project=project.name,
        files=project.files,
        profiles=PROFILES,
        environment={**environment, **project.settings, PASSWORD: password},
    )


def bring_up(
    project: Project,
    compose: Compose,
    before: Project | None,
    tools: Tools,
    deadline_s: float,
) -> None:
    """Start the services of ``project`` in place of those of ``before``, and wait until all answer.

    Raises `LaunchError`; then everything of the project is down, and its volumes are kept.
    """
    state_dir = default_state_dir(tools.environment)
    books.save(project, state_dir)
    try:
        if before is not None:
            # Made anew, all of them: their files are, and 1.29 cannot replace a container of a new engine.
            compose.run("rm", "--stop", "--force", *before.services)
        compose.run("up", "--detach", *project.services)
        for name in project.services:
            tools.say(f"waiting for {name}")
            _await(SERVICES[name], project, compose, tools, deadline_s)
    except BaseException:
        _give_up(project, compose, tools)
        raise


def take_down(project: Project, compose: Compose, state_dir: Path, *, volumes: bool = False) -> None:
    """End every container of a project, and its network; with ``volumes`` what was kept in some."""
    gone = volumes or not project.keeps
    compose.run("down", "--remove-orphans", *(["--volumes"] if gone else []))
    books.forget(project.name, state_dir)


def _give_up(project: Project, compose: Compose, tools: Tools) -> None:
    """End what was started; where that fails or is interrupted too, say how to end it."""
    tools.say(f"ending what was started of the project {project.name}")
    ended = False
    try:
        take_down(project, compose, default_state_dir(tools.environment))
        ended = True
    except LaunchError as left:
        tools.say(str(left))
    finally:
        if not ended:
            tools.say(f"not all of it could be ended: servebench down --project {project.name}")


def _await(service: Service, project: Project, compose: Compose, tools: Tools, deadline_s: float) -> None:
    port = service.published(project.settings)["http"]
    ended = _Ended(service, compose, tools.clock)
    readiness = wait_until_ready(
        probe=partial(tools.probe, LOOPBACK, port, service.ready_path),
        exit_code=ended.exit_code,
        deadline_s=deadline_s,
        clock=tools.clock,
    )
    if readiness.stage is Stage.READY:
        return
    words = compose.last_words(service.name)
    if readiness.stage is Stage.ENDED:
        raise LaunchError(
            f"{service.name} ended before it was ready",
            where=f"project {project.name}",
            seen=words,
            next_step="its last lines are above; see whether its image fits the device (--device=cpu), "
            "and whether there is memory left",
        )
    raise ServerNotReadyError(
        f"{service.name} is not ready after {deadline_s:g} s",
        where=f"GET http://{LOOPBACK}:{port}{service.ready_path}",
        seen=f"{readiness.last_answer}\n{words}",
        next_step="give it longer with --deadline",
    )


class _Ended:
    """Whether a service's container has ended, asked now and then."""

    def __init__(self, service: Service, compose: Compose, clock: Clock) -> None:
        self._service, self._compose, self._clock = service, compose, clock
        self._asked_ns = clock.now_ns()

    def exit_code(self) -> int | None:
        """Return 1 once it does not run, whatever it ended with; None while it does."""
        now_ns = self._clock.now_ns()
        if now_ns - self._asked_ns < LOOK_S * 1e9:
            return None
        self._asked_ns = now_ns
        return None if self._service.name in self._compose.running() else 1
