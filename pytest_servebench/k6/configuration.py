"""What ``benchmarks/k6/staged_load.js`` reads: a scenario, and requests as the stack encoded them (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

from pytest_servebench.errors import LoadError
from pytest_servebench.k6.scenario import due_between, scenario_of, virtual_users
from pytest_servebench.load.kept import FEWEST, LIMIT_BYTES
from pytest_servebench.plan import Load, WireRequest

BODIES_LIMIT_BYTES = 2 << 30
"""Request bodies that all virtual users together may hold; k6 shares none between them."""


def configuration(
    load: Load, requests: Sequence[WireRequest], authority: str, body_files: Sequence[str]
) -> dict[str, Any]:
    """Return the configuration: ``requests`` to ``authority`` (host:port), their bodies in ``body_files``.

    A request without a body has an empty name there. Raises `LoadError` for what k6 cannot
    send as it is, and for more bodies than should be in memory.
    """
    _check_bodies(load, requests)
    return {
        "scenario": scenario_of(load),
        "virtual_users": virtual_users(load),
        "timeout_ms": round(load.timeout_s * 1e3),
        "requests": [
            {
                "method": request.method,
                "url": f"http://{authority}{request.path}",
                "headers": _headers(request),
                "body_file": file,
            }
            for request, file in zip(requests, body_files, strict=True)
        ],
        "keep": _keeping(load, len(requests)),
    }


def _headers(request: WireRequest) -> dict[str, str]:
    names = [name.lower() for name, _ in request.headers]
    if len(set(names)) < len(names):
        raise LoadError(
            "k6 cannot send a header twice.",
            where=f"{request.method} {request.path}",
            seen=", ".join(names),
            next_step="join their values in the stack's encode, or use --serve-load-engine=servebench",
        )
    return dict(request.headers)


def _check_bodies(load: Load, requests: Sequence[WireRequest]) -> None:
    users, largest = virtual_users(load), max(len(request.body) for request in requests)
    held = max(users, len(requests)) * largest
    if held > BODIES_LIMIT_BYTES:
        raise LoadError(
            "k6 would hold too many request bodies: each virtual user has its own.",
            seen=f"{users} users, bodies of up to {largest} bytes: {held} bytes",
            next_step=f"stay below {BODIES_LIMIT_BYTES} bytes: lower --serve-max-in-flight or "
            "--serve-concurrency, or use --serve-load-engine=servebench",
        )


def _keeping(load: Load, requests: int) -> dict[str, Any] | None:
    """Return which replies of the window k6 hands over for verification; None: none of them."""
    if load.verify_share <= 0:
        return None
    due = due_between(load, load.warmup_s, load.warmup_s + load.duration_s)
    return {
        "share": load.verify_share,
        "seed": load.seed,
        # Open loop: one in so many. Closed: every user's first, the first users' one in each slice.
        "every": 0 if due is None else _stride(max(1, due // FEWEST), requests),
        "slices": FEWEST,
        "from_ms": load.warmup_s * 1e3,
        "until_ms": (load.warmup_s + load.duration_s) * 1e3,
        "bytes": LIMIT_BYTES // virtual_users(load),
    }


def _stride(longest: int, requests: int) -> int:
    """Return the greatest stride up to ``longest`` that meets every one of so many requests."""
    return next(stride for stride in range(longest, 0, -1) if gcd(stride, requests) == 1)
