"""How the server of container_server.py is launched, for tests of the docker launcher."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.containers import Container, ContainerImage
from pytest_servebench.plan import LaunchSpec, ReadyCheck, WorkFile
from tests.engine import BASE

PROGRAM = Path(__file__).with_name("container_server.py")
LABEL = "servebench-test"
"""On every container of these tests, with the test's own word."""


def container_spec(
    *habits: str,
    path: str = "/ready",
    deadline_s: float = 30.0,
    grace_s: float = 5.0,
    port_roles: tuple[str, ...] = ("http",),
    environment: dict[str, str] | None = None,
    scratch: tuple[str, ...] = (),
    image: ContainerImage | None = None,
) -> LaunchSpec:
    """Return how to launch it in a container of the base image of tests."""
    return LaunchSpec(
        name="tiny",
        argv=("python3", "-I", "-S", "${workdir}/server.py", "${host}", "${http_port}", *habits),
        files=(WorkFile(path="server.py", source=PROGRAM),),
        port_roles=port_roles,
        environment=environment or {},
        ready=ReadyCheck(path=path, deadline_s=deadline_s),
        container=Container(image=image or ContainerImage(name=BASE), scratch=scratch),
        stop_grace_s=grace_s,
    )
