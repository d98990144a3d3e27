"""Where servers run: which launcher brings them up and on which device they compute (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_servebench.containers import ContainerSettings
from pytest_servebench.errors import PlanError
from pytest_servebench.lanes import Gpu
from pytest_servebench.launchers.docker.faults import GPU_REMEDY
from pytest_servebench.options.given import Asked, Given, parse_device, parse_word
from pytest_servebench.plan import CPU, Device, LauncherKind, Plan
from pytest_servebench.thresholds import Hardware
from pytest_servebench.words import listed

NO_RUNTIME = "the Docker engine offers no NVIDIA runtime"
LAUNCHERS = ("auto", str(LauncherKind.PROCESS), str(LauncherKind.DOCKER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What this machine offers, gathered before the plan is made."""

    logical_cores: int
    """Those that this process may use."""
    cores: tuple[tuple[int, ...], ...] = ()
    """Their numbers, those of one physical core together; empty: from 0 on, each its own."""
    cuda_devices: tuple[str, ...] = ()
    """Names of its GPUs, in order of index."""
    cuda_uuids: tuple[str, ...] = ()
    """Their UUIDs, as far as they are known."""
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
        """All GPUs of this machine."""
        count = len(self.cuda_devices)
        uuids = (*self.cuda_uuids, *[""] * count)
        return tuple(Gpu(index, uuids[index]) for index in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A launcher and a device, each with the reason it was chosen."""

    launcher: LauncherKind
    launcher_reason: str
    device: Device
    device_reason: str
    gpus: tuple[Gpu, ...] = ()
    """Those that the workers of this run compute on, this one's among them; none: not on GPUs of ours."""


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
        device=device,
        device_reason=device_reason,
        gpus=() if launcher is LauncherKind.ATTACH else _gpus(given, device, surroundings),
    )


def hardware_of(plan: Plan, stack: str, surroundings: Surroundings) -> Hardware | None:
    """Return what ``stack`` computes on, for threshold profiles; None for an attached server."""
    if stack in plan.attached:
        return None
    on_gpu = plan.device.kind == "cuda" and plan.device.index < len(surroundings.cuda_devices)
    cores = surroundings.logical_cores if plan.lane.cpus is None else len(plan.lane.cpus)
    return Hardware(
        device=plan.device,
        logical_cores=computing_cores(cores, plan.launcher, plan.container),
        gpu_name=surroundings.cuda_devices[plan.device.index] if on_gpu else "",
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
    device = None if given is None else parse_device(given)
    if launcher is LauncherKind.ATTACH:
        return device or CPU, "not known: an attached server chose its own"
    if given is None or device is None:
        problem = _cuda_problem(surroundings, launcher)
        if problem:
            return CPU, problem
        device = _in_turn(surroundings)
        return device, f"found {surroundings.cuda_devices[device.index]}"
    if device.kind == "cuda":
        _check_cuda(given, device, surroundings, launcher)
    reason = f"asked for ({given.source})"
    return (device, reason) if _is_one(given, device) else (_in_turn(surroundings), reason)


def _is_one(given: Given, device: Device) -> bool:
    """Return whether it is one device that was asked for: ``cuda`` alone is any GPU."""
    return device.kind != "cuda" or ":" in given.text


def _in_turn(surroundings: Surroundings) -> Device:
    return Device("cuda", surroundings.turn % len(surroundings.cuda_devices))


def _gpus(given: Given | None, device: Device, surroundings: Surroundings) -> tuple[Gpu, ...]:
    """Return the GPUs that workers take in turn: all of them, unless it is one that was asked for."""
    if device.kind != "cuda":
        return ()
    one = given is not None and parse_device(given) is not None and _is_one(given, device)
    return (surroundings.gpus[device.index],) if one else surroundings.gpus


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
            f"is {device}, but no GPU can be used",
            seen=problem,
            next_step=GPU_REMEDY
            if problem == NO_RUNTIME
            else "use --serve-device=cpu, or auto, which takes a GPU where it can",
        )
    if device.index >= len(surroundings.cuda_devices):
        raise _no_such_gpu(given, device, surroundings)


def _no_such_gpu(given: Given, device: Device, surroundings: Surroundings) -> PlanError:
    gpus = listed(f"cuda:{i} ({name})" for i, name in enumerate(surroundings.cuda_devices))
    return given.wrong(f"is {device}, which is not there", next_step=f"use one of: cpu, {gpus}")
