"""Room on disks and in memory (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.models.kept_folder import CACHE_VARIABLE

SECTION = "Disk and memory"
EXPORT_BYTES = 300_000_000
"""What the export of a model takes, ResNet50's 196 MB and its staging."""
CPU_IMAGES_BYTES = 2_000_000_000
"""The three images for a CPU: 0.9 GB, then 0.1 GB each, and their base (deploy/IMAGES.md), rounded up."""
SERVER_BYTES = 1_500_000_000
"""One server on a CPU, at most 0.8 GB as measured with ResNet50, with client and reference beside it."""
SHARED_BYTES = 128 * 2**20
"""Shared memory that Triton's Python backend may take for some models of batches of 32 images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSeen:
    """A folder, and what is free on its disk."""

    path: str
    free_bytes: int | None
    absent: str = ""
    """Why ``free_bytes`` is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSeen:
    """Room on this machine."""

    cache: DiskSeen
    """For exported models."""
    has_model: bool = False
    """Whether one was exported there already."""
    engine: DiskSeen | None = None
    """The Docker engine's; None: no engine answers."""
    images: tuple[str, ...] | None = None
    """Of stacks whose image is there; None: not known."""
    shared: DiskSeen
    memory_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    """That a cgroup sets; None: none does."""


def space_checks(seen: SpaceSeen, *, on_gpu: bool, in_docker: bool) -> Iterator[Check]:
    """Yield what there is to say; ``in_docker``: containers would be used, ``on_gpu``: those with CUDA."""
    yield _cache(seen)
    yield _images(seen, on_gpu=on_gpu, is_needed=in_docker)
    yield _memory(seen)
    yield _shared(seen.shared)


def _cache(seen: SpaceSeen) -> Check:
    subject, free = "cache of models", seen.cache.free_bytes
    if free is None:
        return _check(subject, CheckState.NOT_AVAILABLE, f"{seen.cache.path}: {seen.cache.absent}")
    shown = f"{_gb(free)} free at {seen.cache.path}"
    if seen.has_model:
        return _check(subject, CheckState.OK, f"{shown}; a model is there already")
    if free >= EXPORT_BYTES:
        return _check(subject, CheckState.OK, f"{shown}; an export takes {_gb(EXPORT_BYTES)}")
    return Check(
        section=SECTION,
        subject=subject,
        state=CheckState.MISSING,
        seen=f"{shown}, and an export takes {_gb(EXPORT_BYTES)}",
        remedy=f"export {CACHE_VARIABLE}=/a/folder/on/another/disk",
        is_needed=True,
    )


def _images(seen: SpaceSeen, *, on_gpu: bool, is_needed: bool) -> Check:
    subject = "images"
    if seen.engine is None:
        return _check(subject, CheckState.NOT_AVAILABLE, "no Docker engine to keep them")
    if seen.engine.free_bytes is None:
        return _check(subject, CheckState.NOT_AVAILABLE, f"{seen.engine.path}: {seen.engine.absent}")
    have = f"; there already: {', '.join(seen.images)}" if seen.images else ""
    shown = f"{_gb(seen.engine.free_bytes)} free at {seen.engine.path}{have}"
    if on_gpu:
        return _check(
            subject, CheckState.NOT_AVAILABLE, f"{shown}; what images for a GPU take was never measured"
        )
    if seen.engine.free_bytes >= CPU_IMAGES_BYTES:
        return _check(subject, CheckState.OK, f"{shown}; three images for a CPU take {_gb(CPU_IMAGES_BYTES)}")
    return Check(
        section=SECTION,
        subject=subject,
        state=CheckState.WARNING if seen.images else CheckState.MISSING,
        seen=f"{shown}, and three images for a CPU take {_gb(CPU_IMAGES_BYTES)}",
        remedy="docker image prune  # or docker system df, to see what takes the room",
        is_needed=is_needed,
    )


def _memory(seen: SpaceSeen) -> Check:
    limit = seen.limit_bytes
    limited = "" if limit is None else f", and a cgroup gives this process {_gb(limit)}"
    shown = f"{_gb(seen.available_bytes)} of {_gb(seen.memory_bytes)} available{limited}"
    usable = seen.available_bytes if limit is None else min(limit, seen.available_bytes)
    if usable >= SERVER_BYTES:
        return _check("memory", CheckState.OK, shown)
    why = f"{shown}; a server, its client and the reference take up to {_gb(SERVER_BYTES)}"
    return _check("memory", CheckState.WARNING, why, "ps aux --sort -rss | head  # what takes it")


def _shared(seen: DiskSeen) -> Check:
    if seen.free_bytes is None:
        return _check("/dev/shm", CheckState.NOT_AVAILABLE, seen.absent)  # noqa: S108 (a subject)
    shown = f"{_gb(seen.free_bytes)} free"
    if seen.free_bytes >= SHARED_BYTES:
        return _check(seen.path, CheckState.OK, shown)
    why = f"{shown}, and Triton's Python backend passes images through it"
    remedy = "sudo mount -o remount,size=1G /dev/shm  # in a container: docker run --shm-size=1g"
    return _check(seen.path, CheckState.WARNING, why, remedy)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _check(subject: str, state: CheckState, seen: str, remedy: str = "") -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy)
