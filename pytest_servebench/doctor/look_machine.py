"""Looks at Java, packages, ports, disks, memory and CPU of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from pytest_servebench.clock import process_cpu_ns, thread_cpu_ns
from pytest_servebench.compose import project as books
from pytest_servebench.compose.ports import another, ports_of
from pytest_servebench.compose.project import Project, state_dir_if_any
from pytest_servebench.compose.services import SERVICES
from pytest_servebench.doctor.packages import OWN, JavaSeen, PackagesSeen
from pytest_servebench.doctor.ports import PortSeen
from pytest_servebench.doctor.quiet import CpuSeen, NoiseSeen
from pytest_servebench.doctor.space import DiskSeen, SpaceSeen
from pytest_servebench.errors import MissingPieceError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.ports import is_taken
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import default_cache_dir, export_order
from pytest_servebench.models.weights import Weights
from pytest_servebench.plan import MissingPiece
from pytest_servebench.stacks.java import find_java, too_old_java
from pytest_servebench.telemetry.cgroup import cgroup_of
from pytest_servebench.telemetry.neighbours import busy_and_told_s, others_cores, untold

MODEL = "resnet50"
JAVA_S = 5.0
NOISE_S = 1.0
"""How long equal pieces of work are timed."""
_PIECE = 100_000
"""Additions in one piece: some milliseconds."""
_CPUS = Path("/sys/devices/system/cpu")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_SHARED = "/dev/shm"  # noqa: S108 (the kernel's)


def look_for_java() -> JavaSeen:
    """Return the Java that TorchServe would be run with, as it tells its version."""
    java, old = find_java(), too_old_java()
    if java is None:
        return JavaSeen(too_old=str(old or ""))
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=JAVA_S, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError) as error:
        return JavaSeen(path=str(java), problem=str(error))
    words = (done.stderr or done.stdout).strip().splitlines()
    return JavaSeen(path=str(java), version=words[0] if words else "of unknown version")


def look_at_packages() -> PackagesSeen:
    """Return what our own distribution asks for, and the versions that are installed of it."""
    try:
        own = metadata.distribution(OWN)
    except metadata.PackageNotFoundError:
        return PackagesSeen(absent=f"{OWN} is not installed, so what it asks for is not known")
    requirements = tuple(own.requires or ())
    names = {Requirement(each).name for each in requirements} | {"onnxruntime-gpu"}
    return PackagesSeen(
        requirements=requirements,
        extras=tuple(own.metadata.get_all("Provides-Extra") or ()),
        installed=dict(_versions(names)),
    )


def look_at_export() -> tuple[MissingPiece, ...]:
    """Return what the export of a model needs and is not installed."""
    try:
        export_order(model_card(MODEL), Weights(label=""))
    except MissingPieceError as error:
        return (MissingPiece(what=error.what, remedy=error.next_step),)
    return ()


def look_at_ports(environment: Mapping[str, str] = os.environ) -> tuple[PortSeen, ...]:
    """Return the ports that ``servebench up`` would publish; raises `PlanError` for a wrong variable."""
    kept = {port: project.name for project in _projects(environment) for port in ports_of(project)}
    ports = [
        (service.name, port, service.published(environment)[port.role])
        for service in SERVICES.values()
        for port in service.ports
    ]
    taken = {number for _, _, number in ports if is_taken(number)}
    holders = dict(_holders()) if taken else {}
    return tuple(
        PortSeen(
            service=name,
            role=port.role,
            variable=port.variable,
            port=number,
            other=another(number),
            is_taken=number in taken,
            holder=holders.get(number, ""),
            project=kept.get(number, ""),
        )
        for name, port, number in ports
    )


def look_at_space(engine_folder: str, images: tuple[str, ...] | None) -> SpaceSeen:
    """Return what is free; ``engine_folder`` is empty where no engine tells where it keeps images."""
    cache, memory = default_cache_dir(), psutil.virtual_memory()
    cgroup = cgroup_of(os.getpid())
    return SpaceSeen(
        cache=_disk(cache),
        has_model=any((cache / "models").glob(f"{MODEL}-*/model.onnx")),
        engine=_disk(Path(engine_folder)) if engine_folder else None,
        images=images,
        shared=_disk(Path(_SHARED)),
        memory_bytes=memory.total,
        available_bytes=memory.available,
        limit_bytes=None if cgroup is None else cgroup.memory_limit_bytes(),
    )


class Watch:
    """What other programs use of the CPU from now on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = self._now()

    def others(self) -> tuple[float | None, str]:
        """Return how many cores they used since, or None and why it is not known."""
        (began_ns, busy, told, own), (ended_ns, *now) = self._begun, self._now()
        window_s = (ended_ns - began_ns) / 1e9
        if reason := untold(now[1] - told, window_s, os.cpu_count() or 1):
            return None, reason
        return others_cores(now[0] - busy, 0.0, now[2] - own, window_s), ""

    def _now(self) -> tuple[int, float, float, float]:
        children = os.times()
        own_s = process_cpu_ns() / 1e9 + children.children_user + children.children_system
        return (self._clock.now_ns(), *busy_and_told_s((psutil.cpu_times(),)), own_s)


def look_at_cpu(
    watch: Watch, noise: NoiseSeen, cpus: Path = _CPUS, clock_source: Path = _CLOCK_SOURCE
) -> CpuSeen:
    """Return what the system says of its CPU, now that ``noise`` was measured."""
    others, absent = watch.others()
    cgroup = cgroup_of(os.getpid())
    governors = (_read(file) for file in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return CpuSeen(
        usable_cores=len(os.sched_getaffinity(0)),
        online_cores=os.sysconf("SC_NPROCESSORS_ONLN"),
        limit_cores=None if cgroup is None else cgroup.cpu_limit_cores(),
        governors=tuple(sorted({each for each in governors if each})),
        turbo=_turbo(cpus),
        others_cores=others,
        others_absent=absent,
        swap_bytes=psutil.swap_memory().used,
        memory_bytes=psutil.virtual_memory().total,
        clock_source=_read(clock_source),
        noise=noise,
    )


def measure_noise(clock: Clock, duration_s: float = NOISE_S) -> NoiseSeen:
    """Do equal pieces of work for a while, and return how long each took."""
    instants, spent_ns = [clock.now_ns()], thread_cpu_ns()
    while instants[-1] - instants[0] < duration_s * 1e9:
        sum(range(_PIECE))
        instants.append(clock.now_ns())
    spent_ns = thread_cpu_ns() - spent_ns
    return NoiseSeen(
        pieces_ms=tuple((b - a) / 1e6 for a, b in pairwise(instants)),
        cpu_share=spent_ns / (instants[-1] - instants[0]),
    )


def _versions(names: set[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _projects(environment: Mapping[str, str]) -> Sequence[Project]:
    return tuple(books.all_known(state_dir_if_any(environment)))


def _holders() -> Iterator[tuple[int, str]]:
    """Yield who listens at a port, as far as this user may see it."""
    with suppress(psutil.Error):
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.pid and each.laddr:
                with suppress(psutil.Error):
                    yield each.laddr.port, f"{psutil.Process(each.pid).name()} ({each.pid})"


def _disk(folder: Path) -> DiskSeen:
    """Return what is free where ``folder`` is, or would be made."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    try:
        return DiskSeen(path=str(folder), free_bytes=shutil.disk_usage(there).free)
    except OSError as error:
        return DiskSeen(path=str(folder), free_bytes=None, absent=str(error))


def _turbo(cpus: Path) -> bool | None:
    off, on = _read(cpus / "intel_pstate" / "no_turbo"), _read(cpus / "cpufreq" / "boost")
    return off == "0" if off else on == "1" if on else None


def _read(path: Path) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
