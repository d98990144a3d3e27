"""What a worker may use of this machine, and what of it a start-up and a measured window hold (pure).

A lane is all of the machine, GPUs of it, a set of its cores, or GPUs with a set of cores. A window
holds its lane alone: nothing else is measured there, and nothing starts there, while it lasts. Start-ups
share. That follows from which resources are held, and which of them exclusively:

=========================  ====================================  ===================================
lane                       starts: all of it shared              measures
=========================  ====================================  ===================================
the whole machine          the machine, every core, every GPU    the machine, exclusively
GPUs, a set of cores       the machine, its GPUs, its cores      the machine shared, its own exclusively
=========================  ====================================  ===================================

So two GPUs, or two disjoint sets of cores, are measured at the same time; neither beside a start-up or
a window of the whole machine. A lane of several GPUs, whose servers compute on all of them, is measured
beside none that has one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import lcm
from zlib import crc32

WHOLE = "machine"
"""The name of the lane that is all of the machine."""

_FIRST_GPU = 2**20
"""Place of the first GPU; a machine has fewer cores."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    index: int
    """As ``cuda:N`` counts those that servers of this process see."""
    uuid: str = ""
    """Empty where NVML gives none."""
    slot: int | None = None
    """As NVML and the Docker engine count all of the machine; None: the same."""

    @property
    def machine_index(self) -> int:
        """Return its number in every process, whatever that one sees."""
        return self.index if self.slot is None else self.slot

    @property
    def is_part(self) -> bool:
        """Return whether it is a part of a GPU that is split (MIG)."""
        return self.uuid.startswith("MIG-")

    @property
    def key(self) -> str:
        """Return what tells it from others in every process: its UUID, else its number."""
        return self.uuid or str(self.machine_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What one worker may use."""

    name: str = WHOLE
    gpus: tuple[Gpu, ...] = ()
    """The only GPUs; none: it computes on none, or on whichever an attached server does."""
    cpus: tuple[int, ...] | None = None
    """The only cores, ascending; None: all that the process may use."""

    @property
    def is_whole(self) -> bool:
        """Return whether nothing of the machine is left to others."""
        return not self.gpus and self.cpus is None

    @property
    def cpu_set(self) -> str:
        """Return its cores as in ``0-3,8``; empty: all."""
        return "" if self.cpus is None else set_text(self.cpus)


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Something that can be held; resources are taken in their order, by everybody."""

    place: int
    """A number that is the same in every process on this machine."""
    name: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A resource, and whether it is held alone."""

    resource: Resource
    exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """All that lanes can be made of."""

    cores: int = 1
    """Logical cores by highest number + 1, those that this process may not use too."""
    gpus: tuple[Gpu, ...] = ()


MACHINE = Resource(0, "the machine")


def core(number: int) -> Resource:
    """Return a logical core as something to hold."""
    return Resource(1 + number, f"core {number}")


def device(gpu: Gpu) -> Resource:
    """Return a GPU as something to hold; should two have one place, they exclude each other for nothing."""
    return Resource(_FIRST_GPU + crc32(gpu.key.encode()), f"GPU {gpu.key}")


def lanes_of(gpu_sets: Sequence[tuple[Gpu, ...]], cpu_sets: Sequence[tuple[int, ...]]) -> tuple[Lane, ...]:
    """Return every combination that taking sets of GPUs and of cores in turn comes to; at least one lane."""
    count = lcm(max(1, len(gpu_sets)), max(1, len(cpu_sets)))
    return tuple(
        _lane(
            gpu_sets[i % len(gpu_sets)] if gpu_sets else (),
            cpu_sets[i % len(cpu_sets)] if cpu_sets else None,
        )
        for i in range(count)
    )


def lane_of(lanes: Sequence[Lane], worker: int) -> Lane:
    """Return the lane that a worker takes; more workers than lanes share them by turns."""
    return lanes[worker % len(lanes)]


def to_start(lane: Lane, machine: Machine) -> tuple[Hold, ...]:
    """Return what a start-up on ``lane`` holds, in the order in which it is taken."""
    own = {*map(core, range(machine.cores)), *map(device, machine.gpus)} if lane.is_whole else _own(lane)
    return tuple(Hold(resource) for resource in sorted({MACHINE, *own}))


def to_measure(lane: Lane) -> tuple[Hold, ...]:
    """Return what a measured window on ``lane`` holds, in the order in which it is taken."""
    own = (Hold(resource, exclusive=True) for resource in sorted(_own(lane)))
    return (Hold(MACHINE, exclusive=lane.is_whole), *own)


def in_equal_sets(physical: Sequence[Sequence[int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Return ``count`` disjoint sets of equally many of the cores, or none where there are too few.

    ``physical`` are the logical cores by physical core. Those of one stay in one set where there are
    enough: two sets that shared one would slow each other down. What cannot be spread evenly is left out.
    """
    per_set = len(physical) // count
    if per_set:
        sets = [sorted(chain(*physical[i * per_set :][:per_set])) for i in range(count)]
        size = min(map(len, sets))
        return tuple(tuple(one[:size]) for one in sets)
    logical = list(chain(*physical))
    size = len(logical) // count
    return tuple(tuple(sorted(logical[i * size :][:size])) for i in range(count)) if size else ()


def set_text(cpus: Sequence[int]) -> str:
    """Return ascending cores as the kernel and Docker write them, e.g. ``0-3,8``."""
    runs: list[list[int]] = []
    for number in cpus:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _own(lane: Lane) -> set[Resource]:
    cores = set(map(core, lane.cpus or ()))
    return {*cores, *map(device, lane.gpus)}


def _lane(gpus: tuple[Gpu, ...], cpus: tuple[int, ...] | None) -> Lane:
    parts = [f"cuda:{','.join(str(gpu.index) for gpu in gpus)}"] if gpus else []
    parts += [f"cores {set_text(cpus)}"] if cpus is not None else []
    return Lane(name=" ".join(parts) or WHOLE, gpus=gpus, cpus=cpus)
