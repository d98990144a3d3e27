"""Whether the ports that a project shall have are free, asked before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pytest_servebench.compose.project import Project
from pytest_servebench.compose.services import LOOPBACK, SERVICES
from pytest_servebench.compose.wanted import Wanted
from pytest_servebench.errors import PortTakenError

_FURTHER = 10_000
"""How far away the port is that a message proposes."""


def check_ports(
    wanted: Wanted,
    known: Iterable[Project],
    environment: Mapping[str, str],
    is_taken: Callable[[int], bool],
) -> None:
    """Raise `PortTakenError` where somebody else listens at a port that ``wanted`` shall have.

    ``known`` are the projects that are up: the ports of that of the same name become free.
    """
    held = {port: project.name for project in known for port in ports_of(project)}
    for service in wanted.services:
        for role, port in service.published(environment).items():
            holder = held.get(port, "")
            if holder == wanted.project or not is_taken(port):
                continue
            variable = next(each.variable for each in service.ports if each.role == role)
            ends = f", or end the project that has it: servebench down --project {holder}" if holder else ""
            raise PortTakenError(
                f"port {port}, for {service.name}'s {role}, is taken",
                where=LOOPBACK,
                seen=f"the project {holder} has it" if holder else "somebody listens there",
                next_step=f"choose another: {variable}={another(port)} servebench up ...{ends}",
            )


def ports_of(project: Project) -> list[int]:
    """Return every port that ``project`` was published at."""
    return [port for name in project.services for port in SERVICES[name].published(project.settings).values()]


def another(port: int) -> int:
    """Return the port that is proposed in place of ``port``."""
    return port + _FURTHER if port + _FURTHER < 2**16 else port - _FURTHER
