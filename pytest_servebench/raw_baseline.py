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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from pytest_servebench.errors import ServebenchError
from pytest_servebench.launchers.attach import is_here
from pytest_servebench.plan import Artifact, Case, Deployment, LauncherKind, ModelFormat
from pytest_servebench.results import Endpoint, RawBaseline
from pytest_servebench.shipped import shipped
from pytest_servebench.stacks.fastapi_launch import engine_environment
from pytest_servebench.stacks.gpu_order import gpu_order

ENOUGH_S = 1.0
"""How long one batch size is computed, where that makes enough batches."""
LONGEST_S = 3.0
WINDOW_SHARE = 0.5
"""Of the case's window: what is beside a short one should be short as well."""
PATIENCE_S = 180.0
"""How long the program may take in all: a slow machine computes no batch of 32 within 10 s."""

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
    repeat: int | None

    @classmethod
    def of(cls, case: Case) -> _Shape:
        one = case.deployment
        return cls(one.model, one.format, str(one.device), one.threads, one.precision.value, case.repeat)


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

    It inherits the cores that this process is bound to, and ends by itself when this process is gone.
    """
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
    ) as done:
        try:
            said, complained = done.communicate(timeout=PATIENCE_S)
        except BaseException:
            # Its own children, too: whoever waits no longer must leave none behind.
            with suppress(ProcessLookupError):
                os.killpg(done.pid, signal.SIGKILL)
            raise
    lines = [line for text in said.splitlines() if (line := _understood(text, asked["batch_sizes"]))]
    told = {line["batch_size"] for line in lines}
    why = (complained.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return [*lines, *({"batch_size": n, "absent": why} for n in asked["batch_sizes"] if n not in told)]


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
    return {
        "model_path": str(artifact.path.absolute()),
        "card_path": str(artifact.card_path.absolute()),
        "device": str(case.deployment.device),
        "threads": case.deployment.threads,
        "precision": case.deployment.precision.value,
        "batch_sizes": sizes,
        "enough_s": min(ENOUGH_S, limit_s),
        "limit_s": limit_s,
        "parent_pid": os.getpid(),
    }


def _out_of_reach(case: Case, endpoint: Endpoint) -> str:
    if case.deployment.format is ModelFormat.TENSORRT:
        return "no engine runs tensorrt in process here, only Triton's container does"
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
