"""From what was seen to the whole of what there is to say (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from pytest_servebench.checkup import Check, CheckState, Checkup, Outcome
from pytest_servebench.doctor import engine as docker
from pytest_servebench.doctor import gpu, gpu_extras, libraries, packages, ports, quiet, space
from pytest_servebench.doctor.engine import EngineSeen
from pytest_servebench.doctor.gpu import MachineGpus
from pytest_servebench.doctor.libraries import CudaSeen
from pytest_servebench.doctor.packages import JavaSeen, PackagesSeen
from pytest_servebench.doctor.ports import PortSeen
from pytest_servebench.doctor.quiet import CpuSeen
from pytest_servebench.doctor.serving import Ground, Question, merged, outcome_of, servings_of
from pytest_servebench.doctor.space import SpaceSeen
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.plan import LauncherKind, MissingPiece

MODEL = "Model"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unseen:
    """What could not be looked at."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was looked at; what could not be seen says why."""

    surroundings: Surroundings
    engine: EngineSeen | Unseen
    gpus: MachineGpus | Unseen
    libraries: CudaSeen | Unseen
    packages: PackagesSeen | Unseen
    java: JavaSeen | Unseen
    ports: tuple[PortSeen, ...] | Unseen
    space: SpaceSeen | Unseen
    cpu: CpuSeen | Unseen
    export: tuple[MissingPiece, ...] | Unseen
    """What the export of a model needs and is not there."""
    images_cuda: Mapping[str, int]
    """The major version of CUDA that images for a GPU are built on, by what they are called."""


def checkup_of(question: Question, seen: Seen, offered: Mapping[str, Stack]) -> Checkup:
    """Return everything; the outcome counts what is needed for what was asked."""
    ground = _ground(seen, offered)
    outcome = outcome_of(question, ground)
    checks = tuple(_checks(question, outcome, seen))
    needed = [check for check in checks if check.is_needed and check.state is CheckState.MISSING]
    why = [outcome.why_not, *(f"{check.section}: {check.subject}: {check.seen}" for check in needed)]
    told = list(dict.fromkeys(line for line in why if line))
    found = Checkup(
        outcome=replace(
            outcome,
            why_not="\n".join(told),
            remedy=merged([outcome.remedy, *(check.remedy for check in needed)]) if told else "",
        ),
        servings=tuple(servings_of(question, ground)),
        checks=checks,
    )
    if _has_gpu_packages(seen.libraries):
        found = _mended(found, packages.on_gpu)
    return _mended(found, libraries.by_cuda_12) if _runs_cuda_12(seen.gpus) else found


def _has_gpu_packages(seen: CudaSeen | Unseen) -> bool:
    return not isinstance(seen, Unseen) and bool(seen.onnxruntime and seen.onnxruntime.cuda)


def _runs_cuda_12(seen: MachineGpus | Unseen) -> bool:
    """Return whether the driver runs no newer CUDA."""
    return not isinstance(seen, Unseen) and bool(seen.survey.cuda and seen.survey.cuda[0] == libraries.BEFORE)


def _mended(found: Checkup, mended: Callable[[str], str]) -> Checkup:
    """Return the same with other remedies."""
    return replace(
        found,
        outcome=replace(found.outcome, remedy=mended(found.outcome.remedy)),
        servings=tuple(replace(one, remedy=mended(one.remedy)) for one in found.servings),
        checks=tuple(replace(one, remedy=mended(one.remedy)) for one in found.checks),
    )


def _ground(seen: Seen, offered: Mapping[str, Stack]) -> Ground:
    problem, remedy = "", ""
    if isinstance(seen.engine, Unseen):
        problem = seen.engine.reason
    else:
        problem, remedy = docker.engine_problem(seen.engine)
    return Ground(
        offered=offered, surroundings=seen.surroundings, engine_problem=problem, engine_remedy=remedy
    )


def _checks(question: Question, outcome: Outcome, seen: Seen) -> Iterator[Check]:
    in_docker = LauncherKind.DOCKER in {outcome.launcher, question.launcher}
    where, gpus = seen.surroundings, seen.gpus
    if not isinstance(gpus, Unseen):
        gpus = replace(gpus, visible=where.cuda_visible, visible_names=where.cuda_devices)
    on_gpu = outcome.device.startswith("cuda") or question.device.startswith("cuda")
    has_gpu = not isinstance(seen.gpus, Unseen) and seen.gpus.has_gpu
    in_processes = on_gpu and LauncherKind.PROCESS in {outcome.launcher, question.launcher}
    wanted = gpu.CudaWanted(
        images=seen.images_cuda, packages=_of_packages(seen.libraries), packages_needed=in_processes
    )
    yield from _told(MODEL, seen.export, _model)
    yield from _told(
        docker.SECTION,
        seen.engine,
        lambda it: docker.engine_checks(it, has_gpu=has_gpu, is_needed=in_docker),
    )
    yield from _told(gpu.SECTION, gpus, lambda it: gpu.gpu_checks(it, wanted, is_needed=on_gpu))
    yield from _told(
        libraries.SECTION,
        seen.libraries,
        lambda it: (
            *libraries.library_checks(it, has_gpu=has_gpu, is_needed=in_processes),
            *gpu_extras.extra_checks(it, has_gpu=has_gpu),
        ),
    )
    yield from _told(packages.SECTION, seen.packages, lambda it: packages.package_checks(it, has_gpu=has_gpu))
    yield from _told(packages.SECTION, seen.java, lambda it: (packages.java_check(it),))
    yield from _told(ports.SECTION, seen.ports, ports.port_checks)
    yield from _told(
        space.SECTION, seen.space, lambda it: space.space_checks(it, on_gpu=on_gpu, in_docker=in_docker)
    )
    yield from _told(quiet.SECTION, seen.cpu, quiet.quiet_checks)


def _told(section: str, seen: T | Unseen, checks: Callable[[T], Iterable[Check]]) -> Iterable[Check]:
    if isinstance(seen, Unseen):
        return (Check(section=section, subject="all", state=CheckState.NOT_AVAILABLE, seen=seen.reason),)
    return checks(seen)


def _of_packages(seen: CudaSeen | Unseen) -> Mapping[str, int]:
    return {} if isinstance(seen, Unseen) else dict(libraries.cuda_wanted(seen))


def _model(missing: tuple[MissingPiece, ...]) -> Iterator[Check]:
    """Yield whether a model can be had: every launcher serves one that is exported here."""
    if not missing:
        yield Check(section=MODEL, subject="export", state=CheckState.OK, seen="all it needs is installed")
    for piece in missing:
        yield Check(
            section=MODEL,
            subject="export",
            state=CheckState.MISSING,
            seen=piece.what,
            remedy=piece.remedy,
            is_needed=True,
        )
