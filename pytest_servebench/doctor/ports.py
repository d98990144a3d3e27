"""The ports that ``servebench up`` publishes, and who has them (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_servebench.checkup import Check, CheckState

SECTION = "Ports of servebench up"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSeen:
    """One port."""

    service: str
    role: str
    variable: str
    """The environment variable that moves it."""
    port: int
    other: int
    """One to move it to."""
    is_taken: bool = False
    holder: str = ""
    """The project that keeps it, or the process, as ``python3 (412)``; empty: it cannot be seen."""
    project: str = ""
    """The project of `servebench up` that has it; empty: none has."""


def port_checks(ports: tuple[PortSeen, ...]) -> Iterator[Check]:
    """Yield one check for each port that is taken, and one for all that are free.

    Benchmarks pick free ports of their own: nothing here keeps them from running.
    """
    free = [str(each.port) for each in ports if not each.is_taken]
    if free:
        yield _check("free", CheckState.OK, ", ".join(free))
    for each in ports:
        if each.is_taken:
            yield _taken(each)


def _taken(seen: PortSeen) -> Check:
    subject = f"{seen.port} ({seen.service} {seen.role})"
    if seen.project:
        return _check(subject, CheckState.OK, f"the project {seen.project} of servebench up has it")
    who = f"{seen.holder} listens there" if seen.holder else "somebody listens there; root can see who"
    look = "" if seen.holder else f"sudo ss -tlnp 'sport = :{seen.port}'\n"
    move = f"{seen.variable}={seen.other} servebench up --stack {seen.service}"
    if seen.service not in {"fastapi", "triton", "torchserve"}:
        move = f"export {seen.variable}={seen.other}"
    return _check(subject, CheckState.WARNING, who, look + move)


def _check(subject: str, state: CheckState, seen: str, remedy: str = "") -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy)
