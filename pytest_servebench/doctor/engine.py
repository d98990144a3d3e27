"""The Docker engine: whether it answers, and what keeps it from it (pure)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.launchers.docker.engine import EngineFacts

SECTION = "Docker"
ENGINE = "engine"
_PACKAGE = 'pip install "pytest-servebench[docker]"'
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker"
_TOOLKIT = (
    "sudo apt-get install nvidia-container-toolkit  # from NVIDIA's repository: "
    "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/"
)
_SILENT = frozenset({errno.ETIMEDOUT, errno.EAGAIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSeen:
    """What was seen of the engine that the user's ``docker`` command talks to."""

    address: str
    is_here: bool = True
    """Whether its address is one of this machine."""
    unknown: str = ""
    """Why it has no address."""
    closed: int | None = None
    """The errno with which its socket refused; None: somebody listens, or it was not tried."""
    facts: EngineFacts = field(default_factory=EngineFacts)
    has_daemon: bool = False
    """Whether an engine (``dockerd``) is installed."""
    has_package: bool = False
    """Whether Python's package ``docker`` is installed."""
    has_systemd: bool = True
    user: str = "$USER"
    is_member: bool = False
    """Whether the user is in the group ``docker``, perhaps since after this shell began."""
    compose: str = ""
    """The command that is Docker Compose; empty: there is none."""
    has_toolkit: bool = False
    """Whether ``nvidia-ctk`` is installed."""


def engine_checks(seen: EngineSeen, *, has_gpu: bool, is_needed: bool) -> Iterator[Check]:
    """Yield what there is to say; ``is_needed``: containers were asked for."""
    problem, remedy = engine_problem(seen)
    if problem:
        yield _check(ENGINE, CheckState.MISSING, problem, remedy, is_needed=is_needed)
    else:
        yield _check(ENGINE, CheckState.OK, f"version {seen.facts.version} at {seen.address}")
    yield _runtime(seen, answers=not problem, has_gpu=has_gpu)
    yield _compose(seen)


def engine_problem(seen: EngineSeen) -> tuple[str, str]:
    """Return why no container can be started and what mends it; two empty texts where one can."""
    if seen.unknown:
        return seen.unknown, "docker context ls\ndocker context use default"
    if not seen.is_here:
        return (
            f"it is on another machine ({seen.address}), which does not see the files of this one",
            "unset DOCKER_HOST DOCKER_CONTEXT && docker context use default",
        )
    if seen.closed is not None:
        return _closed(seen, seen.closed)
    if not seen.has_package:
        return "one listens, but the Python package docker is not installed", _PACKAGE
    if not seen.facts.version:
        return (
            f"one listens, and does not answer: {seen.facts.absent}",
            f"docker info\n{_service(seen, 'restart')}",
        )
    return "", ""


def _closed(seen: EngineSeen, code: int) -> tuple[str, str]:
    if code in {errno.EACCES, errno.EPERM}:
        if seen.is_member:
            return (
                f"permission denied at {seen.address}: this shell is older than the membership",
                "newgrp docker",
            )
        return f"permission denied at {seen.address}", f"sudo usermod -aG docker {seen.user} && newgrp docker"
    if code in _SILENT:
        return f"{seen.address} takes no connection", _service(seen, "restart")
    if not seen.has_daemon:
        return (
            f"not installed (nothing listens at {seen.address}, and there is no dockerd)",
            f"sudo apt-get install docker.io\n{_PACKAGE}",
        )
    return f"installed, but not running (nothing listens at {seen.address})", _service(seen, "start")


def _service(seen: EngineSeen, verb: str) -> str:
    return f"sudo systemctl {verb} docker" if seen.has_systemd else f"sudo service docker {verb}"


def _runtime(seen: EngineSeen, *, answers: bool, has_gpu: bool) -> Check:
    subject = "NVIDIA runtime"
    if answers and seen.facts.nvidia_runtime:
        return _check(subject, CheckState.OK, "the engine offers it")
    if not has_gpu:
        return _check(subject, CheckState.NOT_AVAILABLE, "no GPU to give to containers")
    if not answers:
        return _check(subject, CheckState.NOT_AVAILABLE, "no engine to ask")
    restart = _service(seen, "restart")
    if seen.has_toolkit:
        why, remedy = (
            "nvidia-ctk is installed, but this engine is not told of it",
            f"{_CONFIGURE} && {restart}",
        )
    else:
        why, remedy = "nvidia-ctk is not installed", f"{_TOOLKIT}\n{_CONFIGURE} && {restart}"
    return _check(subject, CheckState.MISSING, f"the engine gives no GPU to containers: {why}", remedy)


def _compose(seen: EngineSeen) -> Check:
    subject = "compose"
    if seen.compose:
        return _check(subject, CheckState.OK, seen.compose)
    return _check(
        subject,
        CheckState.MISSING,
        "neither docker compose nor docker-compose answers; servebench up needs one",
        "sudo apt-get install docker-compose-plugin  # of Docker's repository; Debian's is docker-compose",
    )


def _check(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)
