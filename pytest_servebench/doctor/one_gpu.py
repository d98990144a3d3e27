"""One GPU: what it is, who may compute on it and who does, and what its settings do to figures (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.telemetry.gpu_survey import EXCLUSIVE, PROHIBITED, GpuSeen

SECTION = "GPU"
OLDEST_CAPABILITY = {11: (3, 5), 12: (5, 0), 13: (7, 5)}
"""Of each CUDA the oldest compute capability that its libraries run on (NVIDIA, CUDA Release Notes)."""
AMPERE, TURING, VOLTA = (8, 0), (7, 5), (7, 0)
"""From these compute capabilities on a GPU has units for TF32 and bf16, for int8, for fp16 (NVIDIA, CUDA C++
Programming Guide, "Compute Capabilities")."""


def checks_of_one(
    index: int, gpu: GpuSeen, names: Mapping[int, str], *, is_needed: bool = False
) -> Iterator[Check]:
    """Yield what there is to say of ``cuda:index``; ``names`` are those of processes, by their id."""
    name = f"cuda:{index}"
    held = "" if gpu.memory_bytes is None else f", {gpu.memory_bytes / 1e9:.1f} GB"
    yield _check(name, CheckState.OK, f"{gpu.name}{held}")
    yield _arithmetic(name, gpu)
    yield _users(name, gpu, names)
    yield _compute_mode(index, gpu, is_needed=is_needed)
    yield _persistence(name, gpu)
    if gpu.is_split:
        why = "it is split into parts (MIG); servers see the part that CUDA_VISIBLE_DEVICES names"
        yield _check(
            f"{name} MIG", CheckState.WARNING, why, "export CUDA_VISIBLE_DEVICES=MIG-...  # nvidia-smi -L"
        )


def _arithmetic(name: str, gpu: GpuSeen) -> Check:
    subject, has = f"{name} arithmetic", gpu.capability
    if has is None:
        return _check(subject, CheckState.NOT_AVAILABLE, "the driver does not say its compute capability")
    shown = f"compute capability {has[0]}.{has[1]}"
    since = {"fp16": VOLTA, "int8": TURING, "tf32": AMPERE, "bf16": AMPERE}
    able = [word for word, least in since.items() if has >= least]
    lacking = [word for word in since if word not in able]
    units = f"tensor cores for {', '.join(able)}" if able else "no tensor cores"
    without = f"; none for {', '.join(lacking)}" if able and lacking else ""
    return _check(subject, CheckState.OK, f"{shown}: {units}{without}")


def _compute_mode(index: int, gpu: GpuSeen, *, is_needed: bool) -> Check:
    subject, remedy = f"cuda:{index} compute mode", f"sudo nvidia-smi -i {index} -c DEFAULT"
    if gpu.compute_mode == PROHIBITED:
        why = "prohibited: no program may compute on it"
        return _check(subject, CheckState.MISSING, why, remedy, is_needed=is_needed)
    if gpu.compute_mode == EXCLUSIVE:
        why = "exclusive: one process at a time; a server with several workers, or one beside another, fails"
        return _check(subject, CheckState.WARNING, why, remedy)
    if not gpu.compute_mode:
        return _check(subject, CheckState.NOT_AVAILABLE, "the driver does not say")
    return _check(subject, CheckState.OK, "any program may compute on it")


def _persistence(name: str, gpu: GpuSeen) -> Check:
    subject = f"{name} persistence"
    if gpu.is_persistent is None:
        return _check(subject, CheckState.NOT_AVAILABLE, "the driver does not say")
    if gpu.is_persistent:
        return _check(subject, CheckState.OK, "on")
    why = "off: the first server waits for the driver, and its cold start is longer by that"
    return _check(subject, CheckState.WARNING, why, "sudo nvidia-smi -pm 1")


def _users(name: str, gpu: GpuSeen, names: Mapping[int, str]) -> Check:
    subject = f"{name} users"
    if gpu.pids is None:
        return _check(subject, CheckState.NOT_AVAILABLE, "the driver does not say who computes on it")
    if not gpu.pids:
        return _check(subject, CheckState.OK, "nobody computes on it")
    used = "" if gpu.used_bytes is None else f"; {gpu.used_bytes / 1e9:.1f} GB are used"
    who = ", ".join(f"{names.get(pid, 'a process')} ({pid})" for pid in gpu.pids)
    return _check(
        subject,
        CheckState.WARNING,
        f"{who} on it{used}",
        "nvidia-smi  # wait for them, or ask for another: --serve-device=cuda:1",
    )


def _check(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)
