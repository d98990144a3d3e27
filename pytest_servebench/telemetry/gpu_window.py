"""What readings of a GPU say of a window (pure)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from pytest_servebench.telemetry.points import cut, integral, uncovered

UTILIZATION = "gpu_utilization_percent"
MEMORY = "gpu_memory_bytes"
PROCESS_MEMORY = "gpu_process_memory_bytes"
OTHERS = "gpu_shared_with"
POWER = "gpu_power_w"
POWER_LIMIT = "gpu_power_limit_w"
POWER_DEFAULT = "gpu_power_default_w"
ENERGY = "gpu_energy_j"
SM_CLOCK = "gpu_sm_clock_mhz"
SM_CLOCK_MAX = "gpu_sm_clock_max_mhz"
MEMORY_CLOCK = "gpu_memory_clock_mhz"
TEMPERATURE = "gpu_temperature_c"
THROTTLE = "gpu_throttle"
COUNTER, INTEGRATED = "counter", "power"

FIGURES = (
    UTILIZATION,
    MEMORY,
    PROCESS_MEMORY,
    OTHERS,
    POWER,
    POWER_LIMIT,
    POWER_DEFAULT,
    ENERGY,
    SM_CLOCK,
    SM_CLOCK_MAX,
    MEMORY_CLOCK,
    TEMPERATURE,
    THROTTLE,
)
"""What is None with a reason, by `Telemetry` field name."""

THROTTLE_WORDS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Why clocks are not higher: NVML's ``nvmlClocksEventReasons`` (``...ThrottleReasons`` once), by bit."""

Log = Mapping[str, Sequence[tuple[int, Any]]]
"""By figure: instants, ascending, each with what was read; None is what could not be read then."""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Whose processes are on a GPU at an instant."""

    own_bytes: int | None
    """Memory of the server's; None where the driver does not say how much each has."""
    others: Mapping[int, int | None] = field(default_factory=dict)
    """Memory by process of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU over a window, by `Telemetry` field names; None with the reason in ``absent``.

    Utilisation and memory are those of the part that the server is given, all else of the whole GPU.
    """

    gpu_name: str | None = None
    gpu_scope: str | None = None
    """Whose figures these are, see `telemetry.gpu.GpuProbe.scope`."""
    gpu_utilization_percent: float | None = None
    """Mean of the samples; NVML means: share of time in which at least one kernel ran."""
    gpu_memory_bytes: int | None = None
    """Highest seen, whoever uses it."""
    gpu_process_memory_bytes: int | None = None
    """Highest seen of the server's processes."""
    gpu_shared_with: int | None = None
    """Other processes that were seen on it."""
    gpu_other_pids: tuple[int, ...] = ()
    gpu_other_memory_bytes: int | None = None
    """Highest that they had together; None: there were none, or the driver does not say."""
    gpu_power_w: float | None = None
    """Mean."""
    gpu_power_limit_w: float | None = None
    gpu_power_default_w: float | None = None
    """What the limit is unless somebody sets another."""
    gpu_energy_j: float | None = None
    gpu_energy_source: str | None = None
    """``counter`` of the driver, or ``power``, integrated; None: there is no energy."""
    gpu_sm_clock_mhz: float | None = None
    """Median of the samples."""
    gpu_sm_clock_max_mhz: float | None = None
    """The highest that it can have."""
    gpu_memory_clock_mhz: float | None = None
    """Median of the samples."""
    gpu_temperature_c: float | None = None
    """Highest seen."""
    gpu_throttle: Mapping[str, float] | None = None
    """Share of the samples in which clocks were held down, by reason; empty: never."""
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Any]:
        """All of it by name, but for ``absent``."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "absent"}


def reading_over(
    log: Log, begin_ns: int, end_ns: int, *, absent: Mapping[str, str] | None = None
) -> GpuReading:
    """Return what a log says about a window.

    A mean, median or share is of the samples inside the window. What stays as it is between two samples
    (memory, processes, temperature) also counts as it was seen last before the window and first after it.
    Energy is the counter's growth between the window's edges, linear between two readings; without a counter
    power is integrated, likewise. A figure that one of its samples lacks is absent: what is left would not
    speak for the window. ``absent`` is why a figure could not be read, by name.
    """
    if end_ns <= begin_ns:
        return nothing("the window is empty")
    window = _Window(log, begin_ns, end_ns, dict(absent or {}))
    energy_j, source = _energy(window)
    uses: Sequence[GpuUse] = window.spanning(OTHERS) or ()
    found = GpuReading(
        gpu_utilization_percent=window.of(UTILIZATION, window.inside, fmean),
        gpu_memory_bytes=window.of(MEMORY, window.spanning, max),
        gpu_process_memory_bytes=window.of(PROCESS_MEMORY, window.spanning, max),
        gpu_shared_with=window.of(OTHERS, window.spanning, lambda seen: len(_pids(seen))),
        gpu_other_pids=_pids(uses),
        gpu_other_memory_bytes=max(filter(None, map(_others_bytes, uses)), default=None),
        gpu_power_w=window.mean(POWER),
        gpu_power_limit_w=window.of(POWER_LIMIT, window.spanning, min),
        gpu_power_default_w=window.of(POWER_DEFAULT, window.spanning, max),
        gpu_energy_j=energy_j,
        gpu_energy_source=source,
        gpu_sm_clock_mhz=window.of(SM_CLOCK, window.inside, median),
        gpu_sm_clock_max_mhz=window.of(SM_CLOCK_MAX, window.spanning, max),
        gpu_memory_clock_mhz=window.of(MEMORY_CLOCK, window.inside, median),
        gpu_temperature_c=window.of(TEMPERATURE, window.spanning, max),
        gpu_throttle=window.of(THROTTLE, window.inside, _throttle_shares),
    )
    return _with_reasons(found, window.absent)


def nothing(reason: str) -> GpuReading:
    """Return a reading without any figure."""
    return GpuReading(absent=dict.fromkeys(FIGURES, reason))


class _Window:
    """Takes the values of a window from a log; remembers why there are none."""

    def __init__(self, log: Log, begin_ns: int, end_ns: int, absent: dict[str, str]) -> None:
        self.absent = absent
        self._log = log
        self._edges_ns = (begin_ns, end_ns)

    def inside(self, figure: str) -> list[Any] | None:
        """Return the values inside the window; None where there are none, or one is lacking."""
        begin_ns, end_ns = self._edges_ns
        seen = [value for at_ns, value in self._log.get(figure, ()) if begin_ns <= at_ns <= end_ns]
        if not seen:
            self.absent.setdefault(figure, "no sample fell into the window")
        return seen if seen and None not in seen else None

    def spanning(self, figure: str) -> list[Any] | None:
        """Return those and the ones around them; None where they do not reach its edges, or one lacks."""
        begin_ns, end_ns = self._edges_ns
        log = self._log.get(figure, ())
        first = bisect_right(log, begin_ns, key=lambda point: point[0]) - 1
        last = bisect_left(log, end_ns, key=lambda point: point[0])
        if first < 0 or last >= len(log):
            self.absent.setdefault(figure, "no sample fell into the window")
            return None
        seen = [value for _, value in log[first : last + 1]]
        return None if None in seen else seen

    def of(
        self, figure: str, values: Callable[[str], list[Any] | None], how: Callable[[list[Any]], Any]
    ) -> Any:  # noqa: ANN401 (each figure has its own type)
        seen = values(figure)
        return None if seen is None else how(seen)

    def covered(self, figure: str) -> list[tuple[int, float]] | None:
        """Return the readings of a figure whose value between two of them counts."""
        if self.spanning(figure) is None:
            return None
        points = [(at_ns, value) for at_ns, value in self._log[figure] if value is not None]
        return None if uncovered(points, *self._edges_ns) else points

    def mean(self, figure: str) -> float | None:
        points = self.covered(figure)
        return None if points is None else integral(points, *self._edges_ns) / self.length_s

    @property
    def length_s(self) -> float:
        return (self._edges_ns[1] - self._edges_ns[0]) / 1e9

    @property
    def edges_ns(self) -> tuple[int, int]:
        return self._edges_ns


def _energy(window: _Window) -> tuple[float | None, str | None]:
    """Return the window's energy and where it comes from."""
    counted = window.covered(ENERGY)
    if counted is not None:
        joules = [value for _, value in cut(counted, *window.edges_ns)]
        if all(before <= after for before, after in pairwise(joules)):
            return joules[-1] - joules[0], COUNTER
        window.absent[ENERGY] = "its energy counter went backwards: the driver was loaded anew"
    power_w = window.mean(POWER)
    return (None, None) if power_w is None else (power_w * window.length_s, INTEGRATED)


def _throttle_shares(seen: Sequence[int]) -> dict[str, float]:
    counts = Counter(word for mask in seen for bit, word in THROTTLE_WORDS.items() if mask & bit)
    return {word: counts[word] / len(seen) for word in THROTTLE_WORDS.values() if counts[word]}


def _pids(uses: Sequence[GpuUse]) -> tuple[int, ...]:
    return tuple(sorted({pid for use in uses for pid in use.others}))


def _others_bytes(use: GpuUse) -> int | None:
    known = [used for used in use.others.values() if used is not None]
    return sum(known) if known else None


def _with_reasons(reading: GpuReading, absent: Mapping[str, str]) -> GpuReading:
    """Return it with the reasons of what it lacks, and of nothing else."""
    values = reading.figures
    lacking = {name: absent.get(name, "it was never read") for name in FIGURES if values[name] is None}
    return GpuReading(**values, absent=lacking)
