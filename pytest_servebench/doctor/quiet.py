"""Whether this machine's CPU gives the same work the same time: what disturbs figures (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.telemetry.cautions import OTHERS_SHARE

SECTION = "CPU and quiet"
FEWEST_CORES = 2
"""One for the server, one for who asks it."""
NOISE_SHARE = 0.1
"""From here on p95 of equal pieces of work above their median is told."""
GIVEN_SHARE = 0.95
"""Less of a core than this while work never waits: somebody else had it."""
SWAP_SHARE = 0.02
"""Of the memory: less in use is what lay idle long ago."""
_FAST_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSeen:
    """Equal pieces of work, done one after another on one core."""

    pieces_ms: tuple[float, ...] = ()
    cpu_share: float | None = None
    """CPU time over elapsed time."""
    skipped: str = ""
    """Why it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSeen:
    """What was seen of the CPU; None: the system does not say."""

    usable_cores: int
    online_cores: int
    limit_cores: float | None = None
    """CPU time that a cgroup grants, in cores; None: no limit."""
    governors: tuple[str, ...] = ()
    """Each once; empty: the system has none to tell."""
    turbo: bool | None = None
    others_cores: float | None = None
    """Cores that other programs used while this looked around."""
    others_absent: str = ""
    swap_bytes: int = 0
    memory_bytes: int = 0
    clock_source: str = ""
    noise: NoiseSeen = field(default_factory=NoiseSeen)


def quiet_checks(seen: CpuSeen) -> Iterator[Check]:
    """Yield what there is to say; none of it keeps anything from running."""
    yield _cores(seen)
    yield _limit(seen)
    yield _governor(seen.governors)
    yield _turbo(seen.turbo)
    yield _others(seen)
    yield _noise(seen.noise)
    yield _swap(seen)
    yield _clock(seen.clock_source)


def _cores(seen: CpuSeen) -> Check:
    shown = f"{seen.usable_cores} of {seen.online_cores} logical cores"
    if seen.usable_cores >= FEWEST_CORES:
        return _check("cores", CheckState.OK, shown)
    why = f"{shown}: server and client share it, and the client's limit is soon the figure"
    remedy = "taskset -pc $$  # shows, and sets, which cores this shell may use"
    return _check("cores", CheckState.WARNING, why, remedy if seen.online_cores > 1 else "")


def _limit(seen: CpuSeen) -> Check:
    if seen.limit_cores is None:
        return _check("CPU limit", CheckState.OK, "no cgroup limits CPU time")
    shown = f"a cgroup grants {seen.limit_cores:g} cores of CPU time"
    if seen.limit_cores >= seen.usable_cores:
        return _check("CPU limit", CheckState.OK, shown)
    why = f"{shown}, fewer than the {seen.usable_cores} usable: servers are held back in bursts"
    return _check(
        "CPU limit", CheckState.WARNING, why, "pytest BENCHMARKS --serve-threads=N  # or raise the limit"
    )


def _governor(governors: Sequence[str]) -> Check:
    if not governors:
        return _check(
            "governor", CheckState.NOT_AVAILABLE, "this system shows none, as most virtual machines"
        )
    if set(governors) == {"performance"}:
        return _check("governor", CheckState.OK, "performance")
    why = f"{', '.join(governors)}: clocks follow the load, and short loads run slower"
    return _check("governor", CheckState.WARNING, why, "sudo cpupower frequency-set -g performance")


def _turbo(turbo: bool | None) -> Check:
    if turbo is None:
        return _check("turbo", CheckState.NOT_AVAILABLE, "this system does not say")
    shown = "on: the clock depends on heat and on how many cores work" if turbo else "off"
    return _check("turbo", CheckState.OK, shown)


def _others(seen: CpuSeen) -> Check:
    if seen.others_cores is None:
        return _check("other programs", CheckState.NOT_AVAILABLE, seen.others_absent)
    shown = f"they used {seen.others_cores:.1f} cores just now"
    if seen.others_cores <= OTHERS_SHARE * seen.online_cores:
        return _check("other programs", CheckState.OK, shown)
    return _check("other programs", CheckState.WARNING, shown, "top -o %CPU  # end or await them")


def _noise(noise: NoiseSeen) -> Check:
    if not noise.pieces_ms:
        return _check("noise", CheckState.NOT_AVAILABLE, noise.skipped or "it was not measured")
    middle, p95, worst = (_rank(noise.pieces_ms, share) for share in (0.5, 0.95, 1.0))
    above = p95 / middle - 1
    given = "" if noise.cpu_share is None else f"; {100 * noise.cpu_share:.0f}% of a core was given"
    shown = (
        f"measured now: {len(noise.pieces_ms)} equal pieces of work, median {middle:.2f} ms, "
        f"p95 +{100 * above:.0f}%, longest +{100 * (worst / middle - 1):.0f}%{given}"
    )
    if above <= NOISE_SHARE and (noise.cpu_share is None or noise.cpu_share >= GIVEN_SHARE):
        return _check("noise", CheckState.OK, shown)
    remedy = "pytest BENCHMARKS --stack=all --serve-repeats=5  # intervals tell what is noise"
    return _check("noise", CheckState.WARNING, shown, remedy)


def _swap(seen: CpuSeen) -> Check:
    shown = f"{seen.swap_bytes / 1e9:.1f} GB in use"
    if seen.swap_bytes <= SWAP_SHARE * seen.memory_bytes:
        return _check("swap", CheckState.OK, shown)
    why = f"{shown}: what was swapped out comes back in the middle of a load"
    return _check(
        "swap", CheckState.WARNING, why, "sudo swapoff -a && sudo swapon -a  # with memory to take it"
    )


def _clock(source: str) -> Check:
    if not source:
        return _check("clock source", CheckState.NOT_AVAILABLE, "this system does not say")
    if source in _FAST_CLOCKS:
        return _check("clock source", CheckState.OK, source)
    why = f"{source}: reading the time is slow, and every request reads it"
    remedy = "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
    return _check("clock source", CheckState.WARNING, why, remedy)


def _rank(values: Sequence[float], share: float) -> float:
    """Return the value below or at which a share of all lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _check(subject: str, state: CheckState, seen: str, remedy: str = "") -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy)
