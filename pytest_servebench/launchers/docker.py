"""What a Docker engine on this machine offers; the only file that imports the docker SDK."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

ENGINE_TIMEOUT_S = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """An engine that answered, or why none did."""

    version: str = ""
    absent: str = ""
    """Why ``version`` is empty."""
    nvidia_runtime: bool = False


def engine_facts() -> EngineFacts:
    """Return what the Docker engine says of itself; never raises."""
    if find_spec("docker") is None:
        return EngineFacts(absent="no Docker engine was asked: the package docker is not installed")
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT_S)
        try:
            info = client.info()
        finally:
            client.close()
    except DockerException as error:
        return EngineFacts(absent=f"no Docker engine answers: {_first_cause(error)}")
    return EngineFacts(version=info["ServerVersion"], nvidia_runtime="nvidia" in info.get("Runtimes", {}))


def _first_cause(error: BaseException) -> str:
    """Return the innermost message: the SDK wraps it three times over."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error)
