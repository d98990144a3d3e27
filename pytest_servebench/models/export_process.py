"""Runs what makes model files in a process of its own: torch and onnx stay out of the one that asks."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_servebench.errors import ServebenchError
from pytest_servebench.models.kept_folder import ROOM_BYTES, disk_full

# torch announces the end of TorchScript and of its ONNX exporter at each call: both formats
# are what the stacks serve today, and the versions are pinned. So the warnings are not shown.
_QUIET = ("-W", "ignore::DeprecationWarning", "-W", "ignore::UserWarning")
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_LINE = 300
"""Characters of a line of the program's that an error shows."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line of ``module``, which is told whose child it is."""
    return [sys.executable, *_QUIET, "-m", module, *arguments, "--parent-pid", str(os.getpid())]


def run_to_end(
    command: Sequence[str], folder: Path, timeout_s: float, failed: Callable[[str], ServebenchError]
) -> None:
    """Run ``command``, which writes into ``folder``; raises what ``failed`` makes of what was seen.

    Where the disk is nearly full the error says that instead.
    """
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": _import_path()},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _error(folder, f"not done after {timeout_s:.0f} s", failed) from error
    if done.returncode != 0:
        tail = "\n".join(map(_shortened, done.stderr.strip().splitlines()[-5:]))
        raise _error(folder, f"exit code {done.returncode}: {tail}", failed)


def _shortened(line: str) -> str:
    """Return the line, its middle left out where it is long: torch names every key of a state dict."""
    return line if len(line) <= _LINE else f"{line[: _LINE // 2]} ... {line[-_LINE // 2 :]}"


def _error(folder: Path, seen: str, failed: Callable[[str], ServebenchError]) -> ServebenchError:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < ROOM_BYTES:
        return disk_full(folder, f"{free_bytes / 1e6:.0f} MB free; {seen}")
    return failed(seen)


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package, also from another folder."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), inherited]))


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process with its parent: a killed session leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            sys.exit("the process that asked for the export is gone")
