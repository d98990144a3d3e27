"""Samples the GPUs that one server computes on, and joins what is read of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from types import ModuleType
from typing import Any

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry import gpu_window as of
from pytest_servebench.telemetry.gpu import DEVICE, GpuProbe
from pytest_servebench.telemetry.gpu_window import FIGURES, GpuReading

_SUMS = (of.MEMORY, of.PROCESS_MEMORY, of.POWER, of.POWER_LIMIT, of.POWER_DEFAULT, of.ENERGY)
_LOWEST = (of.SM_CLOCK, of.SM_CLOCK_MAX, of.MEMORY_CLOCK)
"""The slowest is what the others wait for."""


class GpusProbe:
    """Samples every ``cuda:index`` as `GpuProbe` does, each below 0.3% of a core; never raises."""

    def __init__(
        self,
        indexes: Sequence[int],
        clock: Clock,
        nvml: ModuleType | None = None,
        *,
        visible: str | None = None,
        pids: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        self._probes = {
            f"cuda:{index}": GpuProbe(index, clock, nvml, visible=visible, pids=pids) for index in indexes
        }

    def start(self) -> None:
        """Begin to sample; call it before the window begins."""
        for probe in self._probes.values():
            probe.start()

    def stop(self) -> None:
        """End the threads; may be called twice."""
        for probe in self._probes.values():
            probe.stop()

    def window(self, begin_ns: int, end_ns: int) -> dict[str, GpuReading]:
        """Return the reading of each over a window that has just ended, by ``cuda:N``."""
        return {device: probe.window(begin_ns, end_ns) for device, probe in self._probes.items()}

    @property
    def is_split(self) -> bool:
        """Whether one of them is a whole GPU that is split into parts: nobody named the server's."""
        return any(probe.is_split for probe in self._probes.values())


def joined(each: Mapping[str, GpuReading]) -> GpuReading:
    """Return one reading for a server's GPUs; of one GPU its own.

    Memory, power, its limit and energy are sums, of each one's highest or mean; utilisation is the mean,
    clocks the lowest, temperature and the shares of reasons for low clocks the highest. A figure that one
    of them lacks is absent: the others would not speak for the server.
    """
    if len(each) == 1:
        return next(iter(each.values()))
    readings = tuple(each.values())
    absent = {figure: why for figure in FIGURES if (why := _why_absent(each, figure))}
    pids = tuple(sorted({pid for one in readings for pid in one.gpu_other_pids}))
    others = [one.gpu_other_memory_bytes for one in readings if one.gpu_other_memory_bytes is not None]
    found: dict[str, Any] = {
        **dict.fromkeys(_SUMS, sum),
        **dict.fromkeys(_LOWEST, min),
        of.UTILIZATION: fmean,
        of.TEMPERATURE: max,
        of.OTHERS: lambda _: len(pids),
        of.THROTTLE: _highest_shares,
    }
    figures = {
        name: None if name in absent else how([getattr(one, name) for one in readings])
        for name, how in found.items()
    }
    return GpuReading(
        **figures,
        gpu_name=_names(one.gpu_name for one in readings),
        gpu_scope=_scope(readings),
        gpu_other_pids=pids,
        gpu_other_memory_bytes=sum(others) if others else None,
        gpu_energy_source=_sources(readings) if of.ENERGY not in absent else None,
        absent=absent,
    )


def facts_of(each: Mapping[str, GpuReading]) -> dict[str, dict[str, Any]]:
    """Return what the record has of each of several GPUs; nothing of one, whose figures are all there are."""
    if len(each) < 2:  # noqa: PLR2004 (several)
        return {}
    return {device: {**one.figures, "absent": dict(one.absent)} for device, one in each.items()}


def _why_absent(each: Mapping[str, GpuReading], figure: str) -> str:
    lacking = [
        f"{device}: {one.absent.get(figure)}" for device, one in each.items() if getattr(one, figure) is None
    ]
    return "; ".join(lacking)


def _highest_shares(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    words = dict.fromkeys(word for each in shares for word in each)
    return {word: max(each.get(word, 0.0) for each in shares) for word in words}


def _names(names: Iterable[str | None]) -> str | None:
    """Return ``2 x NVIDIA H100``, or the kinds where they differ."""
    known = list(names)
    kinds = list(dict.fromkeys(known))
    if None in known:
        return None
    return " and ".join(f"{known.count(kind)} x {kind}" for kind in kinds)


def _scope(readings: Sequence[GpuReading]) -> str | None:
    """Return whose figures these are: where they are not the same for all, those of devices."""
    scopes = {one.gpu_scope for one in readings}
    return scopes.pop() if len(scopes) == 1 else DEVICE


def _sources(readings: Sequence[GpuReading]) -> str | None:
    sources = {one.gpu_energy_source for one in readings}
    return of.COUNTER if sources == {of.COUNTER} else of.INTEGRATED
