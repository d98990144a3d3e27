"""Looks at the Docker engine: asks it, and starts and pulls nothing."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import socket
from collections.abc import Mapping
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.compose.command import find_compose
from pytest_servebench.containers import ImageChoice
from pytest_servebench.containing import containerised
from pytest_servebench.doctor.engine import EngineSeen
from pytest_servebench.errors import MissingPieceError, ServebenchError
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.docker.address import UNIX, EngineAddress, engine_address
from pytest_servebench.launchers.docker.engine import Engine, EngineError, EngineFacts
from pytest_servebench.launchers.docker.images import full_name
from pytest_servebench.plan import Device

CONNECT_S = 2.0
COMPOSE_S = 3.0
_GROUP = "docker"
_ROOTS_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_SYSTEMD = Path("/run/systemd/system")


def look_at_engine(facts: EngineFacts, environment: Mapping[str, str] = os.environ) -> EngineSeen:
    """Return what there is at the engine's address; ``facts`` are what it answered."""
    address = engine_address(environment)
    user = pwd.getpwuid(os.getuid()).pw_name if _is_known(os.getuid()) else "$USER"
    return EngineSeen(
        address=str(address),
        is_here=address.is_here or bool(address.unknown),
        unknown=address.unknown,
        closed=_closed(address),
        facts=facts,
        has_daemon=_is_installed("dockerd", environment),
        has_package=find_spec("docker") is not None,
        has_systemd=_SYSTEMD.is_dir(),
        user=user,
        is_member=_is_member(user),
        compose=_compose(environment),
        has_toolkit=shutil.which("nvidia-ctk") is not None,
    )


def images_there(
    stacks: Mapping[str, Stack], device: Device, environment: Mapping[str, str] = os.environ
) -> tuple[str, ...] | None:
    """Return the stacks whose image is there; None where the engine does not say."""
    there = []
    with closing(Engine(environment)) as engine:
        for name, stack in stacks.items():
            form = containerised(stack)
            image = getattr(form.in_container(ImageChoice(), device), "image", None) if form else None
            if image is None:
                continue
            try:
                if engine.image(full_name(image)) is not None:
                    there.append(name)
            except (EngineError, ServebenchError):
                return None
    return tuple(there)


def _closed(address: EngineAddress) -> int | None:
    """Return the errno with which its socket refuses; None where somebody listens, or it is not here."""
    if not address.is_here:
        return None
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(CONNECT_S)
        try:
            line.connect(address.host.removeprefix(UNIX))
        except OSError as error:
            return error.errno or errno.ETIMEDOUT
    return None


def _is_installed(program: str, environment: Mapping[str, str]) -> bool:
    """Return whether there is such a program, also where only root looks for it."""
    folders = [environment.get("PATH", os.defpath), *_ROOTS_FOLDERS]
    return shutil.which(program, path=os.pathsep.join(folders)) is not None


def _compose(environment: Mapping[str, str]) -> str:
    try:
        return " ".join(find_compose(environment, timeout_s=COMPOSE_S))
    except MissingPieceError:
        return ""


def _is_known(uid: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(uid))
    return False


def _is_member(user: str) -> bool:
    with suppress(KeyError):
        return user in grp.getgrnam(_GROUP).gr_mem
    return False
