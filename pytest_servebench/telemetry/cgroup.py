"""A server's cgroup: where it is, what it has used, and how often a limit of CPU time held it back.

Both layouts of Linux: one hierarchy for all (v2), or one for each controller (v1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
PROC = Path("/proc")
_UNIFIED = ""
"""Under which the one hierarchy of v2 is known, which names no controller."""
_PLACES = ("docker/{id}", "system.slice/docker-{id}.scope", "machine.slice/libpod-{id}.scope", "libpod/{id}")
"""Where engines put containers, with either of their cgroup drivers."""
_NO_LIMIT = 2**60
"""Bytes: v1 writes the largest number of whole pages where there is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """Periods of a CPU limit so far, and those in which it held somebody back."""

    periods: int
    throttled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """Folders of one cgroup, by controller; in the one hierarchy of v2 they are the same."""

    cpu: Path | None = None
    usage: Path | None = None
    """Of ``cpuacct``."""
    memory: Path | None = None

    @property
    def is_accounted(self) -> bool:
        """Whether it says what it used of both."""
        return self.usage is not None and self.memory is not None

    def cpu_s(self) -> float:
        """Return the CPU time of all it ever ran, in seconds; raises `OSError` when it is gone."""
        if self.usage is None:
            raise OSError("its CPU time is not accounted for")
        v1 = self.usage / "cpuacct.usage"
        if v1.exists():
            return int(v1.read_text()) / 1e9
        return _table(self.usage / "cpu.stat")["usage_usec"] / 1e6

    def memory_bytes(self) -> int:
        """Return its memory as ``docker stats`` shows it; raises `OSError` when it is gone.

        All that is charged to it, less the page cache that was not used lately: that one is given
        back when anybody needs memory.
        """
        if self.memory is None:
            raise OSError("its memory is not accounted for")
        v1 = self.memory / "memory.usage_in_bytes"
        charged, idle = (
            (v1, "total_inactive_file") if v1.exists() else (self.memory / "memory.current", "inactive_file")
        )
        used = int(charged.read_text())
        cache = _table(self.memory / "memory.stat").get(idle, 0)
        return used - cache if cache < used else used

    def pids(self) -> frozenset[int]:
        """Return its processes as this process numbers them; those of others' number spaces are left out."""
        folder = self.memory or self.usage
        if folder is None:
            return frozenset()
        with suppress(OSError, ValueError):
            return frozenset(map(int, (folder / "cgroup.procs").read_text().split())) - {0}
        return frozenset()

    def cpu_limit_cores(self) -> float | None:
        """Return how much CPU time it, or what it lies in, is granted, in cores; None: nothing limits it."""
        folders = () if self.cpu is None else _upwards(self.cpu)
        return min((limit for each in folders if (limit := _cpu_limit(each)) is not None), default=None)

    def memory_limit_bytes(self) -> int | None:
        """Return how much memory it, or what it lies in, may have; None: nothing limits it."""
        folders = () if self.memory is None else _upwards(self.memory)
        return min((limit for each in folders if (limit := _memory_limit(each)) is not None), default=None)

    def throttling(self) -> Mapping[Path, Throttling]:
        """Return how often it, and what it lies in, was held back, by the folder of each limit."""
        folders = () if self.cpu is None else _upwards(self.cpu)
        return {folder: seen for folder in folders if (seen := _throttling(folder))}


def cgroup_of(pid: int, *, container: str = "", proc: Path = PROC, mounts: Path = MOUNTS) -> Cgroup | None:
    """Return the cgroup of a process, or None where it cannot be seen.

    With ``container``, its engine's id, that is the container's own: not one that it made inside.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), _outer(path, container)))
    return _found(paths, _hierarchies(mounts))


def cgroup_of_container(container: str, *, mounts: Path = MOUNTS) -> Cgroup | None:
    """Return the cgroup of a container whose processes are not seen; None where it cannot be seen either."""
    hierarchies = _hierarchies(mounts)
    for place in _PLACES:
        path = "/" + place.format(id=container)
        found = _found(dict.fromkeys(hierarchies, path), hierarchies)
        if found is not None:
            return found
    return None


def _outer(path: str, container: str) -> str:
    """Return the part of a path that ends with the folder named after the container."""
    parts = path.split("/")
    at = next((i for i, part in enumerate(parts) if container and container in part), len(parts) - 1)
    return "/".join(parts[: at + 1])


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """Where a hierarchy is mounted, and which part of it that is."""

    root: str
    mounted: Path

    def folder(self, path: str) -> Path | None:
        """Return where a cgroup lies; None where this mount does not show it."""
        root = self.root.rstrip("/")
        if path != root and not path.startswith(f"{root}/"):
            return None
        folder = self.mounted / path[len(root) :].strip("/")
        return folder if folder.is_dir() and ".." not in folder.parts else None


def _hierarchies(mounts: Path) -> Mapping[str, _Hierarchy]:
    """Return where each controller is mounted; proc(5) has the format of mountinfo."""
    found: dict[str, _Hierarchy] = {}
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            here, _, there = line.partition(" - ")
            (root, mounted), (kind, _, options) = here.split()[3:5], there.split()[:3]
            names = (_UNIFIED,) if kind == "cgroup2" else options.split(",") if kind == "cgroup" else ()
            hierarchy = _Hierarchy(_unescaped(root), Path(_unescaped(mounted)))
            found.update({name: hierarchy for name in names if name not in found})
    return found


def _found(paths: Mapping[str, str], hierarchies: Mapping[str, _Hierarchy]) -> Cgroup | None:
    def folder(controller: str) -> Path | None:
        # Beside controllers of v1 there may be a v2 that has none of them.
        name = controller if controller in hierarchies else _UNIFIED
        if name not in paths or name not in hierarchies:
            return None
        return hierarchies[name].folder(paths[name])

    cgroup = Cgroup(cpu=folder("cpu"), usage=folder("cpuacct"), memory=folder("memory"))
    return cgroup if cgroup.usage or cgroup.memory else None


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield a cgroup and those it lies in, up to where its hierarchy is mounted."""
    yield folder
    for parent in folder.parents:
        if not (parent / "cgroup.procs").exists():
            return
        yield parent


def _throttling(folder: Path) -> Throttling | None:
    with suppress(OSError, ValueError):
        seen = _table(folder / "cpu.stat")
        if seen.get("nr_periods"):
            return Throttling(periods=seen["nr_periods"], throttled=seen.get("nr_throttled", 0))
    return None


def _cpu_limit(folder: Path) -> float | None:
    """Read ``cpu.max`` (v2) or CFS's quota and period (v1); ``max`` and a negative quota are no limit."""
    with suppress(OSError, ValueError):
        v2 = folder / "cpu.max"
        if v2.exists():
            quota, period = v2.read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{each}_us").read_text().strip() for each in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def _memory_limit(folder: Path) -> int | None:
    """Read ``memory.max`` (v2) or its v1 name, in which a number beyond any memory is no limit."""
    with suppress(OSError, ValueError):
        v2 = folder / "memory.max"
        limit = int((v2 if v2.exists() else folder / "memory.limit_in_bytes").read_text())
        return limit if limit < _NO_LIMIT else None
    return None


def _table(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}  # noqa: PLR2004 (a pair)


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, in which spaces are octal."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
