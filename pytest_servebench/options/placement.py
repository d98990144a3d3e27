"""Where servers run: which launcher brings them up and on which device they compute (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pytest_servebench.containers import GPU_REMEDY, ContainerSettings
from pytest_servebench.errors import PlanError
from pytest_servebench.leasing.lanes import Gpu
from pytest_servebench.options.given import Asked, Given, parse_device, parse_word
from pytest_servebench.plan import CPU, Device, LauncherKind, Plan
from pytest_servebench.thresholds import Hardware
from pytest_servebench.words import listed

NO_RUNTIME = "the Docker engine offers no NVIDIA runtime"
GPU_DOCTOR = "what that needs, and what installs it: servebench doctor --device=cuda"
_MEND_OR_CPU = f"{GPU_DOCTOR}; or use --serve-device=cpu, or auto, which takes a GPU where it can"
LAUNCHERS = ("auto", str(LauncherKind.PROCESS), str(LauncherKind.DOCKER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What this machine offers, gathered before the plan is made."""

    logical_cores: int
    """Those that this process may use."""
    cores: tuple[tuple[int, ...], ...] = ()
    """Their numbers, those of one physical core together; empty: from 0 on, each its own."""
    cuda_devices: tuple[str, ...] = ()
    """Names of its GPUs that servers see, in the order of ``cuda:0``, ``cuda:1``, ..."""
    cuda_uuids: tuple[str, ...] = ()
    """Their UUIDs, as far as they are known."""
    cuda_capabilities: tuple[tuple[int, int] | None, ...] = ()
    """Their compute capabilities, as far as they are known."""
    cuda_slots: tuple[int, ...] = ()
    """Where NVML counts them among all of the machine; empty: in the same order."""
    cuda_visible: str | None = None
    """The value of CUDA_VISIBLE_DEVICES, which left only these; None: it is not set."""
    cuda_absent: str = "no NVIDIA GPU was found"
    """Why ``cuda_devices`` is empty."""
    cuda_unusable: str = ""
    """Why the installed Python packages cannot compute on these GPUs; empty when they can."""
    docker_engine: str = ""
    """What the engine answered, e.g. its version; empty when none answered."""
    docker_absent: str = "no Docker engine answers"
    """Why ``docker_engine`` is empty."""
    nvidia_runtime: bool = False
    """Whether that engine gives GPUs to containers."""
    k6: str = ""
    """Path of the k6 binary; empty without one."""
    turn: int = 0
    """Which of the workers of this run asks, from 0: they take GPUs and sets of cores in turn."""

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """All GPUs of this machine that servers see."""
        count = len(self.cuda_devices)
        uuids = (*self.cuda_uuids, *[""] * count)
        slots = (*self.cuda_slots, *[None] * count)
        return tuple(Gpu(index, uuids[index], slots[index]) for index in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A launcher and a device, each with the reason it was chosen."""

    launcher: LauncherKind
    launcher_reason: str
    device: Device
    device_reason: str
    gpu_sets: tuple[tuple[Gpu, ...], ...] = ()
    """Of each server of this run the GPUs it computes on; workers take them in turn. None: no GPU of ours."""


def choose_placement(asked: Asked, surroundings: Surroundings, *, all_attached: bool) -> Placement:
    """Return where the plan runs; raises `PlanError` when what was asked for is not there.

    The launcher comes first: inside a container the image's packages decide whether a
    GPU can be used, in a local process those that are installed here.
    """
    launcher, launcher_reason = _launcher(asked.get("launcher"), surroundings, all_attached=all_attached)
    given = asked.get("device")
    device, device_reason = _device(given, surroundings, launcher)
    return Placement(
        launcher=launcher,
        launcher_reason=launcher_reason,
        device=_with_capability(device, surroundings),
        device_reason=device_reason,
        gpu_sets=() if launcher is LauncherKind.ATTACH else _gpu_sets(given, device, surroundings),
    )


def hardware_of(plan: Plan, stack: str, surroundings: Surroundings) -> Hardware | None:
    """Return what ``stack`` computes on, for threshold profiles; None for an attached server."""
    if stack in plan.attached:
        return None
    names = surroundings.cuda_devices
    cores = surroundings.logical_cores if plan.lane.cpus is None else len(plan.lane.cpus)
    return Hardware(
        device=plan.device,
        logical_cores=computing_cores(cores, plan.launcher, plan.container),
        gpu_names=tuple(names[index] for index in plan.device.indexes if index < len(names)),
    )


def computing_cores(usable: int, launcher: LauncherKind, container: ContainerSettings) -> int:
    """Return on how many of the ``usable`` cores a server computes: a container may be limited to fewer."""
    if launcher is not LauncherKind.DOCKER or container.cpus is None:
        return usable
    return min(usable, math.ceil(container.cpus))


def _launcher(
    given: Given | None,
    surroundings: Surroundings,
    *,
    all_attached: bool,
) -> tuple[LauncherKind, str]:
    word = "auto" if given is None else parse_word(given, LAUNCHERS)
    if all_attached:
        return LauncherKind.ATTACH, "every stack was given by URL"
    if given is None or word == "auto":
        return _auto_launcher(surroundings)
    if word == "docker":
        _check_docker(given, surroundings)
    return LauncherKind(word), f"asked for ({given.source})"


def _check_docker(given: Given, surroundings: Surroundings) -> None:
    if not surroundings.docker_engine:
        raise given.wrong(
            "is docker, but no Docker engine can be used",
            seen=surroundings.docker_absent,
            next_step="start the engine, install the package docker if that is missing, or use one of: "
            + listed(w for w in LAUNCHERS if w != "docker"),
        )


def _auto_launcher(surroundings: Surroundings) -> tuple[LauncherKind, str]:
    """Return docker only where it is whole: an automatic choice must never be the one that fails."""
    if not surroundings.docker_engine:
        return LauncherKind.PROCESS, surroundings.docker_absent
    if not surroundings.nvidia_runtime:
        return LauncherKind.PROCESS, NO_RUNTIME
    return LauncherKind.DOCKER, "the Docker engine answers and offers an NVIDIA runtime"


def _device(given: Given | None, surroundings: Surroundings, launcher: LauncherKind) -> tuple[Device, str]:
    device = None if given is None else parse_device(given, len(surroundings.cuda_devices))
    if launcher is LauncherKind.ATTACH:
        return device or CPU, "not known: an attached server chose its own"
    if given is None or device is None:
        problem = _cuda_problem(surroundings, launcher)
        if problem:
            installable = problem == surroundings.cuda_unusable
            return CPU, f"{problem}; {GPU_DOCTOR}" if installable else problem
        device = _in_turn(surroundings)
        return device, f"found {surroundings.cuda_devices[device.index]}{_of_visible(surroundings)}"
    if device.kind == "cuda":
        _check_cuda(given, device, surroundings, launcher)
    reason = f"asked for ({given.source})" + _of_visible(surroundings) * (device.kind == "cuda")
    return (device, reason) if _is_named(given, device) else (_in_turn(surroundings), reason)


def _with_capability(device: Device, surroundings: Surroundings) -> Device:
    """Return it with the least of what its GPUs can, where every one of them is known."""
    told = surroundings.cuda_capabilities
    found = [told[index] if index < len(told) else None for index in device.indexes]
    known = [each for each in found if each is not None]
    return replace(device, capability=min(known)) if known and len(known) == len(found) else device


def _of_visible(surroundings: Surroundings) -> str:
    told = surroundings.cuda_visible
    return "" if told is None else f", counted in CUDA_VISIBLE_DEVICES={told}"


def _is_named(given: Given, device: Device) -> bool:
    """Return whether it is said which device: ``cuda`` alone is any GPU."""
    return device.kind != "cuda" or ":" in given.text


def _in_turn(surroundings: Surroundings) -> Device:
    return Device("cuda", surroundings.turn % len(surroundings.cuda_devices))


def _gpu_sets(given: Given | None, device: Device, surroundings: Surroundings) -> tuple[tuple[Gpu, ...], ...]:
    """Return what workers take in turn: each GPU, unless it was said which; those are then everybody's."""
    if device.kind != "cuda":
        return ()
    if given is not None and parse_device(given) is not None and _is_named(given, device):
        return (tuple(surroundings.gpus[index] for index in device.indexes),)
    return tuple((gpu,) for gpu in surroundings.gpus)


def _cuda_problem(surroundings: Surroundings, launcher: LauncherKind) -> str:
    if not surroundings.cuda_devices:
        return surroundings.cuda_absent
    if launcher is LauncherKind.DOCKER:
        return "" if surroundings.nvidia_runtime else NO_RUNTIME
    return surroundings.cuda_unusable


def _check_cuda(given: Given, device: Device, surroundings: Surroundings, launcher: LauncherKind) -> None:
    problem = _cuda_problem(surroundings, launcher)
    if problem:
        raise given.wrong(
            f"is {given.text.strip()}, but no GPU can be used",
            seen=problem,
            next_step=GPU_REMEDY if problem == NO_RUNTIME else _MEND_OR_CPU,
        )
    if device.indexes[-1] >= len(surroundings.cuda_devices):
        raise _no_such_gpu(given, device, surroundings)


def _no_such_gpu(given: Given, device: Device, surroundings: Surroundings) -> PlanError:
    gpus = listed(f"cuda:{i} ({name})" for i, name in enumerate(surroundings.cuda_devices))
    absent = [index for index in device.indexes if index >= len(surroundings.cuda_devices)]
    which = f"of which {listed(f'cuda:{index}' for index in absent)}" if device.more else "which"
    verb = "are" if len(absent) > 1 else "is"
    return given.wrong(f"is {device}, {which} {verb} not there", next_step=f"use one of: cpu, {gpus}")
