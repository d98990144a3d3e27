"""Fails when a server of ours is still running."""

from __future__ import annotations

import sys

import psutil

WORDS = (
    "tritonserver",
    "org.pytorch.serve",
    "fastapi_app",
    "model_service_worker",
    "triton_python_backend_stub",
)


def main() -> int:
    """Print what is left; return how many."""
    left = [
        process.info
        for process in psutil.process_iter(["pid", "cmdline"])
        if any(word in " ".join(process.info["cmdline"] or []) for word in WORDS)
    ]
    for info in left:
        print("left behind:", info["pid"], " ".join(info["cmdline"])[:150])
    print(f"{len(left)} servers left behind")
    return len(left)


if __name__ == "__main__":
    sys.exit(main())
