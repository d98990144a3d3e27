"""NVIDIA's libraries without a GPU: the real nvidia-ml-py loads them, and they say what a test tells them.

A process sees them from its start on, through LD_LIBRARY_PATH: `NvmlStandIn.environment` is for servers
and for small programs (`asking`). What they say may change while it runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_suffix(".c")
LIBRARIES = ("libnvidia-ml.so.1", "libcuda.so.1")


class Fault(IntEnum):
    """NVML's codes for what cannot be read."""

    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    DRIVER_NOT_LOADED = 9
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    LIB_RM_VERSION_MISMATCH = 18


NO_CUDA_DEVICE = 100
"""CUDA's code where there is no GPU."""


@dataclass(frozen=True, slots=True)
class Course:
    """A figure that changes: (instant of CLOCK_MONOTONIC in ns, value there, growth per second), in order.

    Before the first it is 0.
    """

    parts: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInGpu:
    """One GPU, or a part of one; a fault in place of a figure is what asking for it returns."""

    utilization_percent: int | Fault = 0
    memory_bytes: int | Fault = 0
    memory_total_bytes: int = 24 * 2**30
    name: str = "NVIDIA Stand-In"
    is_part: bool = False
    """As MIG makes them."""
    part_of: int | None = None
    """Of which GPU it is a part; then NVML does not count it, and it comes after those that it counts."""
    is_split: bool = False
    """Whether it has parts."""
    energy_mj: int | Course | Fault = Fault.NOT_SUPPORTED
    power_mw: int | Course | Fault = Fault.NOT_SUPPORTED
    power_limit_mw: int | Fault = Fault.NOT_SUPPORTED
    power_default_mw: int | Fault = Fault.NOT_SUPPORTED
    persistence: int | Fault = Fault.NOT_SUPPORTED
    compute_mode: int | Fault = Fault.NOT_SUPPORTED
    """0 is anybody, 2 nobody, 3 one process."""
    capability: int | Fault = Fault.NOT_SUPPORTED
    """89 for 8.9."""
    sm_clock_mhz: int | Course | Fault = Fault.NOT_SUPPORTED
    sm_clock_max_mhz: int | Fault = Fault.NOT_SUPPORTED
    memory_clock_mhz: int | Course | Fault = Fault.NOT_SUPPORTED
    temperature_c: int | Course | Fault = Fault.NOT_SUPPORTED
    throttle: int | Course | Fault = Fault.NOT_SUPPORTED
    """Bits of reasons why clocks are low."""
    throttle_once: int | Course | Fault = Fault.FUNCTION_NOT_FOUND
    """The same by the function's name in drivers before 535."""
    processes: Mapping[int, int | None] | Fault = field(default_factory=dict)
    """Bytes of each process that computes; None: not known."""
    graphics: Mapping[int, int | None] | Fault = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NvmlStandIn:
    """Two libraries in a folder, beside the file they read."""

    folder: Path

    def say(
        self,
        *gpus: StandInGpu,
        fault: Fault | None = None,
        cuda_order: Sequence[int] | None = None,
        cuda_fault: int = 0,
        cuda_version: int | Fault = Fault.FUNCTION_NOT_FOUND,
    ) -> None:
        """Have this machine these GPUs, in NVML's order, from now on.

        ``fault`` is what opening NVML returns, ``cuda_fault`` what opening CUDA does; ``cuda_order``
        lists the GPUs by NVML index in the order CUDA counts them, the same one where it is not given.
        ``cuda_version`` is the newest that the driver runs, 13000 for 13.0.
        """
        order = range(len(gpus)) if cuda_order is None else cuda_order
        lines = [
            f"init {_asked(fault or 0)}",
            f"count {sum(gpu.part_of is None for gpu in gpus)}",
            "driver 550.54",
            f"cuda_version {_asked(cuda_version)}",
            f"cuda_init {f'!{cuda_fault}' if cuda_fault else 0}",
            f"cuda {' '.join(map(str, order))}",
        ]
        for index, gpu in enumerate(gpus):
            of_gpu = {
                "uuid": uuid_of(index),
                "kind": "MIG" if gpu.is_part or gpu.part_of is not None else "GPU",
                "name": gpu.name,
                "utilization": _asked(gpu.utilization_percent),
                "memory": _asked(gpu.memory_bytes),
                "total": str(gpu.memory_total_bytes),
                **_of_power_and_processes(gpu),
            }
            lines += [f"{index}.{key} {value}" for key, value in of_gpu.items()]
        part = self.folder / "gpus.part"
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        # Renamed into place, so that nobody reads half of it.
        part.rename(self._file)

    def environment(self, visible: str | None = None) -> dict[str, str]:
        """Return what a process needs to see them; ``visible`` is its CUDA_VISIBLE_DEVICES."""
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("LD_LIBRARY_PATH", ""))))
        own = {"LD_LIBRARY_PATH": path, "SERVEBENCH_STAND_IN_GPUS": str(self._file)}
        return own if visible is None else {**own, "CUDA_VISIBLE_DEVICES": visible}

    @contextmanager
    def asking(
        self, program: str, *arguments: str, visible: str | None = None
    ) -> Iterator[Callable[[], Any]]:
        """Give what asks a Python program that sees them; it answers each line of input by one of JSON."""
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        with subprocess.Popen(
            [sys.executable, "-P", "-c", program, *arguments],
            env={**environment, **self.environment(visible), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            question, answers = process.stdin, process.stdout

            def ask() -> Any:
                question.write("\n")
                question.flush()
                return json.loads(answers.readline())

            try:
                yield ask
            finally:
                # It ends with its input; one that hangs in a library is not waited for.
                process.kill()

    @property
    def _file(self) -> Path:
        return self.folder / "gpus"


def uuid_of(index: int) -> str:
    """Return the UUID of the GPU that NVML counts so."""
    return f"5eb0e000-0000-4000-8000-{index:012x}"


def build_nvml_stand_in(folder: Path) -> NvmlStandIn:
    """Return it, compiled and with no GPU; without a C compiler the test is skipped."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in for NVIDIA's libraries with")
    for name in LIBRARIES:
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(SOURCE)],
            check=True,
            capture_output=True,
        )
    stand_in = NvmlStandIn(folder)
    stand_in.say()
    return stand_in


def _of_power_and_processes(gpu: StandInGpu) -> dict[str, str]:
    return {
        "part_of": _asked(Fault.NOT_SUPPORTED if gpu.part_of is None else gpu.part_of),
        "mig": _asked(int(gpu.is_split)),
        "energy": _asked(gpu.energy_mj),
        "power": _asked(gpu.power_mw),
        "power_limit": _asked(gpu.power_limit_mw),
        "power_default": _asked(gpu.power_default_mw),
        "persistence": _asked(gpu.persistence),
        "compute_mode": _asked(gpu.compute_mode),
        "capability": _asked(gpu.capability),
        "sm_clock": _asked(gpu.sm_clock_mhz),
        "sm_clock_max": _asked(gpu.sm_clock_max_mhz),
        "memory_clock": _asked(gpu.memory_clock_mhz),
        "temperature": _asked(gpu.temperature_c),
        "reasons": _asked(gpu.throttle),
        "old_reasons": _asked(gpu.throttle_once),
        "processes": _listed(gpu.processes),
        "graphics": _listed(gpu.graphics),
    }


def _asked(value: int | Course) -> str:
    if isinstance(value, Course):
        return "~" + " ".join(f"{at_ns}:{start:.3f}:{per_s:.3f}" for at_ns, start, per_s in value.parts)
    return f"!{int(value)}" if isinstance(value, Fault) else str(value)


def _listed(processes: Mapping[int, int | None] | Fault) -> str:
    if isinstance(processes, Fault):
        return _asked(processes)
    return " ".join(f"{pid}:{'-' if used is None else used}" for pid, used in processes.items()) or "none"
