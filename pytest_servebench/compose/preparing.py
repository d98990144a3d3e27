"""Puts a stack's files where its service mounts them, and has its image there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from pytest_servebench.compose.kept import kept_up
from pytest_servebench.compose.override import override_text, placeholders, service_of
from pytest_servebench.compose.services import STACKS, Service
from pytest_servebench.compose.wanted import Wanted
from pytest_servebench.containers import ContainerSettings, ImageChoice
from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.launchers.docker.engine import open_engine
from pytest_servebench.launchers.docker.images import have_image
from pytest_servebench.launchers.docker.request import container_user, private_scratch
from pytest_servebench.launchers.workdir import Links, open_to_all, write_files
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec

OVERRIDE = "serving.json"
MARK = ".servebench"
"""Says that a folder is ours to clear."""
Say = Callable[[str], None]


def prepare(
    wanted: Wanted,
    stacks: Mapping[str, Stack],
    artifact: Callable[[Deployment], Artifact],
    environment: Mapping[str, str],
    say: Say,
) -> Path:
    """Write all that the services of ``wanted`` read, and return the compose file that says how they start.

    Raises `LaunchError`, `ModelError` and `MissingPieceError`.
    """
    user = server_user(environment)
    services: dict[str, dict[str, Any]] = {}
    for name in wanted.stacks:
        service, deployment = STACKS[name], wanted.deployment(name)
        say(f"{name}: {deployment.served_name}, batches of up to {deployment.max_batch_size}")
        choice = ImageChoice(reference=environment.get(service.image_variable, ""))
        contained = cast("Containerised", stacks[name]).in_container(choice, wanted.device)
        spec = kept_spec(contained, deployment, artifact(deployment))
        _write(service, spec, wanted.folder / name)
        services[name] = service_of(service, spec, _image(spec, environment, say), user)
    path = wanted.folder / OVERRIDE
    path.write_text(override_text(services), encoding="utf-8")
    return path


def server_user(environment: Mapping[str, str]) -> str:
    """Return whom servers run as, ``UID:GID``: who runs this, and never root."""
    return environment.get("SERVEBENCH_USER", "") or container_user(
        ContainerSettings(), os.getuid(), os.getgid()
    )


def kept_spec(contained: Stack, deployment: Deployment, artifact: Artifact) -> LaunchSpec:
    """Return how a stack is launched that is kept running in a container, with its one deployment."""
    spec = contained.launch_spec((deployment,), {deployment.served_name: artifact})
    return kept_up(contained, spec, deployment)


def _write(service: Service, spec: LaunchSpec, folder: Path) -> None:
    """Lay the files of ``spec`` into ``folder``, which holds nothing else then."""
    assert spec.container is not None
    mark = folder / MARK
    try:
        if folder.exists() and any(folder.iterdir()) and not mark.exists():
            raise LaunchError(
                f"the files of {service.name} cannot be put into a folder that holds others",
                where=str(folder),
                next_step="empty it, or choose another with --folder",
            )
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        mark.write_text("Made by servebench up, which clears this folder.\n", encoding="utf-8")
    except OSError as error:
        raise LaunchError(
            f"the folder for the files of {service.name} cannot be made", where=str(folder), seen=str(error)
        ) from error
    write_files(spec, folder, placeholders(service, spec), Links.NONE)
    open_to_all(spec, folder, private_scratch(spec.container))


def _image(spec: LaunchSpec, environment: Mapping[str, str], say: Say) -> str:
    assert spec.container is not None
    with closing(open_engine(environment, spec.name)) as engine:
        return have_image(engine, spec.container.image, say).name
