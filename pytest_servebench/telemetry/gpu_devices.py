"""Which GPUs there are, and which of them, or which part of one, a server is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pytest_servebench.errors import MissingPieceError
from pytest_servebench.telemetry.nvml import NoGpuError, UnreadError, ask, opened, text

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""By which a user or Slurm says which GPUs programs see, and in which order."""
_MIG = "MIG-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """NVIDIA GPUs, in the order of ``cuda:0``, ``cuda:1``, ... in servers that are started here."""

    names: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    """In the same order; one that NVML does not give is empty."""
    capabilities: tuple[tuple[int, int] | None, ...] = ()
    """Their compute capabilities, as (8, 9); None where NVML does not give it."""
    slots: tuple[int, ...] = ()
    """Which they are by NVML's count of all of the machine."""
    driver: str | None = None
    absent: str = ""
    """Why there are none; empty when there are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Watched:
    """NVML's handles of what a server is given."""

    slot: int
    """Which GPU of the machine it is, or is a part of."""
    device: Any
    """The whole GPU: power, clocks and temperature are its alone."""
    part: Any = None
    """The part of it that MIG made; None: all of it is the server's."""

    @property
    def own(self) -> Any:  # noqa: ANN401 (NVML's own)
        """What has memory and processes of its own."""
        return self.device if self.part is None else self.part


def gpu_names(nvml: ModuleType | None = None, *, visible: str | None = None) -> Gpus:
    """Return the names of all GPUs, or why there are none; never raises.

    ``nvml`` is the pynvml module, for tests another one; ``visible`` the value of CUDA_VISIBLE_DEVICES that
    servers will see, None: they see all.
    """
    try:
        module = opened(nvml)
    except NoGpuError as error:
        return Gpus(absent=str(error))
    try:
        found = _seen(module, visible)
        names = tuple(text(module.nvmlDeviceGetName(each.own)) for each in found)
        uuids = tuple(_uuid(module, each.own) for each in found)
        able = tuple(_capability(module, each.device) for each in found)
        driver = text(module.nvmlSystemGetDriverVersion())
    except module.NVMLError as error:
        return Gpus(absent=f"NVML cannot be asked: {error}")
    none = "the NVIDIA driver sees no GPU" if visible is None else f"{VISIBLE}={visible} names no GPU"
    slots = tuple(each.slot for each in found)
    absent = "" if names else none
    return Gpus(names=names, uuids=uuids, capabilities=able, slots=slots, driver=driver, absent=absent)


def gpu_identity(slot: int, nvml: ModuleType | None = None) -> str:
    """Return what a compiled model depends on of a GPU, by NVML's count of all of the machine.

    As in ``NVIDIA H200, compute 9.0, driver 580.65.06``. Raises `MissingPieceError` where NVML does not say.
    """
    try:
        module = opened(nvml)
        device = ask(module, "nvmlDeviceGetHandleByIndex", slot)
        name, driver = ask(module, "nvmlDeviceGetName", device), ask(module, "nvmlSystemGetDriverVersion")
        major, minor = ask(module, "nvmlDeviceGetCudaComputeCapability", device)
    except (NoGpuError, UnreadError) as error:
        raise MissingPieceError(
            "what is compiled for a GPU cannot be kept: nobody says which GPU it is",
            where=f"GPU {slot}",
            seen=str(error),
            next_step="pip install nvidia-ml-py, and see whether this works: nvidia-smi",
        ) from error
    return f"{text(name)}, compute {major}.{minor}, driver {text(driver)}"


def watched(nvml: ModuleType, index: int, visible: str | None) -> Watched:
    """Return what ``cuda:index`` is in a server that sees ``visible``; raises `NoGpuError`."""
    try:
        if visible is None:
            return Watched(slot=index, device=nvml.nvmlDeviceGetHandleByIndex(index))
        found = _seen(nvml, visible)
    except nvml.NVMLError as error:
        raise NoGpuError(f"no GPU {index}: {error}") from error
    if index >= len(found):
        raise NoGpuError(f"no GPU {index}: {VISIBLE}={visible}")
    return found[index]


def visible_devices() -> str | None:
    """Return what this process's environment says of GPUs, which servers inherit; None: nothing."""
    return os.environ.get(VISIBLE)


def _seen(nvml: ModuleType, visible: str | None) -> tuple[Watched, ...]:
    """Return what CUDA offers, in its order.

    A list ends for CUDA at the first word that is no GPU, and one that names a GPU twice is empty; of parts
    of GPUs (MIG) it offers the first alone (CUDA C++ Programming Guide, "CUDA Environment Variables"; NVIDIA
    MIG User Guide, "CUDA Device Enumeration").
    """
    every = {i: nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())}
    words = None if visible is None else [word.strip() for word in visible.split(",")]
    if words and words[0].startswith(_MIG):
        part = _part(nvml, words[0])
        return () if part is None else (part,)
    slots = list(every) if words is None else _slots(nvml, every, words)
    if len(set(slots)) < len(slots):
        return ()
    return tuple(Watched(slot=slot, device=every[slot]) for slot in slots)


def _slots(nvml: ModuleType, every: Mapping[int, Any], words: list[str]) -> list[int]:
    slots: list[int] = []
    for word in words:
        slot = _slot(nvml, every, word)
        if slot is None:
            break
        slots.append(slot)
    return slots


def _slot(nvml: ModuleType, every: Mapping[int, Any], word: str) -> int | None:
    """Return which GPU is named by its slot, or by how its UUID begins."""
    if word.isdecimal():
        return int(word) if int(word) in every else None
    named = [slot for slot, handle in every.items() if _uuid(nvml, handle).startswith(word)]
    return named[0] if word.startswith("GPU-") and len(named) == 1 else None


def _part(nvml: ModuleType, uuid: str) -> Watched | None:
    """Return a part of a GPU by its UUID; None where the driver knows no such part."""
    try:
        part = ask(nvml, "nvmlDeviceGetHandleByUUID", uuid)
        device = ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", part)
        slot = int(ask(nvml, "nvmlDeviceGetIndex", device))
    except UnreadError:
        return None
    return Watched(slot=slot, device=device, part=part)


def is_split(nvml: ModuleType, device: object) -> bool:
    """Return whether a GPU is split into parts (MIG)."""
    try:
        return bool(ask(nvml, "nvmlDeviceGetMigMode", device)[0])
    except UnreadError:
        return False


def _capability(nvml: ModuleType, handle: object) -> tuple[int, int] | None:
    try:
        major, minor = ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    except UnreadError:
        return None
    return int(major), int(minor)


def _uuid(nvml: ModuleType, handle: object) -> str:
    try:
        return text(ask(nvml, "nvmlDeviceGetUUID", handle))
    except UnreadError:
        return ""
