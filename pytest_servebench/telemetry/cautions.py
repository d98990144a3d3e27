"""What a reader of figures is warned of: what else was at work beside the load (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pytest_servebench.results import Telemetry
from pytest_servebench.telemetry.gpu import DEVICE, MIG, PROCESSES
from pytest_servebench.telemetry.gpu_window import GpuReading
from pytest_servebench.words import listed

OTHERS_SHARE = 0.1
"""Of the cores that server and client may use: more than that used by others is told."""
THROTTLED_SHARE = 0.01
_NO_TROUBLE = ("gpu_idle", "display_clock_setting")
"""Reasons for low clocks that are no trouble: there was nothing to do, or a screen set one of its own."""
_BY_CHOICE = "applications_clocks_setting"
_IN_WORDS = {
    "sw_power_cap": "the power limit",
    "hw_slowdown": "the hardware, for heat, power or current",
    "sync_boost": "another GPU, with which they are kept equal",
    "sw_thermal_slowdown": "the driver, for heat",
    "hw_thermal_slowdown": "the hardware, for heat",
    "hw_power_brake_slowdown": "the power supply's brake",
    "board_limit": "the board's limit",
    "reliability": "a limit of voltage",
}
"""What holds clocks down, by NVML's word."""

Seen = Telemetry | GpuReading


def warnings_of(
    telemetry: Telemetry,
    *,
    cores: int,
    is_split: bool = False,
    gpus: Mapping[str, GpuReading] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Return one sentence for each thing; ``cores`` is how many server and client may use.

    ``is_split``: a GPU has parts (MIG) and nobody said which of them is the server's. ``gpus`` are the
    readings of each where there are several: each has sentences of its own.
    """
    if len(gpus) > 1:
        of_gpus = [f"{gpu}: {sentence}" for gpu, seen in gpus.items() for sentence in _of_gpu(seen)]
        of_gpus += _of_unused(gpus)
    else:
        of_gpus = list(_of_gpu(telemetry))
    return (*of_gpus, *_of_parts(telemetry, is_split=is_split), *_of_host(telemetry, cores))


def _of_gpu(seen: Seen) -> Iterator[str]:
    others = seen.gpu_shared_with
    if others:
        held = seen.gpu_other_memory_bytes
        memory = "" if held is None else f": {held / 1e9:.1f} GB of its memory are theirs"
        yield f"the GPU is shared with {others} other process{'es' * (others > 1)}{memory}"
    for reason, share in (seen.gpu_throttle or {}).items():
        if reason not in (*_NO_TROUBLE, _BY_CHOICE):
            who = _IN_WORDS.get(reason, "the driver")
            yield f"clocks were held down by {who} ({reason}) in {100 * share:.0f}% of samples"
    yield from _of_settings(seen)


def _of_settings(seen: Seen) -> Iterator[str]:
    """Yield what somebody set before the run; nothing of it is changed here."""
    limit_w, default_w = seen.gpu_power_limit_w, seen.gpu_power_default_w
    if limit_w is not None and default_w is not None and limit_w < default_w:
        yield f"the power limit is set to {limit_w:.0f} W, by default it is {default_w:.0f} W"
    clock_mhz, most_mhz = seen.gpu_sm_clock_mhz, seen.gpu_sm_clock_max_mhz
    if _BY_CHOICE in (seen.gpu_throttle or {}) and clock_mhz is not None and most_mhz is not None:
        yield f"clocks are set: {clock_mhz:.0f} MHz, of {most_mhz:.0f} MHz that the GPU can have"


def _of_unused(gpus: Mapping[str, GpuReading]) -> Iterator[str]:
    """Yield the GPUs without the server, where it was found on others: it may not compute on them."""
    found = [gpu for gpu, seen in gpus.items() if seen.gpu_scope == PROCESSES]
    for gpu, seen in gpus.items():
        if found and seen.gpu_scope == DEVICE:
            yield f"{gpu}: no process of the server was found on it, but on {listed(found)}"


def _of_parts(telemetry: Telemetry, *, is_split: bool) -> Iterator[str]:
    if telemetry.gpu_scope == MIG and telemetry.gpu_energy_j is not None:
        yield "power and energy are those of the whole GPU, of which the server has a part (MIG)"
    if is_split:
        yield (
            "the GPU is split into parts (MIG) and CUDA_VISIBLE_DEVICES names none: its figures are those of "
            "the whole GPU"
        )


def _of_host(telemetry: Telemetry, cores: int) -> Iterator[str]:
    others, throttled = telemetry.other_cpu_cores, telemetry.server_throttled_share
    if others is not None and others > OTHERS_SHARE * cores:
        yield f"other programs used {others:.1f} of the {cores} cores that server and client may use"
    if throttled is not None and throttled >= THROTTLED_SHARE:
        yield f"a limit of CPU time (cgroup) held the server back in {100 * throttled:.0f}% of its periods"
