"""The null server: compiled here from C, run on a free port of 127.0.0.1, counted without asking it."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import LaunchError, MissingPieceError

SOURCE = Path(__file__).with_name("null_server.c")
COMPILERS = ("cc", "gcc", "clang")
END_S = 5.0
COUNTS_BYTES = 16


@dataclass(frozen=True, slots=True)
class Counts:
    """What the server has done so far."""

    requests: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What a scripted server logged of each request: CLOCK_MONOTONIC nanoseconds, in order of replies."""

    body_ns: npt.NDArray[np.int64]
    """When the body was complete."""
    sent_ns: npt.NDArray[np.int64]
    """When the reply was sent."""


@dataclass(frozen=True, slots=True)
class NullServer:
    """A running null server."""

    pid: int
    port: int
    counters: mmap.mmap

    def counts(self) -> Counts:
        """Return the server's own counters as of now."""
        return Counts(*struct.unpack_from("=QQ", self.counters))

    def truth(self) -> Truth:
        """Return the log of a scripted server so far."""
        rows = np.frombuffer(self.counters, np.int64, 2 * self.counts().requests, offset=COUNTS_BYTES)
        body_ns, sent_ns = rows.reshape(-1, 2).T.copy()
        return Truth(body_ns, sent_ns)


def compile_server(folder: Path, source: Path = SOURCE) -> Path:
    """Compile the server into ``folder`` and return its path; raises `MissingPieceError`, `LaunchError`."""
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise MissingPieceError(
            "The null server needs a C compiler.",
            where=str(source),
            seen=f"none of {', '.join(COMPILERS)} on PATH",
            next_step="install one, e.g. apt install gcc libc6-dev",
        )
    binary = folder / source.stem
    done = subprocess.run(
        [compiler, "-O2", "-o", str(binary), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LaunchError(
            "The null server does not compile.",
            where=str(source),
            seen=done.stderr.strip()[-2000:],
            next_step="compile it by hand with the same compiler; Linux and its C library are needed",
        )
    return binary


@contextmanager
def serving(binary: Path, folder: Path, core: int | None, script: str | None = None) -> Iterator[NullServer]:
    """Run the server, on ``core`` alone unless None, until the block ends; raises `LaunchError`.

    ``script`` is ``fixed``, ``mix``, ``stall`` or ``chunks``; None: replies at once. To the gRPC
    server it is the folder of its replies.
    """
    counts_path = folder / "counts"
    counts_path.unlink(missing_ok=True)
    with pinned_to(core):
        argv = [str(binary), str(counts_path), "0", *([script] if script else [])]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise LaunchError("The null server did not say its port.", where=str(binary), seen=repr(line))
        with (
            counts_path.open("r+b") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as counters,
        ):
            yield NullServer(process.pid, int(line), counters)
    finally:
        end(process)


@contextmanager
def pinned_to(core: int | None) -> Iterator[None]:
    """Let processes started inside run on ``core`` alone; None: wherever they like."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen[str]) -> None:
    """End the process and wait for it; it gets some seconds to do it politely."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
