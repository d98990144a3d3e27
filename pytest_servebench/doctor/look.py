"""Looks at this machine for the doctor: all at once, each for some seconds at most, changing nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.doctor import look_cuda, look_engine, look_machine
from pytest_servebench.doctor.engine import EngineSeen
from pytest_servebench.doctor.judging import Seen, Unseen
from pytest_servebench.doctor.quiet import NoiseSeen
from pytest_servebench.doctor.space import SpaceSeen
from pytest_servebench.interfaces import Clock, Stack
from pytest_servebench.launchers.docker import engine_facts
from pytest_servebench.launchers.docker.engine import EngineFacts
from pytest_servebench.plan import CPU, Device
from pytest_servebench.surroundings import look_around
from pytest_servebench.telemetry.gpu_devices import Gpus, gpu_names, visible_devices

DEADLINE_S = 10.0
"""From when on nothing more is waited for: an engine or a driver may hang."""
SKIPPED = "skipped by --no-noise"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The instant from which nothing more is waited for."""

    clock: Clock
    ends_ns: int

    def left_s(self) -> float:
        """Return how long it is until then, never below 0."""
        return max(0.0, (self.ends_ns - self.clock.now_ns()) / 1e9)


class Glance(Generic[T]):
    """One look, in a daemon thread: one that hangs is left behind."""

    def __init__(self, look: Callable[[], T], deadline: Deadline) -> None:
        self._look = look
        self._deadline = deadline
        self._found: T | Unseen = Unseen("it did not answer in time")
        self._thread = threading.Thread(target=self._run, daemon=True, name="servebench-doctor")
        self._thread.start()

    def seen(self) -> T | Unseen:
        """Return what was seen, or why nothing was."""
        self._thread.join(self._deadline.left_s())
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look()
        except Exception as error:  # noqa: BLE001 (whatever it is: it is said, and the rest is seen)
            self._found = Unseen(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class _Engine:
    """The engine, and where it has room."""

    facts: EngineFacts
    seen: EngineSeen
    images: tuple[str, ...] | None


def look(
    offered: Mapping[str, Stack],
    *,
    noise: bool = True,
    environment: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    deadline_s: float = DEADLINE_S,
) -> Seen:
    """Return all that can be seen of this machine; ``noise`` False: its noise is not measured."""
    clock = clock or MonotonicClock()
    watch = look_machine.Watch(clock)
    deadline = Deadline(clock, clock.now_ns() + int(deadline_s * 1e9))
    names = Glance(lambda: gpu_names(visible=visible_devices()), deadline)
    gpus = Glance(look_cuda.look_for_gpus, deadline)
    libraries = Glance(look_cuda.look_for_libraries, deadline)
    packages = Glance(look_machine.look_at_packages, deadline)
    java = Glance(look_machine.look_for_java, deadline)
    ports = Glance(lambda: look_machine.look_at_ports(environment), deadline)
    export = Glance(look_machine.look_at_export, deadline)
    engine, named = Glance(lambda: _look_at_engine(offered, environment), deadline).seen(), names.seen()
    surroundings = look_around(_or_none(named), _facts(engine))
    space = Glance(lambda: _look_at_space(engine), deadline)
    seen = Seen(
        surroundings=surroundings,
        engine=engine if isinstance(engine, Unseen) else engine.seen,
        gpus=gpus.seen(),
        libraries=libraries.seen(),
        packages=packages.seen(),
        java=java.seen(),
        ports=ports.seen(),
        space=space.seen(),
        cpu=Unseen("it was not looked at"),
        export=export.seen(),
        images_cuda=look_cuda.cuda_of_images(),
    )
    # Last and alone: what else is looked at would be the noise.
    measured = look_machine.measure_noise(clock) if noise else NoiseSeen(skipped=SKIPPED)
    return replace(seen, cpu=Glance(lambda: look_machine.look_at_cpu(watch, measured), deadline).seen())


def _or_none(gpus: Gpus | Unseen) -> Gpus:
    return Gpus(absent=gpus.reason) if isinstance(gpus, Unseen) else gpus


def _facts(engine: _Engine | Unseen) -> EngineFacts:
    return EngineFacts(absent=engine.reason) if isinstance(engine, Unseen) else engine.facts


def _look_at_engine(offered: Mapping[str, Stack], environment: Mapping[str, str]) -> _Engine:
    facts = engine_facts(environment)
    seen = look_engine.look_at_engine(facts, environment)
    device = Device("cuda") if facts.nvidia_runtime else CPU
    images = look_engine.images_there(offered, device, environment) if facts.version else None
    return _Engine(facts, seen, images)


def _look_at_space(engine: _Engine | Unseen) -> SpaceSeen:
    if isinstance(engine, Unseen) or not engine.facts.version:
        return look_machine.look_at_space("", None)
    return look_machine.look_at_space(engine.facts.data_folder, engine.images)
