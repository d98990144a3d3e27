"""The raw baseline: what the same model does in process, on the same device and threads, with no server.

Measured by a program of its own (`handlers/raw_baseline.py`), so that no engine is ever loaded into this
process, while a server is up but idle. Shared by all stacks that serve the same model file; a replicate
has its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from pytest_servebench.errors import ServebenchError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.launchers.server_address import is_here
from pytest_servebench.plan import Artifact, Case, Deployment, Device, LauncherKind, ModelFormat
from pytest_servebench.results import Endpoint, RawBaseline
from pytest_servebench.stacks.fastapi_launch import COMPILED_S, engine_environment
from pytest_servebench.stacks.gpu_order import gpu_order

ENOUGH_S = 1.0
"""How long one batch size is computed, where that makes enough batches."""
LONGEST_S = 3.0
WINDOW_SHARE = 0.5
"""Of the case's window: what is beside a short one should be short as well."""
PATIENCE_S = 180.0
"""How long the program may compute in all: a slow machine computes no batch of 32 within 10 s."""

_COMPILING = ("fastapi", "torchserve")
"""Stacks whose engine compiles for TensorRT itself, and so does in process as well."""
_ENGINES_KEPT_IN = "SERVEBENCH_ENGINE_CACHE_PATH"
"""Where a user has the FastAPI server keep compiled engines; TorchServe's has no such setting."""

Lines: TypeAlias = Sequence[Mapping[str, Any]]
"""What `handlers/raw_baseline.py` prints."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What decides a baseline, beside the size of the batch."""

    model: str
    format: ModelFormat
    device: str
    threads: int
    precision: str
    input_dtype: str
    compiled_by: str
    """The stack whose compiler it is; empty: none compiles."""
    compiled_for: int
    """The largest batch it compiles for, as its server does: one engine is made; 0: none compiles."""
    repeat: int | None

    @classmethod
    def of(cls, case: Case) -> _Shape:
        one = case.deployment
        numbers = (one.precision.value, one.input_dtype.value)
        compiled = (one.stack, one.max_batch_size) if one.format is ModelFormat.TENSORRT else ("", 0)
        return cls(one.model, one.format, str(one.device), one.threads, *numbers, *compiled, case.repeat)


class RawBaselines:
    """The baselines of one session: when one is needed, all batch sizes that ``cases`` need of its model."""

    def __init__(
        self,
        artifact: Callable[[Deployment], Artifact],
        cases: Sequence[Case],
        compute: Callable[[Deployment, Mapping[str, Any]], Lines] | None = None,
    ) -> None:
        self._artifact = artifact
        self._cases = cases
        self._compute = compute
        self._known: dict[tuple[_Shape, int], RawBaseline] = {}
        self._too_long: dict[_Shape, str] = {}
        """Of every shape that was waited for in vain, in whichever repeat: once is enough."""

    def of(self, case: Case, endpoint: Endpoint) -> RawBaseline:
        """Return the baseline of ``case``, whose server idles at ``endpoint``; absent with the reason.

        Takes some seconds when it is the first of its shape.
        """
        size = batch_size_of(case)
        why = _out_of_reach(case, endpoint)
        if why:
            return RawBaseline(batch_size=size, absent=why)
        shape = _Shape.of(case)
        if (shape, size) not in self._known:
            alike = {batch_size_of(one) for one in self._cases if _Shape.of(one) == shape}
            for found in self._measure(case, tuple(sorted({size, *alike}))):
                assert found.batch_size is not None
                self._known.setdefault((shape, found.batch_size), found)
        return self._known[shape, size]

    def _measure(self, case: Case, sizes: tuple[int, ...]) -> tuple[RawBaseline, ...]:
        of_any_repeat = replace(_Shape.of(case), repeat=None)
        if why := self._too_long.get(of_any_repeat):
            return tuple(RawBaseline(batch_size=size, absent=why) for size in sizes)
        try:
            artifact = self._artifact(case.deployment)
            lines = (self._compute or computed)(case.deployment, asked_of(case, artifact, sizes))
        except (ServebenchError, OSError, subprocess.SubprocessError) as error:
            if isinstance(error, subprocess.TimeoutExpired):
                self._too_long[of_any_repeat] = _line(error)
            return tuple(RawBaseline(batch_size=size, absent=_line(error)) for size in sizes)
        return tuple(map(_read, lines))


def batch_size_of(case: Case) -> int:
    """Return the largest batch, in images, that the case can make its server form."""
    most, load = case.deployment.max_batch_size, case.load
    if case.objective is not None or load.arrivals is not None:
        return most
    return min(most, load.concurrency * case.items_per_request)


def computed(deployment: Deployment, asked: Mapping[str, Any], program: Path | None = None) -> Lines:
    """Return what the program says of ``asked``; raises `subprocess.SubprocessError` or `OSError`.

    It inherits the cores that this process is bound to, and ends by itself when this process is gone. On
    several GPUs it runs once for each, all at once, and what they compute is added up.
    """
    devices = _each_of(deployment.device)
    told = {str(device): {**asked, "device": str(device)} for device in devices}
    with ExitStack() as running:
        programs = {
            device: running.enter_context(_started(deployment, one, program)) for device, one in told.items()
        }
        patience_s = patience_of(deployment)
        said = {
            device: _said(programs[device], one["batch_sizes"], patience_s) for device, one in told.items()
        }
    return next(iter(said.values())) if len(said) == 1 else [_added(said, n) for n in asked["batch_sizes"]]


def patience_of(deployment: Deployment) -> float:
    """Return how many seconds the program may take: where it compiles, as long more as a server may."""
    return PATIENCE_S + (COMPILED_S if deployment.format is ModelFormat.TENSORRT else 0.0)


def _each_of(device: Device) -> tuple[Device, ...]:
    return tuple(Device(device.kind, index) for index in device.indexes) or (device,)


@contextmanager
def _started(
    deployment: Deployment, asked: Mapping[str, Any], program: Path | None
) -> Iterator[subprocess.Popen[str]]:
    program = program or shipped("handlers") / "raw_baseline.py"
    with subprocess.Popen(
        (sys.executable, str(program), json.dumps(asked)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={**_environment(), **engine_environment(deployment), **gpu_order([deployment])},
        start_new_session=True,  # Ctrl-C is for us
        encoding="utf-8",
        errors="replace",
    ) as running:
        try:
            yield running
        except BaseException:
            # Its own children, too: whoever waits no longer must leave none behind.
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            raise


def _said(running: subprocess.Popen[str], sizes: Sequence[int], patience_s: float) -> Lines:
    said, complained = running.communicate(timeout=patience_s)
    lines = [line for text in said.splitlines() if (line := _understood(text, sizes))]
    told = {line["batch_size"] for line in lines}
    why = (complained.strip().splitlines() or [f"exit code {running.returncode}"])[-1]
    return [*lines, *({"batch_size": n, "absent": why} for n in sizes if n not in told)]


def _added(said: Mapping[str, Lines], size: int) -> dict[str, Any]:
    """Return what all devices compute together of a batch size: nothing where one of them says why not."""
    lines = {device: next(one for one in each if one["batch_size"] == size) for device, each in said.items()}
    absent = [f"{device}: {line['absent']}" for device, line in lines.items() if "absent" in line]
    if absent:
        return {"batch_size": size, "absent": "; ".join(absent)}
    each = list(lines.values())
    return {
        **each[0],
        **{name: sum(one[name] for one in each) for name in ("images_per_s", "batches") if name in each[0]},
        "engine": " and ".join(dict.fromkeys(str(one.get("engine", "")) for one in each)),
    }


def _environment() -> dict[str, str]:
    """Return this process's, less what keeps a program from importing the module that lies beside it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def _understood(text: str, sizes: Sequence[int]) -> dict[str, Any] | None:
    """Return what a line tells of a size that was asked for; None for what libraries say, or half a line."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    size = line.get("batch_size") if isinstance(line, dict) else None
    if not isinstance(size, int) or size not in sizes:
        return None
    if isinstance(line.get("absent"), str) and line["absent"]:
        return {"batch_size": size, "absent": line["absent"]}
    rate = line.get("images_per_s")
    return line if isinstance(rate, (int, float)) and 0 < rate < inf else None


def asked_of(case: Case, artifact: Artifact, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return what the program is told."""
    limit_s = min(WINDOW_SHARE * case.load.duration_s, LONGEST_S)
    compiles = case.deployment.format is ModelFormat.TENSORRT
    return {
        "model_path": str(artifact.path.absolute()),
        "card_path": str(artifact.card_path.absolute()),
        "device": str(case.deployment.device),
        "threads": case.deployment.threads,
        "precision": case.deployment.precision.value,
        "format": case.deployment.format.value,
        "input_dtype": case.deployment.input_dtype.value,
        "batch_sizes": sizes,
        # What a server has compiled is found again under the very shapes and folder that it had.
        "max_batch_size": case.deployment.max_batch_size if compiles else 0,
        "cache_path": os.environ.get(_ENGINES_KEPT_IN, "") if case.stack == "fastapi" else "",
        "enough_s": min(ENOUGH_S, limit_s),
        "limit_s": limit_s,
        "parent_pid": os.getpid(),
    }


def _out_of_reach(case: Case, endpoint: Endpoint) -> str:
    if case.deployment.format is ModelFormat.TENSORRT and case.deployment.stack not in _COMPILING:
        return "no engine runs tensorrt in process as this stack does, only its server"
    if endpoint.launcher == LauncherKind.ATTACH and not is_here(endpoint.host):
        return f"the attached server is not known to be on this machine: {endpoint.host}"
    return ""


def _read(line: Mapping[str, Any]) -> RawBaseline:
    known = {each.name for each in fields(RawBaseline)}
    found = RawBaseline(**{name: value for name, value in line.items() if name in known})
    if not found.absent:
        return found
    return RawBaseline(
        batch_size=found.batch_size, absent=f"the model does not run in process: {found.absent}"
    )


def _line(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the model in process took longer than {error.timeout:g} s"
    return error.what if isinstance(error, ServebenchError) else f"the model does not run in process: {error}"
