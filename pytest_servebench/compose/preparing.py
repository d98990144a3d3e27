"""Puts a stack's files where its service mounts them, and has its image there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pytest_servebench.compose.kept import kept_up
from pytest_servebench.compose.override import override_text, placeholders, service_of
from pytest_servebench.compose.services import STACKS, Service
from pytest_servebench.compose.tools import Tools
from pytest_servebench.compose.wanted import Wanted
from pytest_servebench.containers import ContainerSettings, ImageChoice
from pytest_servebench.errors import LaunchError, PlanError
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.launchers.docker.request import container_user, private_scratch
from pytest_servebench.launchers.workdir import Links, open_to_all, write_files
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec

UID, GID = "SERVEBENCH_UID", "SERVEBENCH_GID"
OVERRIDE = "serving.json"
MARK = ".servebench"
"""Says that a folder is ours to clear."""


def prepare(wanted: Wanted, stacks: Mapping[str, Stack], tools: Tools) -> Path:
    """Write all that the services of ``wanted`` read, and return the compose file that says how they start.

    Raises `LaunchError`, `ModelError` and `MissingPieceError`.
    """
    services: dict[str, dict[str, Any]] = {}
    for name in wanted.stacks:
        service, deployment = STACKS[name], wanted.deployment(name)
        tools.say(f"{name}: {deployment.served_name}, batches of up to {deployment.max_batch_size}")
        choice = ImageChoice(
            reference=tools.environment.get(service.image_variable, ""),
            base=wanted.base,
            wheels_path=wanted.wheels_path,
        )
        contained = cast("Containerised", stacks[name]).in_container(choice, wanted.device)
        spec = kept_spec(contained, deployment, tools.artifact(deployment))
        assert spec.container is not None
        _write(service, spec, wanted.folder / name)
        image = tools.image(spec.container.image, tools.say)
        services[name] = service_of(service, spec, image, server_user(tools.environment))
    path = wanted.folder / OVERRIDE
    path.write_text(override_text(services), encoding="utf-8")
    return path


def kept_spec(contained: Stack, deployment: Deployment, artifact: Artifact) -> LaunchSpec:
    """Return how a stack is launched that is kept running in a container, with its one deployment."""
    spec = contained.launch_spec((deployment,), {deployment.served_name: artifact})
    return kept_up(contained, spec, deployment)


def server_user(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return whom servers run as, (UID, GID): whom the environment names, else who runs this, never root.

    Raises `PlanError` for what is no number.
    """
    own = container_user(ContainerSettings(), os.getuid(), os.getgid()).split(":")
    return _number(UID, environment, own[0]), _number(GID, environment, own[1])


def _number(variable: str, environment: Mapping[str, str], otherwise: str) -> int:
    text = environment.get(variable, "") or otherwise
    if not text.isdecimal():
        raise PlanError(f"{variable} is no number", where="environment", seen=repr(text), next_step="see: id")
    return int(text)


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
            f"the folder for the files of {service.name} cannot be made",
            where=str(folder),
            seen=str(error),
            next_step="choose another with --folder",
        ) from error
    write_files(spec, folder, placeholders(service, spec), Links.NONE)
    # What compose mounts over the scratch folders is owned by the server's user: nobody else writes there.
    open_to_all(spec, folder, private_scratch(spec.container), scratch_mode=0o755)
