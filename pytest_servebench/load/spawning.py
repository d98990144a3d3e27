"""Starts the process of a gateway: execnet does the rest, but leaves us its stderr and its end."""

from __future__ import annotations

import contextlib
import re
import subprocess as system
from collections.abc import Sequence
from typing import Any, BinaryIO

import execnet
from execnet.gateway_base import ThreadExecModel

BATCH_MODE = "-o BatchMode=yes -o ConnectTimeout=10"
"""So that ssh fails where it would ask a person, who is not there."""
LEAVE_S = 2.0


class _Starter(ThreadExecModel):
    """Execnet's way to start things, with the one process that it starts in our hands."""

    PIPE = system.PIPE

    def __init__(self, stderr: BinaryIO) -> None:
        self._stderr = stderr
        self.process: system.Popen[bytes] | None = None

    @property
    def subprocess(self) -> _Starter:
        """Return what execnet takes its `Popen` from."""
        return self

    def Popen(self, args: Sequence[str], **pipes: Any) -> system.Popen[bytes]:  # noqa: ANN401, N802 (its name)
        """Start it with our stderr, and keep it."""
        self.process = system.Popen(args, stderr=self._stderr, **pipes)
        return self.process


class Spawned:
    """One gateway and its process; ``make`` may take long, and `end` ends it also meanwhile."""

    def __init__(self, spec: str, stderr: BinaryIO) -> None:
        self._spec = unattended(spec)
        self._starter = _Starter(stderr)
        self._group = execnet.Group()
        # The load runs on the worker's main thread, as it does without workers.
        self._group.set_execmodel(self._starter, "main_thread_only")  # type: ignore[arg-type]  # its shape is enough

    @property
    def process(self) -> system.Popen[bytes] | None:
        """The process on this machine: the worker, or the ssh that leads to it."""
        return self._starter.process

    def make(self) -> execnet.Gateway:
        """Return the gateway, once its Python answers; raises what execnet raises."""
        return self._group.makegateway(self._spec)

    def end(self, *, kill: bool) -> None:
        """End the process, with ``kill`` at once, and wait for it; may be called twice."""
        process = self.process
        if process is None:
            return
        if kill:
            process.kill()
        self._group.terminate(timeout=LEAVE_S)
        with contextlib.suppress(system.TimeoutExpired):
            process.wait(LEAVE_S)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def unattended(spec: str) -> str:
    """Return the specification with which ssh never asks a person."""
    return re.sub(r"(^|//)ssh=", rf"\1ssh={BATCH_MODE} ", spec)
