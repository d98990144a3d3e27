"""The Docker engine: what it offers, and what it is asked for."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

TIMEOUT_S = 3
UNIX = "unix://"
DEFAULT_HOST = f"{UNIX}/var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """An engine that answered, or why none did."""

    version: str = ""
    absent: str = ""
    """Why ``version`` is empty."""
    nvidia_runtime: bool = False


def engine_facts(environment: Mapping[str, str] = os.environ) -> EngineFacts:
    """Return what the Docker engine says of itself; never raises."""
    host = environment.get("DOCKER_HOST", "") or DEFAULT_HOST
    problem = _why_closed(host)
    if not problem and find_spec("docker") is None:
        problem = 'the package docker is not installed: pip install "pytest-servebench[docker]"'
    if problem:
        return EngineFacts(absent=f"no Docker engine can be used: {problem}")
    from docker.errors import DockerException

    try:
        info = _engine_info(environment)
    except (DockerException, OSError) as error:
        return EngineFacts(absent=f"no Docker engine answers at {host}: {error}")
    return EngineFacts(version=info["ServerVersion"], nvidia_runtime="nvidia" in info.get("Runtimes", {}))


def _why_closed(host: str) -> str:
    """Return why nobody listens at a Unix socket; empty when somebody does.

    Asked before the SDK is: it takes long to import, and leaves its socket open when refused.
    """
    if not host.startswith(UNIX):
        return ""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(TIMEOUT_S)
        try:
            line.connect(host.removeprefix(UNIX))
        except OSError as error:
            return f"{host}: {error.strerror or error}"
    return ""


def _engine_info(environment: Mapping[str, str]) -> Mapping[str, Any]:
    import docker

    with closing(docker.from_env(timeout=TIMEOUT_S, environment=dict(environment))) as client:
        info: Mapping[str, Any] = client.info()
        return info
