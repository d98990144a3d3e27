"""What a reader of figures is warned of: what else was at work beside the load (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_servebench.results import Telemetry
from pytest_servebench.telemetry.gpu import MIG

OTHERS_SHARE = 0.1
"""Of the cores that server and client may use: more than that used by others is told."""
THROTTLED_SHARE = 0.01
_BY_CHOICE = ("gpu_idle", "applications_clocks_setting", "display_clock_setting")
"""Reasons for low clocks that are no trouble: nothing to do, and clocks that somebody set."""


def warnings_of(telemetry: Telemetry, *, cores: int, is_split: bool = False) -> tuple[str, ...]:
    """Return one sentence for each thing; ``cores`` is how many server and client may use.

    ``is_split``: the GPU has parts (MIG) and nobody said which of them is the server's.
    """
    return (*_of_gpu(telemetry, is_split=is_split), *_of_host(telemetry, cores))


def _of_gpu(telemetry: Telemetry, *, is_split: bool) -> Iterator[str]:
    others = telemetry.gpu_shared_with
    if others:
        held = telemetry.gpu_other_memory_bytes
        memory = "" if held is None else f": {held / 1e9:.1f} GB of its memory are theirs"
        yield f"the GPU is shared with {others} other process{'es' * (others > 1)}{memory}"
    for reason, share in (telemetry.gpu_throttle or {}).items():
        if reason not in _BY_CHOICE:
            yield f"clocks were held down: {reason} in {100 * share:.0f}% of samples"
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
