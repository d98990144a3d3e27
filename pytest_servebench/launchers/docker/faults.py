"""Why a container did not become a ready server, in words and with what to do."""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.containers import GPU_REMEDY, Preparation
from pytest_servebench.errors import (
    LaunchError,
    PortTakenError,
    ServerExitedError,
    ServerNotReadyError,
    ToolMissingError,
)
from pytest_servebench.launchers.docker.container import End
from pytest_servebench.launchers.docker.images import PresentImage
from pytest_servebench.launchers.docker.request import ContainerRequest, by_hand
from pytest_servebench.launchers.process import describe_exit
from pytest_servebench.launchers.readiness import Readiness
from pytest_servebench.launchers.workdir import ServerLog
from pytest_servebench.plan import LaunchSpec

_NO_GPU_DRIVER = "could not select device driver"
_PORT_TAKEN = re.compile(r"address already in use|port is already allocated")
_REMEDIES = {
    _NO_GPU_DRIVER: GPU_REMEDY,
    "unsatisfied condition: cuda": "the driver is too old for the image's CUDA: servebench doctor says"
    " what it runs and what installs a newer one (docs/gpu.md#which-driver); or use --serve-device=cpu",
    "unresolvable CDI devices": "the engine hands GPUs out by descriptions and has none of this one:"
    " nvidia-ctk cdi list shows them, sudo systemctl restart nvidia-cdi-refresh makes them anew;"
    " before toolkit 1.18: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    "nvidia-container-cli": "see whether this works: nvidia-smi; the driver or the GPU's number may be wrong",
    "bind source path does not exist": "the engine sees other folders than this process: run both on one"
    " machine, and not in containers of their own",
    "cannot assign requested address": "give an address of this machine with --serve-host:"
    " ip -brief address shows them",
    "Range of CPUs": "give containers as many CPUs as there are, or fewer: --serve-container=cpus=...",
    "Requested CPUs are not available": "give cores that there are: lscpu",
    "Minimum memory limit": "give containers more memory, or no limit: --serve-container=memory=...",
    "unable to find user": "give UID:GID, or image for whom the image names: --serve-container=user=...",
}
"""What to do about what the engine says, by a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to have a server in a container."""

    stack: str
    spec: LaunchSpec
    image: PresentImage
    host: str
    ports: Mapping[str, int]
    """Where the server listens, as it sees it."""
    request: ContainerRequest
    log: ServerLog

    @property
    def name(self) -> str:
        """What the spec calls it."""
        return self.spec.name

    @property
    def where(self) -> str:
        """What there is to look at."""
        return f"image {self.image.name}, log {self.log.path}"

    @property
    def by_hand(self) -> str:
        """The command with which a person starts the same."""
        return shlex.join(by_hand(self.request, self.image.name))


def not_started(attempt: Attempt, seen: str) -> LaunchError:
    """Return why the engine did not create or start the container."""
    if _PORT_TAKEN.search(seen):
        return port_taken(attempt, seen)
    remedy = next((text for part, text in _REMEDIES.items() if part in seen), "")
    gpu = _NO_GPU_DRIVER in seen
    return LaunchError(
        f"{attempt.name} cannot be launched: the Docker engine "
        + ("gives no GPU to containers" if gpu else "did not start its container"),
        where=attempt.where,
        seen=seen,
        next_step=remedy or f"to try by hand: {attempt.by_hand}",
    )


def exited(attempt: Attempt, end: End) -> ServerExitedError:
    """Return how the container ended before its server was ready."""
    starved = "lack of memory" in end.why
    return ServerExitedError(
        f"{attempt.name} ended by itself with {describe_exit(end.exit_code)} before it was ready",
        exit_code=end.exit_code,
        where=attempt.where,
        seen=_with_log(end.why or "its container ended", attempt),
        next_step="give containers more memory, or no limit: --serve-container=memory=..."
        if starved
        else f"read its log; to try by hand: {attempt.by_hand}",
    )


def not_ready(attempt: Attempt, port: int, readiness: Readiness, unheard: str) -> ServerNotReadyError:
    """Return how far the server was at its deadline."""
    ready = attempt.spec.ready
    heard = [f"last answer: {readiness.last_answer}", unheard]
    return ServerNotReadyError(
        f"{attempt.name} was not ready after {ready.deadline_s:g} s and was ended",
        where=f"GET http://{attempt.host}:{port}{ready.path}; {attempt.where}",
        seen=_with_log("; ".join(filter(None, heard)), attempt),
        next_step="see whether the engine answers: docker info"
        if unheard
        else "read its log; a slow machine may need a later deadline",
    )


def port_taken(attempt: Attempt, seen: str, ports: Mapping[str, int] | None = None) -> PortTakenError:
    """Return that somebody else has a port of the server."""
    named = "".join(f", {role} {port}" for role, port in (ports or {}).items())
    return PortTakenError(
        f"{attempt.name} lost its port to somebody else, also on new ports",
        where=f"{attempt.host}{named}; {attempt.where}",
        seen=seen,
        next_step="find who listens: ss -tlnp",
    )


def not_prepared(preparation: Preparation, image: PresentImage, log_path: Path, seen: str) -> LaunchError:
    """Return why a file that a server needs was not made."""
    if _lacks(preparation.argv[0], seen):
        return ToolMissingError(
            f"{preparation.product} for {preparation.name} cannot be made: "
            f"the image has no {preparation.argv[0]}",
            where=f"image {image.name}, log {log_path}",
            seen=seen,
            next_step=preparation.next_step_without_tool or preparation.next_step,
        )
    why = ": the Docker engine gives no GPU to containers" if _NO_GPU_DRIVER in seen else ""
    return LaunchError(
        f"{preparation.product} for {preparation.name} cannot be made{why}",
        where=f"image {image.name}, log {log_path}",
        seen=seen,
        next_step=next((text for part, text in _REMEDIES.items() if part in seen), preparation.next_step),
    )


def _lacks(tool: str, seen: str) -> bool:
    """Return whether the engine, its init, or the shell of an entry point said that there is no such program.

    As in ``exec: "TOOL": stat TOOL: no such file or directory``, tini's ``exec TOOL failed: No such file or
    directory`` and ``exec: TOOL: not found``. One that lacks a shared library is there.
    """
    end = r'"?( failed)?: (cannot execute: |executable file )?(no such file or directory|not found)'
    return re.search(re.escape(tool) + end, seen, re.IGNORECASE) is not None


def no_ports(name: str, host: str, error: OSError) -> LaunchError:
    """Return why no free ports can be picked at ``host``."""
    if error.errno == errno.EADDRNOTAVAIL:
        return LaunchError(
            f"{name} cannot be launched: {host} is no address of this machine",
            where=host,
            seen=str(error),
            next_step=_REMEDIES["cannot assign requested address"],
        )
    return PortTakenError(
        f"{name} cannot be launched: no free port",
        where=host,
        seen=str(error),
        next_step="end what holds the ports: ss -tlnp",
    )


def _with_log(seen: str, attempt: Attempt) -> str:
    tail = attempt.log.tail() or "(it wrote nothing)"
    return "\n    ".join([f"{seen}; the last lines of its log:", *tail.splitlines()])
