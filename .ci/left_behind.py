"""Fails when something of ours is still there: a server, a container, a network, shared memory, a lease."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from pytest_servebench.launchers.docker import engine_facts
from pytest_servebench.leasing.holders import holders_in

WORDS = (
    "tritonserver",
    "org.pytorch.serve",
    "fastapi_app",
    "guardian.py",
    "model_service_worker",
    "triton_python_backend_stub",
)
OURS = "servebench"
COMPOSE_PROJECT = "com.docker.compose.project"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux shows it; the names are ours)


def servers() -> Iterator[str]:
    """Name the processes of servers, in containers or not."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if any(word in command for word in WORDS):
            yield f"process {process.info['pid']}: {command[:150]}"


def shared_memory() -> Iterator[str]:
    """Name the regions of shared memory."""
    for path in SHARED_MEMORY.glob(f"{OURS}-*"):
        yield f"shared memory {path}"


def leases() -> Iterator[str]:
    """Name the processes that still hold, or wait for, a GPU or this machine."""
    for holder in holders_in(Path(tempfile.gettempdir()) / f"{OURS}-leases-{os.getuid()}"):
        yield f"lease: process {holder.pid} {holder.doing} {holder.case}"


def containers() -> Iterator[str]:
    """Name the containers and networks of the engine that answers, if one does."""
    if engine_facts().absent:
        return
    import docker

    with closing(docker.from_env()) as client:
        for one in client.api.containers(all=True):
            if _is_ours(one["Labels"] or {}):
                yield f"container {one['Id'][:12]} {one['Names']}, {one['State']}: {one['Image']}"
        for one in client.api.networks():
            if _is_ours(one["Labels"] or {}):
                yield f"network {one['Name']}"


def _is_ours(labels: dict[str, str]) -> bool:
    return any(name.startswith(OURS) for name in labels) or labels.get(COMPOSE_PROJECT, "").startswith(OURS)


def main() -> int:
    """Print what is left; return how much."""
    left = [*servers(), *containers(), *shared_memory(), *leases()]
    for one in left:
        print("left behind:", one)
    print(f"{len(left)} things left behind")
    return min(len(left), 1)


if __name__ == "__main__":
    sys.exit(main())
