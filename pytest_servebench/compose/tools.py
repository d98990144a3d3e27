"""What the commands do their work with, each as something to call; tests hand them others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.compose.command import find_compose
from pytest_servebench.containers import ContainerImage
from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.docker.address import engine_address
from pytest_servebench.launchers.docker.engine import (
    Engine,
    EngineError,
    EngineFacts,
    engine_facts,
    open_engine,
)
from pytest_servebench.launchers.docker.images import have_image
from pytest_servebench.launchers.ports import is_taken
from pytest_servebench.launchers.readiness import HttpProbe, http_probe
from pytest_servebench.models.export import artifact, default_cache_dir
from pytest_servebench.plan import Artifact, Deployment

Say = Callable[[str], None]
"""Told, line by line, what is done."""
_FIRST_UNPRIVILEGED = 1024


def _image(image: ContainerImage, say: Say) -> str:
    """Return an image's name with its tag once it is there, pulled or built; raises `LaunchError`."""
    with closing(open_engine(os.environ, image.name)) as engine:
        return have_image(engine, image, lambda *line: say(": ".join(line))).name


def _volumes(environment: Mapping[str, str], project: str) -> Sequence[str]:
    """Return the volumes of a compose project; raises `LaunchError`."""
    return _volumes_of(environment, project, remove=False)


def _remove_volumes(environment: Mapping[str, str], project: str) -> Sequence[str]:
    """Remove the volumes of a compose project, and return them; raises `LaunchError`."""
    return _volumes_of(environment, project, remove=True)


def _volumes_of(environment: Mapping[str, str], project: str, *, remove: bool) -> Sequence[str]:
    try:
        with closing(Engine(environment)) as engine:
            names = engine.volumes([f"com.docker.compose.project={project}"])
            for name in names if remove else ():
                engine.remove_volume(name)
            return names
    except EngineError as error:
        raise LaunchError(
            f"the volumes of the project {project} cannot be {'removed' if remove else 'listed'}",
            where=str(engine_address(environment)),
            seen=str(error),
            next_step=f"docker volume ls --filter label=com.docker.compose.project={project}",
        ) from error


def check_engine(engine: EngineFacts, environment: Mapping[str, str]) -> None:
    """Raise `LaunchError` where no engine can be used."""
    if engine.absent:
        raise LaunchError(
            "servebench keeps stacks in containers, and no Docker engine can be used",
            where=str(engine_address(environment)),
            seen=engine.absent,
            next_step="start it (docker info shows whether it answers), or name another: DOCKER_HOST=unix:///...",
        )


def _port_taken(port: int) -> bool:
    """Return whether somebody listens on ``port``; of those that only root may have, nobody can say."""
    return port >= _FIRST_UNPRIVILEGED and is_taken(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """This machine, as the commands see it."""

    environment: Mapping[str, str]
    say: Say
    artifact: Callable[[Deployment], Artifact] = lambda deployment: artifact(
        deployment.model,
        deployment.format,
        default_cache_dir(),
        precision=deployment.precision,
        input_dtype=deployment.input_dtype,
    )
    image: Callable[[ContainerImage, Say], str] = _image
    find_compose: Callable[[Mapping[str, str]], tuple[str, ...]] = find_compose
    engine: Callable[[Mapping[str, str]], EngineFacts] = engine_facts
    volumes: Callable[[Mapping[str, str], str], Sequence[str]] = _volumes
    remove_volumes: Callable[[Mapping[str, str], str], Sequence[str]] = _remove_volumes
    port_taken: Callable[[int], bool] = _port_taken
    clock: Clock = field(default_factory=MonotonicClock)
    probe: HttpProbe = http_probe
