"""The cores of this machine: which this process may use, which belong together, and keeping to some."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
TASKS = Path("/proc/self/task")


def physical_cores(topology: Path = TOPOLOGY) -> tuple[tuple[int, ...], ...]:
    """Return the logical cores that this process may use, those of one physical core together."""
    usable = sorted(os.sched_getaffinity(0))
    groups: dict[str, list[int]] = {}
    for number in usable:
        groups.setdefault(_siblings(topology, number), []).append(number)
    return tuple(map(tuple, groups.values()))


def count_cores() -> int:
    """Return how many logical cores this machine is built for, usable or not."""
    return max(os.sysconf("SC_NPROCESSORS_CONF"), 1 + max(os.sched_getaffinity(0)))


def narrowed() -> tuple[int, ...]:
    """Return the logical cores that this process is kept to; empty: it may use all that are online."""
    usable = tuple(sorted(os.sched_getaffinity(0)))
    return usable if len(usable) < os.sysconf("SC_NPROCESSORS_ONLN") else ()


def bind(cpus: Collection[int]) -> Callable[[], None]:
    """Keep this process, and what it starts from now on, to these cores; call what it returns to undo it."""
    before = os.sched_getaffinity(0)
    _bind(cpus)
    return lambda: _bind(before)


def _bind(cpus: Collection[int]) -> None:
    """Bind every thread: the kernel knows no affinity of a process, only that of the thread that asks."""
    for task in TASKS.iterdir():
        # A thread may end while we look; one that it starts meanwhile inherits what it has.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cpus)


def _siblings(topology: Path, number: int) -> str:
    """Return a text that all logical cores of a physical one have; the number where the kernel has none."""
    try:
        return (topology / f"cpu{number}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(number)
